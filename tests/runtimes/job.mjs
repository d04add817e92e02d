// One job: a model and the inputs of some runs, in whichever of ONNX Runtime's JavaScript builds it is given.

const ARRAYS = { uint8: Uint8Array, int32: Int32Array, int64: BigInt64Array, float32: Float32Array };

/**
 * @param ort The build.
 * @param model A path or an address.
 * @param job `feeds`: for each run, `{name, type, dims, file}` of each input; `repeats`: how often each is timed.
 * @param read From a file's name to its bytes, an ArrayBuffer.
 * @param write Takes a file's name and bytes.
 * @returns For each run `outputs`, described as inputs are, and `milliseconds`; and how long opening took.
 */
export async function answer(ort, model, job, read, write) {
  const begun = performance.now();
  const session = await ort.InferenceSession.create(model);
  const opened = performance.now() - begun;
  const runs = [];
  for (const [number, feed] of job.feeds.entries()) {
    const inputs = {};
    for (const { name, type, dims, file } of feed) {
      inputs[name] = new ort.Tensor(type, new ARRAYS[type](await read(file)), dims);
    }
    const results = await session.run(inputs);
    const milliseconds = [];
    for (let round = 0; round < job.repeats; round++) {
      const start = performance.now();
      await session.run(inputs);
      milliseconds.push(performance.now() - start);
    }
    const outputs = [];
    for (const [name, { type, dims, data }] of Object.entries(results)) {
      const file = `${number}-${name}.raw`;
      await write(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      outputs.push({ name, type, dims, file });
    }
    runs.push({ outputs, milliseconds });
  }
  return { runs, opened };
}
