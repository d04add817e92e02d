/** Runs the model in a thread of its own: ONNX Runtime Web, and the preprocessing of photographs. */

import { TOP } from "./explanation.js";
import { geometryOf, seen } from "./geometry.js";
import { readMetadata } from "./metadata.js";
import { rowsOf } from "./photograph.js";
import * as ort from "./vendor/ort.js";

const SCHEMA = 2;
const RUNTIME = new URL("./vendor/ort.wasm.gz", import.meta.url);
let session, metadata, input;

/** Messages {id, ...} are answered with {id, result} or {id, error}, one after the other. */
let queue = Promise.resolve();
self.onmessage = ({ data: { id, ...order } }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ id, result: await (order.model ? open(order.model) : explain(order)) });
    } catch (error) {
      postMessage({ id, error: error.message ?? String(error) });
    }
  });
};

async function open(model) {
  const progress = { done: 0, total: 0 };
  const [runtime, bytes] = await Promise.all([fetched(RUNTIME, progress), fetched(model, progress)]);
  metadata = JSON.parse(readMetadata(bytes).secam_onnx ?? "{}");
  if (!metadata.fused) throw new Error("The model is not a fused one. `secam-onnx demo` makes a page of any model.");
  if (metadata.schema !== SCHEMA || metadata.fused.schema !== SCHEMA) {
    throw new Error(
      `The model has schema ${metadata.fused.schema}; this page reads ${SCHEMA}. Fuse the original model again.`,
    );
  }
  const packed = runtime[0] === 0x1f; // some web servers unpack the file themselves
  ort.env.wasm.wasmBinary = packed ? await unpacked(runtime) : runtime.buffer;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], logSeverityLevel: 3 });
  return metadata;
}

/** The bytes of a file; progress is posted meanwhile. */
async function fetched(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${new URL(url).pathname} cannot be read (${response.status}).`);
  // For packed content the length is not that of the file.
  progress.total += response.headers.has("Content-Encoding") ? NaN : Number(response.headers.get("Content-Length"));
  const chunks = [];
  for (let reader = response.body.getReader(), last = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress.done += value.length;
    if (performance.now() - last > 50) {
      postMessage({ progress });
      last = performance.now();
    }
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

const unpacked = (bytes) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();

/** Explain classes of a new photograph (`bitmap`), or more classes of the last one. */
async function explain({ bitmap, classes }) {
  const { size, batch, n_classes, map_size } = metadata.fused;
  const timings = {};
  if (bitmap) {
    const start = performance.now();
    const image_size = [bitmap.height, bitmap.width];
    input = {
      geometry: geometryOf(image_size, metadata.preprocessing),
      pixels: seen(rowsOf(bitmap), image_size, metadata.preprocessing),
    };
    bitmap.close();
    timings.preprocess = performance.now() - start;
  }
  const asked = classes ?? Array.from({ length: Math.min(TOP, n_classes) }, (_, rank) => -1 - rank);
  const n = batch ?? 1; // a model with a fixed batch size gets the picture that many times
  const pixels = new Uint8Array(n * input.pixels.length);
  for (let i = 0; i < n; i++) pixels.set(input.pixels, i * input.pixels.length);
  const start = performance.now();
  const outputs = await session.run({
    image: new ort.Tensor("uint8", pixels, [n, ...size, 3]),
    classes: new ort.Tensor("int64", BigInt64Array.from(asked, BigInt), [1, asked.length]),
  });
  timings.forward = performance.now() - start;

  const found = outputs.n_segments.data[0];
  const of = (name, row) => {
    const length = outputs[name].data.length / n / asked.length;
    return outputs[name].data.slice(row * length, (row + 1) * length);
  };
  return {
    geometry: input.geometry,
    map_size,
    segments: outputs.segments.data.slice(0, size[0] * size[1]),
    classes: asked.map((_, row) => ({
      index: Number(of("class_ids", row)[0]),
      probability: of("class_probabilities", row)[0],
      logit: of("class_logits", row)[0],
      bias: of("bias", row)[0],
      cam: of("cam", row),
      segment_scores: of("segment_scores", row).slice(0, found),
      segment_contributions: of("segment_contributions", row).slice(0, found),
    })),
    timings,
  };
}
