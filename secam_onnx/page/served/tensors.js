/** Binary tensors of the Open Inference Protocol: JSON, whose length is in a header, followed by the values as they are
 *  in memory, little-endian as in every browser. */

const LENGTH = "Inference-Header-Content-Length";
const ARRAYS = { INT64: BigInt64Array, INT32: Int32Array, FP32: Float32Array, FP64: Float64Array };

/** A request with one encoded image (Uint8Array), as options of `fetch`. */
export function request(image, outputs, parameters) {
  const size = new Uint8Array(4); // stands before each element of BYTES
  new DataView(size.buffer).setUint32(0, image.length, true);
  const head = new TextEncoder().encode(
    JSON.stringify({
      inputs: [
        {
          name: "encoded_image",
          datatype: "BYTES",
          shape: [1],
          parameters: { binary_data_size: size.length + image.length },
        },
      ],
      outputs: outputs.map((name) => ({ name, parameters: { binary_data: true } })),
      parameters,
    }),
  );
  return {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", [LENGTH]: String(head.length) },
    body: new Blob([head, size, image]),
  };
}

/** The outputs of a response, {name: {shape, data}}. */
export function tensors({ headers, bytes }) {
  let at = Number(headers.get(LENGTH));
  if (!at)
    throw new Error(
      "The answer has no binary tensors; a proxy between this page and the server may drop their header.",
    );
  const { outputs } = JSON.parse(new TextDecoder().decode(bytes.slice(0, at)));
  const found = outputs.map(({ name, datatype, shape, parameters: { binary_data_size: size } }) => {
    const part = bytes.slice(at, at + size); // a copy, as a view must be aligned
    const data = datatype === "BYTES" ? texts(part) : new ARRAYS[datatype](part);
    at += size;
    return [name, { shape, data }];
  });
  return Object.fromEntries(found);
}

/** The texts in a tensor of BYTES, each of which follows its length. */
function texts(buffer) {
  const [found, view] = [[], new DataView(buffer)];
  for (let at = 0; at < buffer.byteLength; ) {
    const length = view.getUint32(at, true);
    found.push(new TextDecoder().decode(new Uint8Array(buffer, at + 4, length)));
    at += 4 + length;
  }
  return found;
}
