// The feature maps: means of a photograph's pixels, or numbers.

import { PHOTOGRAPH } from "./embedded.js";
import { IMAGE } from "./state.js";

/** Loads the photograph. Returns the picture itself, and its pixels as red, green, blue and opacity. */
export async function loadPhotograph() {
  const picture = new Image();
  picture.src = PHOTOGRAPH;
  await picture.decode();
  const canvas = new OffscreenCanvas(IMAGE.width, IMAGE.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, IMAGE.width, IMAGE.height);
  return { picture, pixels: context.getImageData(0, 0, IMAGE.width, IMAGE.height).data };
}

/** The mean colour of every square of stride x stride pixels, from 0 to 255: three channels. */
function meansOf(pixels, stride, height, width) {
  const values = new Float64Array(3 * height * width);
  for (let y = 0; y < height * stride; ++y) {
    for (let x = 0; x < width * stride; ++x) {
      const target = Math.floor(y / stride) * width + Math.floor(x / stride);
      for (let channel = 0; channel < 3; ++channel) {
        values[channel * height * width + target] += pixels[4 * (y * IMAGE.width + x) + channel];
      }
    }
  }
  return values.map((sum) => sum / (stride * stride));
}

/** The value of a number map at a pixel, from its row and column and its centre in image pixels. */
const NUMBERS = {
  ramp: ({ row, column }) => 10 * row + column,
  hill: ({ x, y }) => Math.round(99 * Math.exp(-(((x - 330) / 130) ** 2) - ((y - 160) / 100) ** 2)),
  random: ({ row, column }) => digit(row, column),
};

/** A digit that looks random: a hash of the row and the column. */
function digit(row, column) {
  let bits = Math.imul(row + 1, 0x9e3779b1) ^ Math.imul(column + 1, 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 15), 0x2c1b3c6d);
  bits = Math.imul(bits ^ (bits >>> 12), 0x297a2d39);
  return ((bits ^ (bits >>> 15)) >>> 0) % 10;
}

/** A map with its range of values: { channels, height, width, values, low, high }. */
export function makeMap(name, stride, pixels) {
  const height = IMAGE.height / stride;
  const width = IMAGE.width / stride;
  if (name === "photograph") {
    return { channels: 3, height, width, values: meansOf(pixels, stride, height, width), low: 0, high: 255 };
  }
  const values = new Float64Array(height * width);
  for (let row = 0; row < height; ++row) {
    for (let column = 0; column < width; ++column) {
      values[row * width + column] = NUMBERS[name]({
        row,
        column,
        x: (column + 0.5) * stride,
        y: (row + 0.5) * stride,
      });
    }
  }
  return { channels: 1, height, width, values, low: Math.min(...values), high: Math.max(...values) };
}

/** The colour of a value, or of the three values of a photograph, and a legible colour for text on it. */
export function colourOf(values, map) {
  const scaled = values.map((value) => Math.min(Math.max((value - map.low) / (map.high - map.low || 1), 0), 1));
  const [light, dark] = [[246, 249, 253], [24, 62, 120]];
  const rgb =
    scaled.length === 3
      ? scaled.map((part) => Math.round(255 * part))
      : light.map((start, index) => Math.round(start + (dark[index] - start) * scaled[0]));
  // Black and white have the same contrast, 4.6, with a luminance of 0.18.
  return { fill: `rgb(${rgb.join(" ")})`, text: luminanceOf(rgb) > 0.18 ? "#000000" : "#ffffff" };
}

/** The relative luminance of a colour, as the Web Content Accessibility Guidelines define it. */
function luminanceOf(rgb) {
  const linear = rgb.map((part) => (part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** The channels of one bin or pixel, from an array [channels, count]. */
export function channelsAt(values, index, channels) {
  const count = values.length / channels;
  return Array.from({ length: channels }, (_, channel) => values[channel * count + index]);
}

/** A number as the page writes it: about four digits. */
export function written(value) {
  if (value === 0 || Math.abs(value) < 1e-12) return "0";
  const digits = Math.abs(value) >= 100 ? 1 : Math.abs(value) >= 1 ? 2 : 4;
  return String(Number(value.toFixed(digits))) === "0" ? value.toExponential(1) : String(Number(value.toFixed(digits)));
}
