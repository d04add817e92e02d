/** One class on the photograph: its picture, slider and sum, and the superpixel under the pointer. */

import { noPlace } from "./attention.js";
import { kept, padding, parts, ranking, usual } from "./explanation.js";
import { draw, labelsOn, outline } from "./render.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A number with its sign, as the panel of secam-onnx writes it. */
export function signed(value) {
  const text = Math.abs(value) < 1e4 ? value.toFixed(2) : value.toPrecision(3);
  if (Number(text) === 0) return "0";
  return (value > 0 ? "+" : "−") + text.replace("-", "");
}

export class Figure {
  count = null; // superpixels to keep; null: the usual number

  /** `on` has `point(label)`, `choose(figure, text)` and `save(figure)`. */
  constructor(template, on) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    [this.picture, this.pointer, this.slider] = [find(".picture"), find(".pointer"), find(".keep input")];
    [this.name, this.readout] = [find(".class"), find(".readout")];
    this.find = find;
    this.on = on;
    this.name.onfocus = () => this.name.select();
    this.name.onchange = () => on.choose(this, this.name.value);
    this.slider.oninput = () => this.#keep(Number(this.slider.value));
    this.pointer.onpointermove = this.pointer.onpointerdown = (event) => on.point(this.#under(event));
    this.pointer.onpointerleave = ({ pointerType }) => pointerType === "mouse" && on.point(null);
    this.pointer.onkeydown = (event) => this.#key(event);
    find(".save").onclick = () => on.save(this);
  }

  /** `scene` is {explanation, centres, names, small, kind, limit}; `index` the class. */
  show(scene, index) {
    if (index !== this.index || scene.explanation !== this.scene?.explanation) this.count = null;
    [this.scene, this.index] = [scene, index];
    this.entry = scene.explanation.classes.get(index);
    for (const canvas of [this.picture, this.pointer]) {
      if (canvas.width !== scene.small.width || canvas.height !== scene.small.height) {
        [canvas.width, canvas.height] = [scene.small.width, scene.small.height];
      }
    }
    this.name.value = scene.names[index];
    this.find(".probability").value = sure(this.entry);
    this.pointer.ariaLabel = `Superpixels for ${scene.names[index]}; use the arrow keys to move between them`;
    this.slider.max = this.entry.segment_scores.length;
    this.find(".keep").hidden = scene.kind !== "superpixels";
    this.find(".legend").hidden = scene.kind === "superpixels";
    this.find(".low").textContent = `${signed(-scene.limit)} against`;
    this.find(".high").textContent = `for ${signed(scene.limit)}`;
    this.#keep(this.count);
    this.point(null);
  }

  #keep(count) {
    this.count = count;
    const { entry, scene, slider } = this;
    const keep = kept(entry, count);
    slider.value = count ?? usual(entry);
    const { inside, outside, bias, gap, share } = parts(entry, keep);
    const outOfSight = padding(scene.explanation).filter((padded, label) => padded && keep[label]).length;
    const where = outOfSight ? ` (${outOfSight} in the padding)` : "";
    const text = `${slider.value} of ${keep.length} superpixels${where} carry ${percent(share)} of what speaks for it`;
    this.find(".carried").textContent = slider.ariaValueText = text;
    const terms = { kept: inside, rest: outside, bias, ...(Math.abs(gap) > 0.005 && { gap }) };
    const term = ([name, value]) => `${value < 0 ? "−" : "+"} ${Math.abs(value).toFixed(2)} ${name}`;
    const sum = Object.entries(terms).map(term);
    const what = explained(scene.explanation);
    const { attention_blocks, attribution } = scene.explanation.method ?? {};
    const told = attention_blocks ? `. ${noPlace(entry)}. Map: ${attribution}.` : "";
    const total = `${what} ${entry.logit.toFixed(2)} = ${sum.join(" ").replace(/^\+ /, "")}`;
    this.find("figcaption").textContent = total + told;
    draw(this.picture, scene.small, scene.explanation, entry, { ...scene, keep });
  }

  /** The picture at the photograph's full size, as a canvas. */
  full(bitmap) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    draw(canvas, bitmap, this.scene.explanation, this.entry, { ...this.scene, keep: kept(this.entry, this.count) });
    return canvas;
  }

  /** Show the values of a superpixel; null: of none, -1: of what the model did not see. */
  point(label) {
    const { entry, scene } = this;
    this.label = label;
    outline(this.pointer, scene.explanation, label);
    this.readout.className = "readout";
    if (label === null) this.readout.value = "Point at a superpixel to read its values, or use the arrow keys.";
    else if (label < 0) this.readout.value = "The model did not see this part.";
    else {
      const rank = ranking(entry).indexOf(label) + 1;
      const part = entry.segment_contributions[label];
      this.readout.classList.add(part < 0 ? "against" : "for");
      this.readout.value =
        `${signed(part)} of the ${explained(scene.explanation)} ${part < 0 ? "(against)" : "(for)"}, ` +
        `mean score ${signed(entry.segment_scores[label])} per cell, rank ${rank} of ${entry.segment_scores.length}` +
        (padding(scene.explanation)[label] ? ", in the padding" : "");
    }
  }

  #under({ clientX, clientY }) {
    const { left, top, width, height } = this.pointer.getBoundingClientRect();
    const column = Math.floor(((clientX - left) / width) * this.pointer.width);
    const row = Math.floor(((clientY - top) / height) * this.pointer.height);
    return labelsOn(this.scene.explanation, [this.pointer.height, this.pointer.width])(row, column);
  }

  #key(event) {
    const order = ranking(this.entry);
    let next;
    if (event.key === "Escape") next = null;
    else if (event.key === "Home") next = order[0];
    else if (event.key === "End") next = order.at(-1);
    else if (event.key in STEPS) next = this.label in this.scene.centres ? this.#beside(STEPS[event.key]) : order[0];
    else return;
    event.preventDefault();
    this.on.point(next);
  }

  /** The nearest superpixel in that direction; at the border the same one. */
  #beside([down, right]) {
    const { centres } = this.scene;
    const [y, x] = centres[this.label];
    let [best, least] = [this.label, Infinity];
    centres.forEach((centre, label) => {
      const ahead = (centre[0] - y) * down + (centre[1] - x) * right;
      const aside = Math.abs((centre[0] - y) * right) + Math.abs((centre[1] - x) * down);
      if (ahead > aside && ahead + aside < least) [best, least] = [label, ahead + aside];
    });
    return best;
  }
}

/** What the numbers of an explanation add up to: the logit, or the output itself. */
function explained({ method }) {
  return method?.explained ?? "logit";
}

/** The probability of a class in percent; without one (NaN, null) the logit. */
export function sure({ probability, logit }) {
  return Number.isFinite(probability) ? percent(probability) : signed(logit);
}

/** A share in percent. */
export function percent(share) {
  return `${(100 * share).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}
