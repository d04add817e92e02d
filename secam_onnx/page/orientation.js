/** Turns WebP files by their EXIF orientation, which Chromium ignores; browsers turn other formats themselves. */

const ORIENTATION = 0x0112;
// Two pixels side by side, to be turned by 90 degrees: if they end up one above the other, the browser turns WebP.
const TRIAL =
  "UklGRlIAAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TBEAAAAvAQAAAAfQ//73v/+BiOh/AABFWElGGgAAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA";
// By orientation: the canvas's matrix for a picture of w x h pixels.
const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (_w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (_w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/** The upright bitmap of a file (Blob), in place of the one that the browser made. */
export async function upright(blob, bitmap) {
  const orientation = webpOrientation(new DataView(await blob.arrayBuffer()));
  if (!(orientation in TURNS) || (await turnsItself())) return bitmap;
  const { width, height } = bitmap;
  const canvas = orientation > 4 ? new OffscreenCanvas(height, width) : new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.setTransform(...TURNS[orientation](width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}

let known;
const turnsItself = () => (known ??= trial());

async function trial() {
  const bytes = Uint8Array.from(atob(TRIAL), (letter) => letter.charCodeAt(0));
  const { width, height } = await createImageBitmap(new Blob([bytes]), { imageOrientation: "from-image" });
  return height > width;
}

/** The orientation of a WebP file; 1 if it has none that can be read. */
function webpOrientation(view) {
  const name = (at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
  try {
    if (name(0) !== "RIFF" || name(8) !== "WEBP") return 1;
    for (let at = 12; ; ) {
      const size = view.getUint32(at + 4, true);
      if (name(at) === "EXIF") return exifOrientation(view, name(at + 8) === "Exif" ? at + 14 : at + 8);
      at += 8 + size + (size % 2);
    }
  } catch {
    return 1; // past the end of the file
  }
}

function exifOrientation(view, start) {
  const little = view.getUint16(start) === 0x4949;
  const table = start + view.getUint32(start + 4, little);
  const entries = view.getUint16(table, little);
  for (let at = table + 2; at < table + 2 + 12 * entries; at += 12) {
    if (view.getUint16(at, little) === ORIENTATION) return view.getUint16(at + 8, little);
  }
  return 1;
}
