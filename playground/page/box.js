// The box on the picture: moved and resized by mouse, touch and keyboard.

import { IMAGE, LEAST_SIDE, boxWithin, movedBox } from "./state.js";

/** What an arrow key moves, in image pixels; with Shift, and with Alt. */
const STEP = 1;
const LARGE_STEP = 10;
const SMALL_STEP = 0.1;
/** A pointer that moves less than this, in pixels of the screen, is a tap. */
const TAP = 4;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The sides that a handle moves, as columns of the box (x1, y1, x2, y2). */
const SIDES = { n: [1], e: [2], s: [3], w: [0], nw: [0, 1], ne: [2, 1], sw: [0, 3], se: [2, 3] };

/** The box with some of its sides moved. A side stops at the one opposite. */
function resizedBox(box, sides, dx, dy) {
  const moved = [...box];
  for (const side of sides) {
    const value = box[side] + (side % 2 === 0 ? dx : dy);
    const opposite = box[(side + 2) % 4];
    moved[side] = side < 2 ? Math.min(value, opposite - LEAST_SIDE) : Math.max(value, opposite + LEAST_SIDE);
  }
  return boxWithin(moved);
}

/**
 * Lets the reader move the box. `layer` covers the image and holds the element `.box` with its handles.
 * `getBox` returns the box, `setBox` takes a new one, and `tap` takes a place in image pixels.
 */
export function makeBoxMovable(layer, { getBox, setBox, tap }) {
  const element = layer.querySelector(".box");
  const changeOf = (handle) =>
    handle ? (box, dx, dy) => resizedBox(box, SIDES[handle.dataset.handle], dx, dy) : movedBox;
  const placeOf = (event) => {
    const area = layer.getBoundingClientRect();
    const scale = IMAGE.width / area.width;
    return { x: (event.clientX - area.left) * scale, y: (event.clientY - area.top) * scale, scale };
  };

  layer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const isOnBox = event.target.closest(".box") !== null;
    // A finger beside the box scrolls the page. A mouse draws a new box.
    if (!isOnBox && event.pointerType === "touch") return;
    event.preventDefault();
    const start = placeOf(event);
    const handle = event.target.closest("[data-handle]");
    (handle?.matches("button") ? handle : element.querySelector(".move")).focus({ preventScroll: true });
    const newBox = (_, dx, dy) => boxWithin([start.x, start.y, start.x + dx, start.y + dy]);
    const change = isOnBox ? changeOf(handle) : newBox;
    const first = getBox();
    let isDragged = false;
    layer.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const { x, y, scale } = placeOf(moved);
      isDragged ||= Math.hypot(x - start.x, y - start.y) > TAP * scale;
      if (isDragged) setBox(change(first, x - start.x, y - start.y));
    };
    const end = () => {
      layer.removeEventListener("pointermove", move);
      layer.removeEventListener("pointerup", end);
      layer.removeEventListener("pointercancel", end);
      if (!isDragged && isOnBox && !handle) tap(start.x, start.y);
    };
    layer.addEventListener("pointermove", move);
    layer.addEventListener("pointerup", end);
    layer.addEventListener("pointercancel", end);
  });

  layer.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction) return;
    event.preventDefault();
    const step = event.shiftKey ? LARGE_STEP : event.altKey ? SMALL_STEP : STEP;
    const change = changeOf(event.target.closest("[data-handle]"));
    setBox(change(getBox(), direction[0] * step, direction[1] * step));
  });
}

/** Puts the element of the box where the box is, and names its parts for screen readers. */
export function placeBox(layer, box) {
  const element = layer.querySelector(".box");
  const [x1, y1, x2, y2] = box;
  const percent = (value, size) => `${(100 * value) / size}%`;
  element.style.left = percent(x1, IMAGE.width);
  element.style.top = percent(y1, IMAGE.height);
  element.style.width = percent(x2 - x1, IMAGE.width);
  element.style.height = percent(y2 - y1, IMAGE.height);
  const corners = {
    nw: ["Top left", x1, y1],
    ne: ["Top right", x2, y1],
    sw: ["Bottom left", x1, y2],
    se: ["Bottom right", x2, y2],
  };
  for (const [name, [text, x, y]] of Object.entries(corners)) {
    const handle = element.querySelector(`[data-handle=${name}]`);
    handle.setAttribute("aria-label", `${text} corner of the box, at ${x}, ${y}`);
  }
  element.querySelector(".move").setAttribute("aria-label", `Box from ${x1}, ${y1} to ${x2}, ${y2}`);
}
