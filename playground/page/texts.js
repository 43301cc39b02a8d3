// What the page says in words about the results.

import { meanDifference, tapsText, valuesText } from "./outputs.js";
import { channelsAt, written } from "./maps.js";

const EDGES = ["left, x1", "top, y1", "right, x2", "bottom, y2"];
const TAPS =
  "The strips beside the picture are the taps. Wx, below it, has the weight of every map column in every column of " +
  "bins. Wy, to its right, has the weight of every map row in every row of bins. The output is Wy · F · Wxᵀ, where F " +
  "is the map.";
const NO_TAPS = "A maximum depends on the values of the map, so it has no taps Wx and Wy.";

/** The element of the page with that id. */
export const part = (id) => document.getElementById(id);

/** Writes all texts that depend on the results. `shown` is what main.js shows. */
export function showTexts(shown, operator) {
  const { state, map, results } = shown;
  const isPool = operator.name === "pool";
  part("output-title").textContent = operator.title;
  part("pool-figure").hidden = isPool;
  part("about").textContent = operator.about;
  part("verdict").textContent = isPool
    ? "Choose another operator to compare it with RoIPool."
    : `On average, RoIPool's values differ by ${written(meanDifference(results.pooled, shown.roi_pool))}. ` +
      `The values of the map go from ${map.low} to ${map.high}.`;
  part("taps").textContent = results.taps_x.length > 0 ? TAPS : NO_TAPS;
  part("bin").textContent = binText(shown, operator);
  part("python").textContent = shown.python;
  part("map-size").textContent = `features is the map, of shape [1, ${map.channels}, ${map.height}, ${map.width}].`;
  const [rows, columns] = state.bins;
  part("picture").setAttribute(
    "aria-label",
    `${operator.title} of the box ${state.box.join(", ")} with ${rows} by ${columns} bins, ` +
      `on a map of ${map.height} by ${map.width} pixels`,
  );
  showGradient(state, results.grad_box);
}

function binText({ state, map, results, roi_pool: pooled }, operator) {
  if (state.bin === null) return "Select a bin, here or on the picture, to see its values, taps and gradient.";
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

function showGradient(state, gradient) {
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
