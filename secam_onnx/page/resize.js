/** Pillow's antialiased resize, bit by bit: a separable convolution in fixed point, rows first, then columns. */

const PRECISION = 32 - 8 - 2; // bits behind the point
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** Name: [support, weight at a distance in pixels of the coarser picture]. */
const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  hamming: [1, (x) => (Math.abs(x) < 1 ? sinc(x) * (0.54 + 0.46 * Math.cos(Math.PI * x)) : 0)],
  bicubic: [2, (x) => cubic(Math.abs(x))],
  lanczos: [3, (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0)],
};

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1; // Keys' kernel, a = -0.5
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** For each new pixel along one axis: the first old pixel that it is made of, and the weights from there on. */
function taps(length, wanted, start, count, filter) {
  if (filter === "nearest") return nearest(length, wanted, start, count);
  if (length === wanted) return Array.from({ length: count }, (_, i) => [start + i, [1 << PRECISION]]);
  const [reach, weight] = FILTERS[filter];
  const scale = length / wanted;
  const stretch = Math.max(1, scale);
  return Array.from({ length: count }, (_, i) => {
    const centre = (start + i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (_, x) => weight((x + first - centre + 0.5) * (1 / stretch)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map((w) => Math.trunc((w / sum) * (1 << PRECISION) + (w < 0 ? -0.5 : 0.5)))];
  });
}

function nearest(length, wanted, start, count) {
  const found = [];
  let at = (length / wanted) * 0.5;
  for (let i = 0; i < start + count; i++, at += length / wanted) {
    if (i >= start) found.push([Math.trunc(at), [1 << PRECISION]]); // summed up, as Pillow does
  }
  return found;
}

/**
 * A window of the resized picture.
 *
 * @param read (top, count) => Uint8ClampedArray: rows of the picture, RGBA
 * @param from [height, width] of the picture
 * @param to [height, width] of the whole resized one
 * @param window {top, left, rows, columns}, the part to make
 * @param filter a name of Pillow's
 * @returns Uint8Array (rows, columns, 3)
 */
export function resize(read, from, to, { top, left, rows, columns }, filter) {
  const down = taps(from[0], to[0], top, rows, filter);
  const across = taps(from[1], to[1], left, columns, filter);
  const first = Math.min(...down.map(([at]) => at));
  const end = Math.max(...down.map(([at, weights]) => at + weights.length));
  const narrow = new Uint8ClampedArray((end - first) * columns * 3);
  const strip = Math.max(1, Math.floor(2 ** 20 / from[1])); // rows in memory at once
  for (let y = first; y < end; y += strip) {
    const count = Math.min(strip, end - y);
    const pixels = read(y, count);
    for (let row = 0; row < count; row++) {
      convolve(pixels, row * from[1] * 4, 4, across, narrow, (y - first + row) * columns * 3, 3);
    }
  }
  const result = new Uint8ClampedArray(rows * columns * 3);
  for (let column = 0; column < columns; column++) {
    convolve(narrow, (column - first * columns) * 3, columns * 3, down, result, column * 3, columns * 3);
  }
  return new Uint8Array(result.buffer);
}

/** One line of three channels; `step` is the way from one pixel to the next. */
function convolve(source, offset, step, table, target, place, stride) {
  for (const [first, weights] of table) {
    let [red, green, blue] = [0, 0, 0];
    for (let i = 0, at = offset + first * step; i < weights.length; i++, at += step) {
      red += source[at] * weights[i];
      green += source[at + 1] * weights[i];
      blue += source[at + 2] * weights[i];
    }
    const half = 1 << (PRECISION - 1);
    target[place] = (red + half) >> PRECISION;
    target[place + 1] = (green + half) >> PRECISION;
    target[place + 2] = (blue + half) >> PRECISION;
    place += stride;
  }
}
