// The outputs: a grid of bins for the operator and one for RoIPool, and what they say in words.

import { channelsAt, colourOf, written } from "./maps.js";

const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** Lets the reader select bins of a grid: by pointer, or by arrow keys, Enter, Space and Escape. */
export function makeGridSelectable(grid, { getState, select }) {
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("button");
    if (!cell) return;
    const place = [Number(cell.dataset.row), Number(cell.dataset.column)];
    const { bin } = getState();
    select(bin !== null && bin[0] === place[0] && bin[1] === place[1] ? null : place);
  });
  grid.addEventListener("keydown", (event) => {
    if (event.key === "Escape") select(null);
    const move = MOVES[event.key];
    const cell = event.target.closest("button");
    if (!move || !cell) return;
    event.preventDefault();
    const place = [Number(cell.dataset.row) + move[0], Number(cell.dataset.column) + move[1]];
    const next = grid.querySelector(`[data-row="${place[0]}"][data-column="${place[1]}"]`);
    if (!next) return;
    select(place);
    next.focus();
  });
}

/** The values of a bin as text: one number, or red, green and blue. */
export const valuesText = (values) => values.map(written).join(", ");

/** Shows pooled values, [channels, rows, columns]. */
export function showGrid(grid, pooled, map, state) {
  const [rows, columns] = state.bins;
  if (grid.childElementCount !== rows || grid.firstElementChild?.childElementCount !== columns) {
    fillGrid(grid, rows, columns);
  }
  const focused = state.bin ?? [0, 0];
  for (const cell of grid.querySelectorAll("button")) {
    const [row, column] = [Number(cell.dataset.row), Number(cell.dataset.column)];
    const values = channelsAt(pooled, row * columns + column, map.channels);
    const { fill, text } = colourOf(values, map);
    const isSelected = state.bin !== null && state.bin[0] === row && state.bin[1] === column;
    cell.style.background = fill;
    cell.style.color = text;
    cell.textContent = values.length === 1 && columns <= 7 ? written(Number(values[0].toPrecision(3))) : "";
    cell.tabIndex = focused[0] === row && focused[1] === column ? 0 : -1;
    cell.setAttribute("aria-pressed", String(isSelected));
    cell.setAttribute("aria-label", `Row ${row + 1}, column ${column + 1}: ${valuesText(values)}`);
    cell.title = valuesText(values);
  }
}

function fillGrid(grid, rows, columns) {
  const lines = Array.from({ length: rows }, (_, row) => {
    const line = document.createElement("div");
    for (let column = 0; column < columns; ++column) {
      const cell = document.createElement("button");
      cell.type = "button";
      Object.assign(cell.dataset, { row, column });
      line.append(cell);
    }
    return line;
  });
  grid.replaceChildren(...lines);
  grid.style.setProperty("--columns", columns);
}

/** How far two results are apart, on average over bins and channels. */
export function meanDifference(one, other) {
  return one.reduce((sum, value, index) => sum + Math.abs(value - other[index]), 0) / one.length;
}

/** The weights of one bin along one axis: "3: 0.25, 4: 0.75". */
export function tapsText(taps, bin, bins) {
  const size = taps.length / bins;
  const parts = [];
  for (let pixel = 0; pixel < size; ++pixel) {
    const weight = taps[bin * size + pixel];
    if (weight !== 0) parts.push(`${pixel}: ${Number(weight.toFixed(4))}`);
  }
  return parts.join(", ") || "no pixel";
}
