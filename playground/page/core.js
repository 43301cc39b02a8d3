// Calls the compiled core: one operator, one box, one map.

import { CORE_GZIP_BASE64, OPERATORS } from "./embedded.js";

/** The fields of playground/core/request.h, in its order. */
const FIELDS = [
  "family", "rule", "mapping", "reduction", "sampling_ratio", "offset", "minimum_length", "normalised_boxes",
  "extra_pixels", "seed", "scale", "bins_y", "bins_x", "channels", "height", "width", "x1", "y1", "x2", "y2", "bin",
];

/** The results of playground/core/front.cpp, in its order. */
const RESULTS = ["pooled", "grad_box", "grad_features", "taps_y", "taps_x", "bins_y", "bins_x", "points"];

/** Decodes and starts the core. Returns a function that takes fields and a map, and returns the results. */
export async function loadCore() {
  const compressed = Uint8Array.from(atob(CORE_GZIP_BASE64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(stream).arrayBuffer();
  const { instance } = await WebAssembly.instantiate(bytes, {
    env: { emscripten_notify_memory_growth() {} },
    wasi_snapshot_preview1: {
      proc_exit(status) {
        throw new Error(`the core ended with status ${status}`);
      },
    },
  });
  const core = instance.exports;
  core._initialize();
  // Memory may grow in any call, which detaches older arrays.
  const numbers = (address, length) => new Float64Array(core.memory.buffer, address, length);
  return (fields, values) => {
    numbers(core.request_address(), FIELDS.length).set(FIELDS.map((name) => Number(fields[name])));
    const map = core.map_address();
    if (map !== 0) numbers(map, values.length).set(values);
    const invalid = core.run();
    if (invalid !== 0) throw new RangeError(`${FIELDS[invalid - 1]}: ${fields[FIELDS[invalid - 1]]} is not possible`);
    const result = (_, index) => numbers(core.result_address(index), core.result_length(index)).slice();
    return Object.fromEntries(RESULTS.map((name, index) => [name, result(name, index)]));
  };
}

/** The operator of that name in operators.json. */
export function operatorNamed(name) {
  return OPERATORS.operators.find((operator) => operator.name === name);
}

/** The specification of an operator with the settings of a state, as in roialign's _spec.py. */
export function specOf(operator, state) {
  const aligned = operator.reads.includes("aligned") ? OPERATORS.alignment[String(state.aligned)] : {};
  const points = operator.reads.includes("points") ? { sampling_ratio: state.points } : {};
  return { ...aligned, ...points, ...operator.spec };
}

/** The fields of a call from a state: enums as numbers, and what the operator does not use as 0. */
export function fieldsOf(operator, state, map, image) {
  const spec = specOf(operator, state);
  const { enums } = OPERATORS;
  const numberOf = (kind, name) => (name === undefined ? 0 : enums[kind].indexOf(name));
  const [x1, y1, x2, y2] = state.box;
  const [across, down] = spec.normalised_boxes ? [image.width, image.height] : [1, 1];
  return {
    ...Object.fromEntries(FIELDS.map((name) => [name, 0])),
    ...spec,
    family: numberOf("family", spec.family),
    rule: numberOf(`${spec.family} rule`, spec.rule),
    mapping: numberOf("mapping", spec.mapping),
    reduction: numberOf("reduction", spec.reduction),
    minimum_length: spec.minimum_length ?? -Infinity,
    scale: 1 / state.stride,
    bins_y: state.bins[0],
    bins_x: state.bins[1],
    channels: map.channels,
    height: map.height,
    width: map.width,
    x1: x1 / across,
    y1: y1 / down,
    x2: x2 / across,
    y2: y2 / down,
    bin: state.bin === null ? -1 : state.bin[0] * state.bins[1] + state.bin[1],
  };
}

/** All results of an operator. The gradient is per image pixel, for normalised boxes too. */
export function compute(core, operator, state, map, image) {
  const results = core(fieldsOf(operator, state, map, image), map.values);
  if (operator.spec.normalised_boxes) {
    const sides = [image.width, image.height, image.width, image.height];
    results.grad_box = results.grad_box.map((value, index) => value / sides[index]);
  }
  return results;
}
