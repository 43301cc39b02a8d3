// The page: reads the state from the address, computes, and shows everything again whenever the reader changes it.

import { makeGridSelectable, showGrid } from "./outputs.js";
import { makeBoxMovable, placeBox } from "./box.js";
import { connectControls, showControls } from "./controls.js";
import { compute, loadCore, operatorNamed } from "./core.js";
import { loadPhotograph, makeMap } from "./maps.js";
import { pythonCall } from "./python.js";
import { drawStage } from "./stage.js";
import { DEFAULTS, IMAGE, fromHash, toHash, withinBins } from "./state.js";
import { part, showTexts } from "./texts.js";

let state = { ...DEFAULTS };
let core = null;
let photograph = null;
let isDrawing = false;
let timer = 0;
/** The part of the address after the page's name, as it was last read or written. */
let address = "";

/** What is shown now: the state, the map and the results, for tests and for the console. */
let shown = null;
globalThis.playground = () => shown;

function change(changes) {
  state = withinBins({ ...state, ...changes });
  show();
}

/** Draws at most once per frame, and writes the address when the reader pauses. */
function show() {
  if (!isDrawing) {
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      showNow();
    });
  }
  clearTimeout(timer);
  timer = setTimeout(() => {
    writeAddress();
    part("spoken").textContent = `${part("verdict").textContent} ${part("bin").textContent}`;
  }, 250);
}

function showNow() {
  const operator = operatorNamed(state.operator);
  const map = makeMap(state.map, state.stride, photograph.pixels);
  const results = compute(core, operator, state, map, IMAGE);
  const pool = operatorNamed("pool");
  const pooled = compute(core, pool, state, map, IMAGE).pooled;
  shown = { hash: toHash(state), state, map, results, roi_pool: pooled, python: pythonCall(operator, state) };
  showControls(part("controls"), state, operator);
  placeBox(part("layer"), state.box);
  drawStage(part("picture"), { ...shown, ...choices(), picture: photograph.picture, colours: colours() });
  showGrid(part("output"), results.pooled, map, state);
  showGrid(part("pool"), pooled, map, state);
  showTexts(shown, operator);
}

/** What the reader wants to see on the picture. It is not part of the address. */
function choices() {
  return {
    showsMap: part("shows-map").checked,
    showsPoints: part("shows-points").checked,
    showsGradient: part("shows-gradient").checked,
  };
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["bin", "point", "gradient", "tap", "line", "grid", "selected", "weight"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Selects the bin at a place of the image, or none if it is selected already. */
function tap(x, y) {
  const { results } = shown;
  const place = [[results.bins_y, y], [results.bins_x, x]].map(([ends, coordinate]) => {
    const found = coordinate / state.stride - 0.5;
    return Array.from({ length: ends.length / 2 }, (_, bin) => bin).find(
      (bin) => ends[2 * bin] <= found && found < ends[2 * bin + 1],
    );
  });
  if (place.includes(undefined)) return;
  change({ bin: String(state.bin) === String(place) ? null : place });
}

function writeAddress() {
  if (location.hash !== address) return; // the reader has just changed it, and it is read next
  address = `#${toHash(state)}`;
  if (location.hash !== address) history.replaceState(null, "", address);
}

function readAddress() {
  address = location.hash;
  const { state: read, problems } = fromHash(location.hash);
  part("problem").hidden = problems.length === 0;
  part("problem").textContent = `These parts of the address are not possible and were ignored: ${problems.join(", ")}`;
  state = read;
}

async function copyLink() {
  writeAddress();
  try {
    await navigator.clipboard.writeText(location.href);
    part("copied").textContent = "Copied.";
  } catch {
    part("copied").textContent = "Copy the address of this page from the browser's address bar.";
  }
}

async function start() {
  [core, photograph] = await Promise.all([loadCore(), loadPhotograph()]);
  readAddress();
  const getState = () => state;
  connectControls(part("controls"), { getState, change });
  makeBoxMovable(part("layer"), { getBox: () => state.box, setBox: (box) => change({ box }), tap });
  for (const grid of ["output", "pool"]) {
    makeGridSelectable(part(grid), { getState, select: (bin) => change({ bin }) });
  }
  for (const id of ["shows-map", "shows-points", "shows-gradient"]) part(id).addEventListener("change", show);
  part("reset").addEventListener("click", () => change({ ...DEFAULTS }));
  part("copy").addEventListener("click", copyLink);
  window.addEventListener("hashchange", () => {
    if (location.hash === address) return;
    readAddress();
    show();
  });
  new ResizeObserver(show).observe(part("picture"));
  new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  showNow();
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  part("problem").hidden = false;
  part("problem").textContent = `This page does not work in this browser: ${error.message}`;
  throw error;
});
