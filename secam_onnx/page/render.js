/** Pictures of one class: kept superpixels, their scores, or the plain map, as `explanation/overlays.py`. */

import { positions, scaled } from "./geometry.js";
import { rowsOf } from "./photograph.js";

const DARK = 0.16; // brightness of superpixels that are not kept
const UNSEEN_GREY = 0.8;
const FRAME_GREY = 0.35;
const HATCH_PERIOD = 14; // pixels; larger pictures scale it
// ColorBrewer's RdBu, from blue (against the class) over white (nothing) to red (for it).
const RD_BU = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"
  .split(" ")
  .map((hex) => [16, 8, 0].map((shift) => (parseInt(hex, 16) >> shift) & 255));
const STEPS = 2049; // an odd number, so that one of them is exactly zero
const COLOURS = Array.from({ length: STEPS }, (_, i) => {
  const place = (i / (STEPS - 1)) * (RD_BU.length - 1);
  const lower = Math.min(Math.floor(place), RD_BU.length - 2);
  return RD_BU[lower].map((value, channel) => value + (RD_BU[lower + 1][channel] - value) * (place - lower));
});

/** A function (row, column) => label on a picture of that size, -1 where the model saw nothing. */
export function labelsOn({ segments, geometry }, size) {
  const [rows, columns] = geometry.input_size;
  const [y, x] = positions(scaled(geometry, size));
  const [down, across] = [y.map((place) => Math.floor(place * rows)), x.map((place) => Math.floor(place * columns))];
  return (row, column) => {
    const at = down[row] * columns + across[column];
    return at >= 0 ? segments[at] : -1;
  };
}

/** A function (row, column) => value of the map, bilinear; NaN where the model saw nothing. */
function mapOn(cam, [rows, columns], geometry, size) {
  const [y, x] = positions(scaled(geometry, size));
  const axis = (places, cells) => places.map((place) => Math.min(Math.max(place * cells - 0.5, 0), cells - 1));
  const [down, across] = [axis(y, rows), axis(x, columns)];
  const along = (row, at) => {
    const left = Math.floor(at);
    const value = cam[row * columns + left];
    return value + (cam[row * columns + Math.min(left + 1, columns - 1)] - value) * (at - left);
  };
  return (row, column) => {
    const [top, at] = [Math.floor(down[row]), across[column]];
    if (!(top >= 0 && at >= 0)) return NaN;
    const value = along(top, at);
    return value + (along(Math.min(top + 1, rows - 1), at) - value) * (down[row] - top);
  };
}

/**
 * Draw a picture as large as the canvas.
 *
 * @param canvas where to; at the size of `bitmap`
 * @param bitmap the photograph, perhaps made smaller
 * @param explanation, entry  the numbers, and those of one class
 * @param kind superpixels, heatmap or cam
 * @param keep which superpixels are kept, by label
 * @param limit the value of the strongest colour
 */
export function draw(canvas, bitmap, explanation, entry, { kind, keep, limit }) {
  const { width, height } = bitmap;
  const size = [height, width];
  const label = labelsOn(explanation, size);
  const value = kind === "cam" ? mapOn(entry.cam, explanation.map_size, explanation.geometry, size) : null;
  const unseen = outside(explanation.geometry, size);
  const context = canvas.getContext("2d");
  const rows = rowsOf(bitmap);
  const strip = Math.max(1, Math.floor(2 ** 20 / width)); // bounds the memory of large photographs
  for (let top = 0; top < height; top += strip) {
    const count = Math.min(strip, height - top);
    const pixels = rows(top, count);
    for (let i = 0, row = top; row < top + count; row++) {
      for (let column = 0; column < width; column++, i += 4) {
        const found = label(row, column);
        const mean = (pixels[i] + pixels[i + 1] + pixels[i + 2]) / 3;
        if (found < 0) {
          pixels[i] = pixels[i + 1] = pixels[i + 2] = unseen(mean, row, column);
        } else if (kind !== "superpixels") {
          heat(pixels, i, mean, (value ? value(row, column) : entry.segment_scores[found]) / (limit || 1));
        } else if (!keep[found]) {
          for (let channel = i; channel < i + 3; channel++) pixels[channel] *= DARK;
        }
      }
    }
    context.putImageData(new ImageData(pixels, width, count), 0, top);
  }
}

/** A signed value as colour over the grey photograph; the stronger it is, the less of the photograph shows. */
function heat(pixels, i, mean, value) {
  const place = Math.min(Math.max(value, -1), 1);
  const opacity = 0.2 + 0.65 * Math.sqrt(Math.abs(place));
  const grey = (mean * 0.8 + 25.5) * (1 - opacity);
  const colour = COLOURS[Math.round((place + 1) * ((STEPS - 1) / 2))];
  for (let channel = 0; channel < 3; channel++) pixels[i + channel] = grey + colour[channel] * opacity;
}

/** What the model did not see: pale and hatched, with a line around what it saw. */
function outside(geometry, size) {
  const longest = Math.max(...size);
  const period = Math.max(HATCH_PERIOD, Math.floor(longest / 40));
  const line = Math.max(1, Math.floor(longest / 300));
  const [y, x] = positions(scaled(geometry, size));
  const near = (places) => {
    const first = places.findIndex((place) => place >= 0) - line;
    const last = places.findLastIndex((place) => place >= 0) + line;
    return (i) => i >= first && i <= last;
  };
  const [rows, columns] = [near(y), near(x)];
  return (mean, row, column) => {
    if (rows(row) && columns(column)) return FRAME_GREY * 255;
    const pale = mean * 0.3 + UNSEEN_GREY * 0.7 * 255;
    return (row + column) % period < Math.max(1, Math.floor(period / 7)) ? pale * 0.88 : pale;
  };
}

/** The outline of one superpixel, black and white, on a clear canvas. */
export function outline(canvas, explanation, wanted) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (wanted === null) return;
  const label = labelsOn(explanation, [height, width]);
  const inside = (row, column) => label(row, column) === wanted;
  const edge = (row, column, far) =>
    !(inside(row + far, column) && inside(row - far, column) && inside(row, column + far) && inside(row, column - far));
  const picture = context.createImageData(width, height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!inside(row, column) || !edge(row, column, 5)) continue;
      picture.data.set(edge(row, column, 3) ? [255, 255, 255, 255] : [0, 0, 0, 160], (row * width + column) * 4);
    }
  }
  context.putImageData(picture, 0, 0);
}
