// Explain a photograph with a fused model in Node.js:
//   npm install && node explain.mjs fused.onnx photo.jpg overlay.png

import ort from "onnxruntime-node";
import sharp from "sharp";

const [model, photo, picture] = process.argv.slice(2);
const session = await ort.InferenceSession.create(model);
const [, height, width] = session.inputMetadata[0].shape;
const pixels = await sharp(photo)
  .removeAlpha()
  .toColourspace("srgb")
  .resize(width, height, { fit: "fill" })
  .raw()
  .toBuffer();

const feed = { image: new ort.Tensor("uint8", pixels, [1, height, width, 3]) };
if (session.inputNames.includes("classes")) {
  // A model without this input chooses the highest ones. -1 is the class of the highest logit, -2 the next one.
  feed.classes = new ort.Tensor("int64", BigInt64Array.of(-1n, -2n, -3n), [1, 3]);
}
const result = await session.run(feed);

const [, count, most] = result.segment_contributions.dims;
for (let rank = 0; rank < count; rank++) {
  const probability = result.class_probabilities.data[rank].toFixed(4);
  console.log(`${result.class_ids.data[rank]}: ${probability}, logit ${result.class_logits.data[rank].toFixed(3)}`);
  const contributions = result.segment_contributions.data.subarray(
    rank * most,
    rank * most + result.n_segments.data[0],
  );
  const order = [...contributions.keys()].sort((one, other) => contributions[other] - contributions[one]);
  for (const segment of order.slice(0, 3)) {
    console.log(`  superpixel ${segment} adds ${contributions[segment].toFixed(3)}`);
  }
}
const first = result.overlay.data.subarray(0, height * width * 3);
await sharp(first, { raw: { width, height, channels: 3 } }).toFile(picture);
