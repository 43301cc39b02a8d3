// What the reader has chosen, and its form in the address.

import { OPERATORS } from "./embedded.js";

/** Every map covers an image of this size, in pixels. */
export const IMAGE = { width: 512, height: 384 };
export const MAPS = ["photograph", "ramp", "hill", "random"];
export const STRIDES = [8, 16, 32, 64];
export const MOST_BINS = 14;
export const MOST_POINTS = 6;
/** The least side of a box, in image pixels. */
export const LEAST_SIDE = 1;

export const DEFAULTS = Object.freeze({
  map: "photograph",
  operator: "align",
  stride: 16,
  bins: [7, 7], // rows, columns
  points: 2, // sampling_ratio; 0: as many as a bin is long
  aligned: true,
  box: [163, 52, 297, 200], // x1, y1, x2, y2 in image pixels
  bin: null, // the selected bin: row, column
});

const roundTo = (value, step) => Math.round(value / step) * step;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
/** Coordinates are tenths of a pixel, so that they read well in the address and in code. */
const tenths = (value) => Number(roundTo(value, 0.1).toFixed(1));

/** A box within the image, at least one pixel on each side. */
export function boxWithin([x1, y1, x2, y2]) {
  const side = (low, high, size) => {
    const start = clamp(tenths(Math.min(low, high)), 0, size - LEAST_SIDE);
    return [start, clamp(tenths(Math.max(low, high)), start + LEAST_SIDE, size)];
  };
  const [left, right] = side(x1, x2, IMAGE.width);
  const [top, bottom] = side(y1, y2, IMAGE.height);
  return [left, top, right, bottom];
}

/** A box moved by a distance, of the same size, within the image. */
export function movedBox([x1, y1, x2, y2], dx, dy) {
  const left = clamp(tenths(x1 + dx), 0, tenths(IMAGE.width - (x2 - x1)));
  const top = clamp(tenths(y1 + dy), 0, tenths(IMAGE.height - (y2 - y1)));
  return boxWithin([left, top, left + (x2 - x1), top + (y2 - y1)]);
}

/** The state in the part of an address after "#". */
export function toHash(state) {
  const parts = {
    map: state.map,
    operator: state.operator,
    stride: state.stride,
    bins: state.bins.join("x"),
    points: state.points,
    aligned: state.aligned ? "yes" : "no",
    box: state.box.join(","),
  };
  if (state.bin !== null) parts.bin = state.bin.join(",");
  return Object.entries(parts)
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

const listOf = (text, separator, count, holds) => {
  const numbers = text.split(separator).map((part) => (/^-?\d+(\.\d+)?$/.test(part.trim()) ? Number(part) : NaN));
  return numbers.length === count && numbers.every(holds) ? numbers : undefined;
};
const oneOf = (choices) => (text) => choices.find((choice) => String(choice) === text);
const wholeWithin = (low, high) => (value) => Number.isInteger(value) && value >= low && value <= high;

/** How to read each part. Undefined: not a possible value. */
const READERS = {
  map: oneOf(MAPS),
  operator: oneOf(OPERATORS.operators.map((operator) => operator.name)),
  stride: oneOf(STRIDES),
  bins: (text) => listOf(text, "x", 2, wholeWithin(1, MOST_BINS)),
  points: (text) => listOf(text, ",", 1, wholeWithin(0, MOST_POINTS))?.[0],
  aligned: (text) => ({ yes: true, no: false })[text],
  box: (text) => {
    const box = listOf(text, ",", 4, Number.isFinite);
    return box && boxWithin(box);
  },
  bin: (text) => listOf(text, ",", 2, wholeWithin(0, MOST_BINS - 1)),
};

/** Reads a state from an address. Parts that are missing get their default; `problems` names those that are invalid. */
export function fromHash(hash) {
  const state = { ...DEFAULTS };
  const problems = [];
  for (const part of hash.replace(/^#/, "").split("&").filter(Boolean)) {
    const [name, ...rest] = part.split("=");
    let text = rest.join("=");
    try {
      text = decodeURIComponent(text);
    } catch {
      // It stays as it is, and is reported below.
    }
    const value = Object.hasOwn(READERS, name) ? READERS[name](text) : undefined;
    if (value === undefined) problems.push(part);
    else state[name] = value;
  }
  return { state: withinBins(state), problems };
}

/** The same state without a selected bin that does not exist. */
export function withinBins(state) {
  const exists = state.bin !== null && state.bin[0] < state.bins[0] && state.bin[1] < state.bins[1];
  return exists ? state : { ...state, bin: null };
}
