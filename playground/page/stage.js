// Draws the picture: the map, the bins, the points, the gradient, and the taps of both axes beside it.

import { channelsAt, colourOf } from "./maps.js";
import { IMAGE } from "./state.js";

/** In image pixels: the space beside the image, for the taps. */
const GAP = 10;
const STRIP = 96;
export const STAGE = { width: IMAGE.width + GAP + STRIP, height: IMAGE.height + GAP + STRIP };
/** In pixels of the screen: a map pixel must be this large to show its number. */
const LEGIBLE = 19;
const LONGEST_ARROW = 46;

/** Everything to draw: { state, map, picture, results, showsMap, showsPoints, showsGradient, colours }. */
export function drawStage(canvas, scene) {
  const ratio = window.devicePixelRatio || 1;
  const shown = canvas.clientWidth || STAGE.width;
  canvas.width = Math.round(shown * ratio);
  canvas.height = Math.round((shown * ratio * STAGE.height) / STAGE.width);
  const context = canvas.getContext("2d");
  const scale = shown / STAGE.width;
  context.setTransform(scale * ratio, 0, 0, scale * ratio, 0, 0);
  const pen = { context, px: 1 / scale, ...scene };
  context.save();
  context.beginPath();
  context.rect(0, 0, IMAGE.width + GAP / 2, IMAGE.height + GAP / 2);
  context.clip();
  drawMap(pen);
  drawWeights(pen);
  drawBins(pen);
  if (scene.showsPoints) drawPoints(pen);
  if (scene.showsGradient) drawGradient(pen);
  context.restore();
  drawTaps(pen);
}

/** A feature coordinate in image pixels: the centre of map pixel 0 is half a stride from the edge. */
const onImage = (pen, coordinate) => (coordinate + 0.5) * pen.state.stride;

function drawMap({ context, px, map, picture, state, showsMap, colours }) {
  const { stride } = state;
  if (state.map === "photograph" && !showsMap) {
    context.drawImage(picture, 0, 0, IMAGE.width, IMAGE.height);
  } else {
    for (let index = 0; index < map.height * map.width; ++index) {
      const [row, column] = [Math.floor(index / map.width), index % map.width];
      context.fillStyle = colourOf(channelsAt(map.values, index, map.channels), map).fill;
      context.fillRect(column * stride, row * stride, stride + 0.5, stride + 0.5);
    }
  }
  context.lineWidth = px;
  context.strokeStyle = state.map === "photograph" ? "rgb(255 255 255 / 28%)" : colours.grid;
  context.beginPath();
  for (let x = stride; x < IMAGE.width; x += stride) line(context, x, 0, x, IMAGE.height);
  for (let y = stride; y < IMAGE.height; y += stride) line(context, 0, y, IMAGE.width, y);
  context.stroke();
  if (map.channels === 1 && stride / px >= LEGIBLE) drawNumbers(context, px, map, stride);
}

