/** Photographs from files, the clipboard or the camera: upright and of bounded size, or refused with the reason. */

import { upright } from "./orientation.js";

export const MAX_PIXELS = 100_000_000; // these three as in photograph/images.py
export const MIN_SIDE = 4;
export const MAX_ASPECT = 50;

/** Open a file, as {name, blob, bitmap, size: [height, width]}; throws an Error whose message is shown. */
export async function openPhotograph(blob, name = blob.name ?? "the picture") {
  const { naturalHeight: height, naturalWidth: width } = await measured(blob, name);
  const pixels = (height * width).toLocaleString("en");
  if (height * width > MAX_PIXELS) {
    const most = MAX_PIXELS.toLocaleString("en");
    const found = `${name} has ${pixels} pixels (${width} × ${height})`;
    throw new Error(`${found}, over the limit of ${most}; make it smaller.`);
  }
  const [short, long] = [Math.min(height, width), Math.max(height, width)];
  if (short < MIN_SIDE || long > MAX_ASPECT * short) {
    throw new Error(
      `${name} is ${width} × ${height} pixels; at least ${MIN_SIDE} on each side and at most ${MAX_ASPECT} : 1 ` +
        "was expected. Give a photograph.",
    );
  }
  try {
    // Values as in the file, as Pillow reads them: colour profiles are not applied.
    const decoded = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    const bitmap = await upright(blob, decoded);
    return { name, blob, bitmap, size: [bitmap.height, bitmap.width] };
  } catch {
    throw new Error(
      `${name} (${pixels} pixels) cannot be decoded here: it may be cut off, or too large for the browser.`,
    );
  }
}

/** The size of an upright picture, before it is decoded. */
async function measured(blob, name) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await new Promise((good, bad) => ([image.onload, image.onerror] = [good, bad]));
    return image;
  } catch {
    throw new Error(`${name} is not a picture that this browser can read; JPEG, PNG, WebP, GIF and AVIF are.`);
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** A reader of rows, RGBA, with transparency laid over white. */
export function rowsOf(bitmap) {
  return (top, count) => {
    const context = new OffscreenCanvas(bitmap.width, count).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, bitmap.width, count);
    context.drawImage(bitmap, 0, -top);
    return context.getImageData(0, 0, bitmap.width, count).data;
  };
}
