/** Explanations made in the browser: the model runs in a worker, and nothing leaves the page.
 *
 *  The view takes any source of this form: `privacy`, a sentence on where photographs go; `ready`, a promise of one or
 *  more models, each {name, n_classes, labels}, with null for more labels than a page can show; `onprogress(done,
 *  total)`, called with bytes while they load; and `explain(photograph, model)`, a promise of an explanation:
 *
 *    geometry      {image_size, input_size, box}, as in `geometry.js`
 *    segments      Int32Array of input_size, dense labels
 *    map_size      rows and columns of a class's `cam`
 *    predictions   the highest classes, best first, each as in `classes`
 *    classes       Map from index to {index, label, probability, logit, bias, cam, segment_scores, segment_contributions}
 *    add(index)    explains one more class; a promise, after which it is in `classes`
 *    method, timings
 */

import { attributionThrough } from "./attention.js";

export class Engine {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #current = null;
  privacy = "The model runs in your browser; the photograph stays on this machine.";
  onprogress = () => {};

  constructor(model) {
    this.#worker.onmessage = ({ data: { id, progress, result, error } }) => {
      if (progress) return this.onprogress(progress.done, progress.total);
      const [resolve, reject] = this.#waiting.get(id);
      this.#waiting.delete(id);
      error === undefined ? resolve(result) : reject(new Error(error));
    };
    this.#worker.onerror = (event) => {
      for (const [, reject] of this.#waiting.values()) reject(new Error(event.message ?? "The page is incomplete."));
    };
    this.ready = this.#ask({ model: new URL(model, document.baseURI).href }).then((metadata) => {
      this.metadata = metadata;
      const { fused, labels, origin } = metadata;
      const names = labels ?? Array.from({ length: fused.n_classes }, (_, index) => `class ${index}`);
      return [{ name: origin.network ?? origin.file ?? origin.source ?? "", labels: names, n_classes: names.length }];
    });
  }

  #ask(order, transfer = []) {
    const id = crypto.getRandomValues(new Uint32Array(2)).join();
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, [resolve, reject]);
      this.#worker.postMessage({ id, ...order }, transfer);
    });
  }

  async explain(photograph, { labels }) {
    const named = (entry) => ({ ...entry, label: labels[entry.index] });
    const bitmap = await createImageBitmap(photograph.bitmap);
    this.#current = photograph;
    const { classes, ...rest } = await this.#ask({ bitmap }, [bitmap]);
    const predictions = classes.map(named);
    const explanation = {
      ...rest,
      predictions,
      classes: new Map(predictions.map((entry) => [entry.index, entry])),
      method: this.#method(),
      add: async (index) => {
        if (explanation.classes.has(index)) return;
        if (this.#current !== photograph)
          throw new Error("Another photograph was opened meanwhile; open this one again.");
        const more = await this.#ask({ classes: [index] });
        explanation.classes.set(index, named(more.classes[0]));
      },
    };
    return explanation;
  }

  #method() {
    const { head, fused, preprocessing, origin, activation, probabilities, probability } = this.metadata;
    const detached = fused.attribution === "detached";
    const raw = activation === "none" && (probabilities != null || probability === "none");
    return {
      name: "SeCAM",
      model: origin.network ?? origin.file ?? origin.source ?? null,
      head: head.kind,
      explained: raw ? "output" : "logit", // as `ModelMetadata.explained`
      attribution: detached ? attributionThrough(head.attention) : fused.attribution,
      ...(detached && { attention_blocks: { passed: head.attention.passed, total: head.attention.total } }),
      features: head.features,
      map_size: fused.map_size,
      superpixels: fused.segmenter,
      preprocessing,
      runtime: "ONNX Runtime Web, in the browser",
      version: origin.exporter ?? null,
    };
  }
}