function drawNumbers(context, px, map, stride) {
  context.font = `${Math.min(13 * px, stride * 0.45)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  map.values.forEach((value, index) => {
    context.fillStyle = colourOf([value], map).text;
    const [row, column] = [Math.floor(index / map.width), index % map.width];
    context.fillText(String(value), (column + 0.5) * stride, (row + 0.5) * stride);
  });
}

function line(context, x1, y1, x2, y2) {
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
}

/** The weight of every map pixel in the selected bin. */
function drawWeights({ context, state, map, results, colours }) {
  if (state.bin === null) return;
  const { stride } = state;
  const weights = Array.from({ length: map.height * map.width }, (_, index) =>
    channelsAt(results.grad_features, index, map.channels).reduce((sum, weight) => sum + weight, 0),
  );
  const largest = Math.max(...weights.map(Math.abs)) || 1;
  weights.forEach((weight, index) => {
    if (weight === 0) return;
    context.fillStyle = colours.weight;
    context.globalAlpha = 0.15 + 0.6 * (Math.abs(weight) / largest);
    context.fillRect((index % map.width) * stride, Math.floor(index / map.width) * stride, stride, stride);
  });
  context.globalAlpha = 1;
}

/** The ends of every bin on the image: [[low, high], ..]. */
function endsOnImage(pen, ends) {
  const pairs = [];
  for (let i = 0; i < ends.length; i += 2) pairs.push([onImage(pen, ends[i]), onImage(pen, ends[i + 1])]);
  return pairs;
}

function drawBins(pen) {
  const { context, px, state, results, colours } = pen;
  const rows = endsOnImage(pen, results.bins_y);
  const columns = endsOnImage(pen, results.bins_x);
  const outline = (row, column) => {
    const [[top, bottom], [left, right]] = [rows[row], columns[column]];
    context.strokeRect(left, top, right - left, bottom - top);
  };
  const isFine = sideOfBins(pen) < 34 * px;
  const outlineAll = () => rows.forEach((_, row) => columns.forEach((__, column) => outline(row, column)));
  context.strokeStyle = "rgb(255 255 255 / 85%)";
  context.lineWidth = (isFine ? 2 : 3.5) * px;
  outlineAll();
  context.strokeStyle = colours.bin;
  context.lineWidth = (isFine ? 0.9 : 1.6) * px;
  outlineAll();
  if (state.bin === null) return;
  context.strokeStyle = colours.selected;
  context.lineWidth = 3 * px;
  outline(...state.bin);
}

/** The shorter side of an average bin, in image pixels. */
function sideOfBins({ state }) {
  const [x1, y1, x2, y2] = state.box;
  return Math.min((y2 - y1) / state.bins[0], (x2 - x1) / state.bins[1]);
}

/** Points with a share of their bin have an area that is proportional to it. */
function drawPoints(pen) {
  const { context, px, state, results, colours } = pen;
  const { points } = results;
  const selected = state.bin === null ? -1 : state.bin[0] * state.bins[1] + state.bin[1];
  let largest = 0;
  for (let i = 3; i < points.length; i += 4) largest = Math.max(largest, points[i]);
  const radius = Math.min(Math.max(0.08 * sideOfBins(pen), 1.1 * px), 3.4 * px);
  for (let i = 0; i < points.length; i += 4) {
    const [bin, y, x, share] = points.subarray(i, i + 4);
    const size = largest > 0 ? Math.sqrt(share / largest) : 1;
    context.beginPath();
    context.arc(onImage(pen, x), onImage(pen, y), Math.max(radius * size, 0.8 * px), 0, 2 * Math.PI);
    context.globalAlpha = selected >= 0 && bin !== selected ? 0.35 : 1;
    context.fillStyle = colours.point;
    context.fill();
    context.lineWidth = 0.25 * radius;
    context.strokeStyle = "#ffffff";
    context.stroke();
  }
  context.globalAlpha = 1;
}

/** One arrow per edge of the box, towards larger values. */
function drawGradient({ context, px, state, results, colours }) {
  const [x1, y1, x2, y2] = state.box;
  const [middleX, middleY] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const edges = [[x1, middleY, 1, 0], [middleX, y1, 0, 1], [x2, middleY, 1, 0], [middleX, y2, 0, 1]];
  const largest = Math.max(...results.grad_box.map(Math.abs));
  if (largest < 1e-9) return;
  edges.forEach(([x, y, alongX, alongY], index) => {
    const length = (LONGEST_ARROW * px * results.grad_box[index]) / largest;
    if (Math.abs(length) < 2 * px) return;
    arrow(context, px, x, y, x + alongX * length, y + alongY * length, colours.gradient);
  });
}

function arrow(context, px, x1, y1, x2, y2, colour) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const head = Math.min(11 * px, Math.hypot(x2 - x1, y2 - y1));
  const neck = [x2 - head * Math.cos(angle), y2 - head * Math.sin(angle)];
  const side = (turn) => [neck[0] + 0.6 * head * Math.cos(angle + turn), neck[1] + 0.6 * head * Math.sin(angle + turn)];
  const path = new Path2D();
  path.moveTo(x1, y1);
  path.lineTo(...neck);
  const tip = new Path2D();
  tip.moveTo(x2, y2);
  tip.lineTo(...side(Math.PI / 2));
  tip.lineTo(...side(-Math.PI / 2));
  tip.closePath();
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const [width, stroke] of [[7, "#ffffff"], [4, colour]]) {
    context.strokeStyle = stroke;
    context.fillStyle = colour;
    context.lineWidth = width * px;
    context.stroke(path);
    context.lineWidth = (width - 3) * px;
    context.stroke(tip);
    context.fill(tip);
  }
  context.lineCap = "butt";
}

/** Wx below the image, a row per column of bins. Wy to its right, a column per row of bins. */
function drawTaps(pen) {
  const { state, map, results } = pen;
  const across = (bin, pixel, thickness) => [
    pixel * state.stride, IMAGE.height + GAP + bin * thickness, state.stride, thickness,
  ];
  const down = (bin, pixel, thickness) => [
    IMAGE.width + GAP + bin * thickness, pixel * state.stride, thickness, state.stride,
  ];
  drawStrip(pen, results.taps_x, state.bins[1], map.width, state.bin?.[1], across);
  drawStrip(pen, results.taps_y, state.bins[0], map.height, state.bin?.[0], down);
}

function drawStrip({ context, px, colours }, taps, bins, pixels, selected, placeOf) {
  const thickness = Math.min(STRIP / bins, 24);
  const largest = Math.max(...taps, 1e-300);
  for (let bin = 0; bin < bins; ++bin) {
    for (let pixel = 0; pixel < pixels; ++pixel) {
      const place = placeOf(bin, pixel, thickness);
      const weight = taps.length === 0 ? 0 : taps[bin * pixels + pixel];
      context.globalAlpha = weight / largest;
      context.fillStyle = colours.tap;
      context.fillRect(...place);
      context.globalAlpha = taps.length === 0 ? 0.35 : 1;
      context.lineWidth = 0.7 * px;
      context.strokeStyle = colours.line;
      context.strokeRect(...place);
    }
  }
  context.globalAlpha = 1;
  if (selected === undefined) return;
  const [left, top] = placeOf(selected, 0, thickness);
  const [lastLeft, lastTop, width, height] = placeOf(selected, pixels - 1, thickness);
  context.strokeStyle = colours.selected;
  context.lineWidth = 2.5 * px;
  context.strokeRect(left, top, lastLeft + width - left, lastTop + height - top);
}
