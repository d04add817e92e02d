/** Explanations from a server, which gets the photograph's file as it is. A source as described in `engine.js`. */

import { TOP } from "../explanation.js";
import { request, tensors } from "./tensors.js";

const SEGMENTS = ["segment_scores", "segment_contributions"];
const OF_CLASSES = ["class_ids", "class_probabilities", "class_logits", "bias", "cam", ...SEGMENTS];
const OF_PHOTOGRAPH = ["segments", "n_segments", "box", "image_size"];
const [WAIT, WAITS] = [500, 600]; // milliseconds between checks whether the models are ready, and the most checks

export class Remote {
  privacy = "The photograph is sent to this server, which keeps no copy.";
  onprogress = () => {};
  #last = new AbortController();

  constructor(server) {
    this.server = server;
    this.ready = this.#models();
  }

  async #models() {
    for (let waits = 0; waits < WAITS; waits++) {
      const { bytes } = await this.server.ask("models.json");
      const { models, timeout_s, max_body_bytes } = JSON.parse(new TextDecoder().decode(bytes));
      [this.server.timeout, this.largest] = [timeout_s * 1000, max_body_bytes];
      if (models.every(({ ready }) => ready)) return models;
      await new Promise((done) => setTimeout(done, WAIT));
    }
    throw new Error("The server's models are not ready; its log says why.");
  }

  async explain(photograph, model) {
    this.#last.abort(); // nobody waits for the earlier photograph any more
    this.#last = new AbortController();
    const { signal } = this.#last;
    const image = new Uint8Array(await photograph.blob.arrayBuffer());
    const ask = async (classes, outputs, signal) => {
      const named = model.labels ? [] : ["class_labels"];
      const options = request(image, [...outputs, ...named], { classes });
      this.#check(photograph.name, options.body.size);
      return tensors(await this.server.ask(`v2/models/${model.name}/infer`, { ...options, signal }));
    };

    const start = performance.now();
    const found = await ask(`top-${Math.min(TOP, model.n_classes)}`, [...OF_CLASSES, ...OF_PHOTOGRAPH], signal);
    const predictions = entries(found, model.labels);
    const [image_size, box] = [found.image_size, found.box].map(({ data }) => Array.from(data));
    const geometry = { image_size, input_size: found.segments.shape.slice(1), box };
    checkSize(photograph.size, image_size);
    const map_size = found.cam.shape.slice(2);
    const explanation = {
      geometry,
      map_size,
      segments: found.segments.data,
      predictions,
      classes: new Map(predictions.map((entry) => [entry.index, entry])),
      method: { ...model.method, map_size },
      timings: { request: performance.now() - start },
      add: async (index) => {
        if (explanation.classes.has(index)) return;
        const [entry] = entries(await ask(index, [...OF_CLASSES, "n_segments"]), model.labels);
        if (entry.segment_scores.length !== predictions[0].segment_scores.length) {
          throw new Error("The server's settings have changed; open the photograph again.");
        }
        explanation.classes.set(index, entry);
      },
    };
    return explanation;
  }

  /** A server that refuses a large request closes the connection early, and browsers then hide the reason. */
  #check(name, size) {
    if (size <= this.largest) return;
    const [found, most] = [size, this.largest].map((bytes) => bytes.toLocaleString("en"));
    throw new Error(
      `${name} makes a request of ${found} bytes; the server accepts at most ${most}. Make the photograph smaller.`,
    );
  }
}

/** The values of each class, in the form that the view takes. */
function entries({ n_segments, ...tensors }, labels) {
  const count = tensors.class_ids.data.length;
  const of = (name, row) => {
    const { data } = tensors[name];
    return data.slice((row * data.length) / count, ((row + 1) * data.length) / count);
  };
  return Array.from({ length: count }, (_, row) => {
    const index = Number(tensors.class_ids.data[row]);
    return {
      index,
      label: labels ? labels[index] : tensors.class_labels.data[row],
      probability: tensors.class_probabilities.data[row],
      logit: tensors.class_logits.data[row],
      bias: tensors.bias.data[row],
      cam: of("cam", row),
      segment_scores: of("segment_scores", row).slice(0, n_segments.data[0]),
      segment_contributions: of("segment_contributions", row).slice(0, n_segments.data[0]),
    };
  });
}

/** Compares the sizes, which differ if the server and this browser turn the photograph differently. */
function checkSize(shown, found) {
  if (shown.every((side, axis) => side === found[axis])) return;
  throw new Error("This browser and the server turn the photograph differently; save it as a JPEG file and open that.");
}
