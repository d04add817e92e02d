/** Where the model's input lies on the photograph: `photograph/geometry.py` of secam-onnx in JavaScript. */

import { resize } from "./resize.js";

/** The size to resize to, and the window of it that the model sees; with letterboxing it starts before the picture. */
function plan([height, width], { size: [rows, columns], resize_to: edge, crop_rounding: rounding }) {
  let to = edge;
  if (edge === null) to = [rows, columns];
  else if (edge === "letterbox") {
    const share = Math.min(rows / height, columns / width);
    to = [height, width].map((side) => Math.max(1, evenly(side * share)));
  } else if (typeof edge === "number") {
    const short = Math.min(height, width);
    to = [height, width].map((side) => (side === short ? edge : Math.trunc((edge * side) / short)));
  }
  const middle = rounding === "even" && edge !== "letterbox" ? evenly : Math.trunc;
  return { to, window: { top: middle((to[0] - rows) / 2), left: middle((to[1] - columns) / 2), rows, columns } };
}

/** To the nearest whole number, halves to the even one, as Python rounds. */
function evenly(value) {
  return value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value);
}

/** The picture that the model sees, (rows, columns, 3) in bytes; `read` as in `resize`. */
export function seen(read, size, preprocessing) {
  const { to, window } = plan(size, preprocessing);
  const { resize_to, interpolation, pad_color } = preprocessing;
  if (resize_to !== "letterbox") return resize(read, size, to, window, interpolation);
  const whole = resize(read, size, to, { top: 0, left: 0, rows: to[0], columns: to[1] }, interpolation);
  const picture = new Uint8Array(window.rows * window.columns * 3);
  for (let i = 0; i < picture.length; i++) picture[i] = pad_color[i % pad_color.length];
  for (let row = 0; row < to[0]; row++) {
    const line = whole.subarray(row * to[1] * 3, (row + 1) * to[1] * 3);
    picture.set(line, ((row - window.top) * window.columns - window.left) * 3);
  }
  return picture;
}

/** Sizes, and the box that the model sees: left, top, right, bottom in pixels of the photograph. */
export function geometryOf([height, width], preprocessing) {
  const { to, window } = plan([height, width], preprocessing);
  const [down, across] = [height / to[0], width / to[1]];
  const { top, left, rows, columns } = window;
  return {
    image_size: [height, width],
    input_size: [rows, columns],
    box: [left * across, top * down, (left + columns) * across, (top + rows) * down],
  };
}

/** The geometry on a photograph of another size. */
export function scaled({ image_size, input_size, box }, [height, width]) {
  const [down, across] = [height / image_size[0], width / image_size[1]];
  return { image_size: [height, width], input_size, box: box.map((edge, i) => edge * (i % 2 ? down : across)) };
}

/** For each row and column of the photograph its place in the box, in [0, 1); NaN outside. */
export function positions({ image_size: [height, width], box: [left, top, right, bottom] }) {
  const along = (length, start, stop) =>
    Float64Array.from({ length }, (_, i) => {
      const place = (i + 0.5 - start) / (stop - start);
      return place >= 0 && place < 1 ? place : NaN;
    });
  return [along(height, top, bottom), along(width, left, right)];
}

/** A function that says of a pixel of the input whether it shows the photograph and not padding. */
export function onPhotograph({ image_size, input_size: [rows, columns], box: [left, top, right, bottom] }) {
  const along = (count, start, stop, length) =>
    Array.from({ length: count }, (_, i) => {
      const place = start + ((i + 0.5) * (stop - start)) / count;
      return place >= 0 && place < length;
    });
  const [y, x] = [along(rows, top, bottom, image_size[0]), along(columns, left, right, image_size[1])];
  return (i) => y[Math.floor(i / columns)] && x[i % columns];
}
