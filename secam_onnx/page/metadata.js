/** Reads the `metadata_props` of an ONNX file, which ONNX Runtime Web does not expose: protobuf's wire format, in which
 *  the graph is skipped by its length. */

const PROPERTIES = 14; // ModelProto.metadata_props, of StringStringEntryProto: field 1 is the key, 2 the value

/** The entries of a model file (Uint8Array) as an object. */
export function readMetadata(bytes) {
  const entries = {};
  for (const [field, content] of fields(bytes)) {
    if (field !== PROPERTIES) continue;
    const entry = Object.fromEntries(fields(content));
    entries[text(entry[1])] = text(entry[2]);
  }
  return entries;
}

const text = (bytes) => new TextDecoder().decode(bytes);

/** Number and content of each field that has a length; the others are skipped. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length || scale > 2 ** 63) throw new Error("The file is not an ONNX model, or it is cut off.");
      const byte = bytes[at++];
      value += (byte & 127) * scale; // no shifts: lengths may need more than 32 bits
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, type] = [Math.floor(tag / 8), tag % 8];
    if (type === 0) varint();
    else if (type === 1) at += 8;
    else if (type === 5) at += 4;
    else if (type === 2) {
      const end = varint() + at;
      if (end > bytes.length) throw new Error("The file is not an ONNX model, or it is cut off.");
      yield [field, bytes.subarray(at, end)];
      at = end;
    } else throw new Error("The file is not an ONNX model, or it is cut off.");
  }
}
