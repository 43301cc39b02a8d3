// The form: every setting of the state but the selected bin.

import { OPERATORS } from "./embedded.js";
import { MAPS, MOST_BINS, MOST_POINTS, STRIDES, boxWithin } from "./state.js";

const MAP_TITLES = {
  photograph: "Photograph",
  ramp: "Numbers: a ramp",
  hill: "Numbers: a hill",
  random: "Numbers: random",
};
const COORDINATES = ["x1", "y1", "x2", "y2"];

const range = (low, high) => Array.from({ length: high - low + 1 }, (_, index) => low + index);

function fillChoice(choice, values, titleOf) {
  choice.replaceChildren(...values.map((value) => new Option(titleOf(value), value)));
}

/** Fills the lists, and calls `change` with what the reader changes. */
export function connectControls(form, { getState, change }) {
  const fields = form.elements;
  fillChoice(fields.map, MAPS, (name) => MAP_TITLES[name]);
  fillChoice(
    fields.operator,
    OPERATORS.operators.map((operator) => operator.name),
    (name) => OPERATORS.operators.find((operator) => operator.name === name).title,
  );
  fillChoice(fields.stride, STRIDES, (stride) => `${stride} px`);
  fillChoice(fields.rows, range(1, MOST_BINS), String);
  fillChoice(fields.columns, range(1, MOST_BINS), String);
  fillChoice(fields.points, range(0, MOST_POINTS), (count) => (count === 0 ? "adaptive" : `${count} × ${count}`));

  const readers = {
    map: (text) => ({ map: text }),
    operator: (text) => ({ operator: text }),
    stride: (text) => ({ stride: Number(text) }),
    rows: (text) => ({ bins: [Number(text), getState().bins[1]] }),
    columns: (text) => ({ bins: [getState().bins[0], Number(text)] }),
    points: (text) => ({ points: Number(text) }),
    aligned: () => ({ aligned: fields.aligned.checked }),
  };
  for (const [side, name] of COORDINATES.entries()) {
    readers[name] = (text) => {
      const box = [...getState().box];
      if (text !== "" && Number.isFinite(Number(text))) box[side] = Number(text);
      return { box: boxWithin(box) };
    };
  }
  form.addEventListener("change", (event) => {
    const reader = readers[event.target.name];
    if (reader) change(reader(event.target.value));
    showBox(fields, getState().box);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}

/** Shows a state in the form. A field that the operator does not use is disabled. */
export function showControls(form, state, operator) {
  const fields = form.elements;
  const values = {
    map: state.map,
    operator: state.operator,
    stride: state.stride,
    rows: state.bins[0],
    columns: state.bins[1],
    points: state.points,
  };
  for (const [name, value] of Object.entries(values)) fields[name].value = String(value);
  fields.aligned.checked = state.aligned;
  // The reader may be typing in a field.
  if (!COORDINATES.includes(document.activeElement.name)) showBox(fields, state.box);
  fields["shows-map"].disabled = state.map !== "photograph";
  for (const name of ["points", "aligned"]) fields[name].disabled = !operator.reads.includes(name);
}

function showBox(fields, box) {
  COORDINATES.forEach((name, side) => {
    fields[name].value = String(box[side]);
  });
}
