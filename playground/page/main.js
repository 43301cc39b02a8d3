// The page: reads the state from the address, computes, and shows everything again whenever the reader changes it.

import { makeGridSelectable, meanDifference, showGrid, tapsText, valuesText } from "./answers.js";
import { makeBoxMovable, placeBox } from "./box.js";
import { connectControls, showControls } from "./controls.js";
import { compute, loadCore, operatorNamed } from "./core.js";
import { channelsAt, loadPhotograph, makeMap, written } from "./maps.js";
import { pythonCall } from "./python.js";
import { drawStage } from "./stage.js";
import { DEFAULTS, IMAGE, fromHash, toHash, withinBins } from "./state.js";

const part = (id) => document.getElementById(id);
const EDGES = ["left, x1", "top, y1", "right, x2", "bottom, y2"];

let state = { ...DEFAULTS };
let core = null;
let photograph = null;
let isDrawing = false;
let timer = 0;

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
    if (location.hash !== `#${toHash(state)}`) history.replaceState(null, "", `#${toHash(state)}`);
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
  showGrid(part("answer"), results.pooled, map, state);
  showGrid(part("pool"), pooled, map, state);
  showTexts(operator, map, results, pooled);
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

function showTexts(operator, map, results, pooled) {
  const isPool = operator.name === "pool";
  part("answer-title").textContent = operator.title;
  part("pool-figure").hidden = isPool;
  part("about").textContent = operator.about;
  part("verdict").textContent = isPool
    ? "Choose another operator to compare it with RoIPool."
    : `On average, RoIPool's values differ by ${written(meanDifference(results.pooled, pooled))}. The values of the map go from ${map.low} to ${map.high}.`;
  part("taps").textContent =
    results.taps_x.length > 0
      ? "The strips beside the picture are the taps: Wx below it has the weight of every map column in every column of bins, and Wy to its right the weight of every map row in every row of bins. The answer is Wy · F · Wxᵀ, where F is the map."
      : "A maximum depends on the values of the map, so it has no taps Wx and Wy.";
  part("bin").textContent = binText(operator, map, results, pooled);
  part("python").textContent = shown.python;
  part("map-size").textContent = `features is the map, of shape [1, ${map.channels}, ${map.height}, ${map.width}].`;
  part("picture").setAttribute(
    "aria-label",
    `${operator.title} of the box ${state.box.join(", ")} with ${state.bins.join(" by ")} bins on a map of ${map.height} by ${map.width} pixels`,
  );
  showGradient(results.grad_box);
}

function binText(operator, map, results, pooled) {
  if (state.bin === null) return "Select a bin, here or on the picture, to see its values, its pixels and its gradient.";
  const [row, column] = state.bin;
  const index = row * state.bins[1] + column;
  const values = (all) => valuesText(channelsAt(all, index, map.channels));
  const sentences = [`Bin in row ${row + 1}, column ${column + 1}: ${operator.title} ${values(results.pooled)}`];
  if (operator.name !== "pool") sentences[0] += `; RoIPool ${values(pooled)}`;
  if (results.taps_x.length > 0) {
    sentences.push(`Wy, by row of the map: ${tapsText(results.taps_y, row, state.bins[0])}`);
    sentences.push(`Wx, by column of the map: ${tapsText(results.taps_x, column, state.bins[1])}`);
  }
  return `${sentences.join(". ")}.`;
}

function showGradient(gradient) {
  const isZero = gradient.every((value) => Math.abs(value) < 1e-12);
  const what = state.bin === null ? "the mean of all bins" : "the selected bin";
  part("gradient-about").textContent = isZero
    ? `The gradient is zero: a small movement of an edge does not change ${what}.`
    : `How much ${what} changes per pixel that an edge moves right or down. Arrows point where it grows.`;
  part("gradient").replaceChildren(
    ...EDGES.map((name, index) => {
      const line = document.createElement("li");
      line.textContent = `${name}: ${written(gradient[index])}`;
      return line;
    }),
  );
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

function readAddress() {
  const { state: read, problems } = fromHash(location.hash);
  part("problem").hidden = problems.length === 0;
  part("problem").textContent = `The address contains values that are not possible, which were ignored: ${problems.join(", ")}`;
  state = read;
}

async function copyLink() {
  history.replaceState(null, "", `#${toHash(state)}`);
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
  for (const grid of ["answer", "pool"]) {
    makeGridSelectable(part(grid), { getState, select: (bin) => change({ bin }) });
  }
  for (const id of ["shows-map", "shows-points", "shows-gradient"]) part(id).addEventListener("change", show);
  part("reset").addEventListener("click", () => change({ ...DEFAULTS }));
  part("copy").addEventListener("click", copyLink);
  window.addEventListener("hashchange", () => {
    if (location.hash === `#${toHash(state)}`) return;
    readAddress();
    show();
  });
  new ResizeObserver(show).observe(part("picture"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  showNow();
  document.body.dataset.ready = "yes";
}

start().catch((error) => {
  part("problem").hidden = false;
  part("problem").textContent = `This page does not work in this browser: ${error.message}`;
  throw error;
});
