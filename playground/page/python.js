// The same call in Python, to copy.

import { IMAGE } from "./state.js";

/** A call of roialign that computes what the page shows. `features` is the map, [1, C, H, W]. */
export function pythonCall(operator, state) {
  const [x1, y1, x2, y2] = state.box;
  const bins = `(${state.bins.join(", ")})`;
  if (operator.spec.normalised_boxes) {
    const { width, height } = IMAGE;
    const box = `[[${y1} / ${height}, ${x1} / ${width}, ${y2} / ${height}, ${x2} / ${width}]]`;
    return `roialign.${operator.function}(features, np.array(${box}), np.array([0]), ${bins}, layout="NCHW")`;
  }
  const given = [`features`, `np.array([[0, ${x1}, ${y1}, ${x2}, ${y2}]])`, bins, `1 / ${state.stride}`];
  if (operator.reads.includes("points")) given.push(String(state.points));
  if (operator.reads.includes("aligned")) given.push(`aligned=${state.aligned ? "True" : "False"}`);
  for (const [name, value] of Object.entries(operator.arguments)) given.push(`${name}=${JSON.stringify(value)}`);
  return `roialign.${operator.function}(${given.join(", ")})`;
}
