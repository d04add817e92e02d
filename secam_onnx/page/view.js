/** The page: opens photographs, shows what a source (see `engine.js`) makes of them, and saves results. */

import { classesMeant, shownNames } from "./classes.js";
import { centres, limit, report } from "./explanation.js";
import { Figure, sure } from "./figure.js";
import { openPhotograph } from "./photograph.js";
import { shown } from "./shown_text.js";

const LONGEST = 1000; // pixels of a picture on the page
const find = (id) => document.getElementById(id);

export class View {
  picker = document.querySelector("#picker select");
  #figures = [];
  #photograph = null;
  #explanation = null;
  #opened = null; // {blob, name} of the photograph that was opened last
  #turn = 0; // counts photographs, so that late answers to earlier ones are dropped

  constructor(source) {
    this.source = source;
    find("privacy").textContent = source.privacy;
    source.onprogress = (done, total) => {
      const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
      if (total) find("progress").value = done / total;
      find("model").textContent = `Loading the model: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ""} MB`;
    };
    source.ready.then(
      (models) => this.#ready(models),
      (error) => this.#say(`The model cannot be used: ${error.message}`),
    );
    this.#listen();
  }

  #ready(models) {
    find("progress").hidden = true;
    this.models = models;
    this.picker.replaceChildren(...models.map(({ name }, place) => new Option(name, place)));
    find("picker").hidden = models.length < 2;
    this.#use(models[0]);
  }

  /** Show a model's name and its classes. */
  #use(model) {
    this.model = model;
    this.picker.value = this.models.indexOf(model);
    const { name, labels, n_classes } = model;
    const classes = `${n_classes.toLocaleString("en")} classes`;
    find("model").textContent = this.models.length > 1 ? classes : `${shown(name || "The model")}, ${classes}`;
    this.names = labels ? shownNames(labels) : []; // of very many classes, those that were explained
    find("classes").replaceChildren(...this.names.map((name) => new Option(name, name)));
  }

  #listen() {
    const file = find("file");
    find("pick").onclick = () => file.click();
    file.onchange = () => {
      if (file.files.length) this.open(file.files[0]);
      file.value = ""; // so that the same file can be chosen again
    };
    document.ondragover = (event) => event.preventDefault();
    document.ondragenter = () => document.body.classList.add("dragging");
    document.ondragleave = ({ relatedTarget }) => relatedTarget ?? document.body.classList.remove("dragging");
    document.ondrop = (event) => {
      event.preventDefault();
      document.body.classList.remove("dragging");
      this.#take(event.dataTransfer.files, "Only files can be dropped here; drop a photograph.");
    };
    document.onpaste = ({ clipboardData, target }) => {
      const typed = target.matches?.("input") && !clipboardData.files.length;
      if (!typed) this.#take(clipboardData.files, "The clipboard holds no picture.");
    };
    find("shoot").onclick = () => this.#shoot();
    this.picker.onchange = () => this.#pick();
    find("kinds").onchange = () => this.#show();
    find("compare").onchange = () => this.#compare(find("compare").checked);
    find("numbers").onclick = () => this.#saveNumbers();
  }

  #take(files, otherwise) {
    files.length ? this.open(files[0]) : this.#say(otherwise);
  }

  /** Explain the photograph, if there is one, with the model that was picked. */
  #pick() {
    if (this.#opened) this.open(this.#opened.blob, this.#opened.name);
    else this.#use(this.models[this.picker.value]);
  }

  /** Open and explain a photograph, a Blob. */
  async open(blob, name) {
    const turn = ++this.#turn;
    this.#opened = { blob, name };
    this.#say("");
    document.body.ariaBusy = "true";
    const start = performance.now();
    try {
      const photograph = await openPhotograph(blob, name);
      await this.source.ready;
      const waited = performance.now();
      const model = this.models[this.picker.value];
      const explanation = await this.source.explain(photograph, model);
      const small = await shrunk(photograph.bitmap);
      if (turn !== this.#turn) return;
      this.#photograph?.bitmap.close();
      [this.#photograph, this.#explanation] = [photograph, explanation];
      this.#use(model);
      this.scene = { explanation, small, names: this.names, centres: centres(explanation) };
      if (!this.#figures.length) this.#figures.push(this.#figure());
      const { predictions } = explanation;
      for (const [place, figure] of this.#figures.entries()) {
        figure.wanted = (predictions[place] ?? predictions[0]).index;
      }
      document.body.classList.add("explained");
      this.#say("");
      find("result").hidden = false;
      this.#predictions();
      this.#show();
      const seconds = ((performance.now() - Math.max(start, waited)) / 1000).toFixed(2);
      find("done").textContent = `${shown(photograph.name)} was explained in ${seconds} s.`;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#say(error.message);
      this.#opened = this.#photograph; // the earlier one stays
      if (this.model) this.#use(this.model);
    } finally {
      if (turn === this.#turn) document.body.ariaBusy = "false";
    }
  }

  #figure() {
    const figure = new Figure(find("figure"), {
      point: (label) => {
        for (const each of this.#figures) if (each.label !== label) each.point(label);
      },
      choose: (chosen, text) => this.#choose(chosen, text),
      save: (saved) => this.#savePicture(saved),
    });
    find("figures").append(figure.element);
    return figure;
  }

  #show() {
    const kind = document.querySelector("#kinds :checked").value;
    for (const { index, label } of this.#explanation.classes.values()) {
      this.names[index] ??= `${shown(label)} (${index})`;
    }
    // Two classes share one scale, so that they can be compared.
    const entries = this.#figures.map(({ wanted }) => this.#explanation.classes.get(wanted));
    this.scene = { ...this.scene, kind, limit: Math.max(...entries.map(limit)) };
    for (const figure of this.#figures) figure.show(this.scene, figure.wanted);
    for (const button of find("predictions").querySelectorAll("button")) {
      button.ariaPressed = this.#figures.some(({ wanted }) => String(wanted) === button.value);
    }
  }

  #predictions() {
    find("predictions").replaceChildren(
      ...this.#explanation.predictions.map(({ index, label, probability, logit }) => {
        const make = (tag) => document.createElement(tag);
        const [item, button, name, number, bar] = ["li", "button", "span", "span", "progress"].map(make);
        const called = shown(label);
        [name.textContent, number.textContent, button.value] = [called, sure({ probability, logit }), index];
        bar.hidden = !Number.isFinite(probability);
        [bar.value, bar.ariaLabel] = [bar.hidden ? 0 : probability, `probability of ${called}`];
        button.append(name, number, bar);
        button.onclick = () => this.#explain(this.#figures[0], index);
        item.append(button);
        return item;
      }),
    );
  }

  #compare(two) {
    const [first, second] = this.#figures;
    if (two) {
      const other = this.#explanation.predictions.find(({ index }) => index !== first.wanted);
      this.#figures.push(this.#figure());
      this.#figures[1].wanted = other?.index ?? first.wanted;
    } else {
      second.element.remove();
      this.#figures.pop();
    }
    this.#show();
  }

  #choose(figure, text) {
    const { labels, n_classes } = this.model;
    const found = classesMeant(text, labels ?? [], this.names, n_classes);
    if (found.length === 1) return this.#explain(figure, found[0]);
    const some = found.slice(0, 5).map((index) => this.names[index]);
    if (found.length > some.length) some.push("…");
    const typed = `“${shown(text)}”`;
    this.#say(some.length ? `${typed} could be ${some.join(", ")}.` : `No class is called ${typed}.`);
    figure.name.value = this.names[figure.index];
  }

  async #explain(figure, index) {
    this.#say("");
    figure.asked = index;
    const explanation = this.#explanation;
    try {
      await explanation.add(index);
      if (explanation !== this.#explanation || figure.asked !== index) return;
      figure.wanted = index;
      this.#show();
    } catch (error) {
      if (explanation !== this.#explanation) return;
      this.#say(error.message);
      figure.name.value = this.names[figure.index];
    }
  }

  async #shoot() {
    const dialog = find("camera");
    const video = dialog.querySelector("video");
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      return this.#say(`The camera cannot be used (${error.message ?? "this page has no access"}). Choose a file.`);
    }
    dialog.onclose = () => {
      for (const track of video.srcObject.getTracks()) track.stop();
    };
    find("leave").onclick = () => dialog.close();
    find("snap").disabled = true; // until there is a picture to take
    video.onloadeddata = () => (find("snap").disabled = false);
    find("snap").onclick = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      canvas.getContext("2d").drawImage(video, 0, 0);
      dialog.close();
      canvas.toBlob((blob) => this.open(blob, "camera"));
    };
    dialog.showModal();
  }

  #stem() {
    return this.#photograph.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}-]+/gu, "_");
  }

  async #savePicture(figure) {
    const canvas = figure.full(this.#photograph.bitmap);
    const blob = await new Promise((done) => canvas.toBlob(done));
    if (!blob) return this.#say("The photograph is too large for this browser to write a picture of its size.");
    save(
      blob,
      `${this.#stem()}-${figure.entry.label.slice(0, 60).replace(/[^\p{L}\p{N}-]+/gu, "_")}-${this.scene.kind}.png`,
    );
  }

  #saveNumbers() {
    const { name, size } = this.#photograph;
    const counts = new Map(this.#figures.map(({ index, count }) => [index, count]));
    const numbers = report(this.#explanation, counts, { name, height: size[0], width: size[1] });
    save(new Blob([JSON.stringify(numbers, null, 1), "\n"], { type: "application/json" }), `${this.#stem()}.json`);
  }

  #say(text) {
    find("notice").textContent = shown(text, 2000);
    find("notice").hidden = !text;
  }
}

/** A smaller photograph for the page. */
function shrunk(bitmap) {
  const scale = LONGEST / Math.max(bitmap.width, bitmap.height);
  const fit = (side) => Math.max(1, Math.round(side * scale));
  const size = { resizeWidth: fit(bitmap.width), resizeHeight: fit(bitmap.height) };
  return createImageBitmap(bitmap, { ...size, resizeQuality: scale > 4 ? "pixelated" : "high" });
}

function save(blob, name) {
  const link = document.createElement("a");
  [link.href, link.download] = [URL.createObjectURL(blob), name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
