// One image and what the model answered to it.

import { barItems } from "./bars.js";
import { milliseconds, percent, size } from "./wording.js";

const template = document.getElementById("result");

export class Result {
  constructor(file) {
    this.file = file;
    this.answer = null; // the last one
    this.before = null; // the last one of another version
    this.element = template.content.firstElementChild.cloneNode(true);
    this.address = URL.createObjectURL(file);
    this.part("h3").textContent = file.name;
    this.part("h3").title = `${file.name}, ${size(file.size)}`;
    const image = this.part("img");
    image.addEventListener("error", () => {
      image.hidden = true;
      this.part(".picture span").hidden = false;
    });
    image.src = this.address;
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  close() {
    URL.revokeObjectURL(this.address);
    this.element.remove();
  }

  wait() {
    this.element.setAttribute("aria-busy", "true");
    this.part(".waiting").hidden = false;
    this.part(".failure").hidden = true;
  }

  // topK: how many classes to show.
  show(answer, topK) {
    if (this.answer && this.answer.version !== answer.version) this.before = this.answer;
    this.answer = answer;
    this.end("");
    this.render(topK);
  }

  fail(message) {
    this.end(message);
    this.forget();
  }

  forget() {
    this.answer = this.before = null;
    this.render(0);
  }

  end(failure) {
    this.element.removeAttribute("aria-busy");
    this.part(".waiting").hidden = true;
    this.part(".failure").hidden = !failure;
    this.part(".failure").textContent = failure;
  }

  render(topK) {
    const { classes = [], others = [], is_known: isKnown = null } = this.answer || {};
    const rows = classes.slice(0, topK).map(({ name, probability }) => ({ name, figure: percent(probability), fraction: probability ?? 0 }));
    this.part(".bars").replaceChildren(...barItems(rows));
    this.part(".known").hidden = isKnown === null;
    this.part(".pill").className = isKnown ? "pill good" : "pill open";
    this.part(".pill").textContent = isKnown ? "Known: like the training images" : "Unknown: unlike the training images";
    this.part(".others").hidden = !others.length;
    this.part(".others").replaceChildren(...others.flatMap(({ name, shape, values }) => [term("dt", `${name} [${shape.join(", ")}]`), term("dd", values)]));
    this.part(".meta").textContent = this.answer ? meta(this.answer, this.before) : "";
  }

  // For people who hear the page.
  sentence() {
    if (!this.answer) return `${this.file.name}: ${this.part(".failure").textContent}`;
    const [first] = this.answer.classes;
    return `${this.file.name}: ${first ? named(first) : "answered"}, by version ${this.answer.version}`;
  }
}

const named = ({ name, probability }) => `${name}, ${percent(probability)}`;

function meta(answer, before) {
  const times = `${milliseconds(answer.roundTrip)} there and back, ${milliseconds(answer.milliseconds)} of it in the server`;
  const text = `Version ${answer.version} · ${times}`;
  return before?.classes.length ? `${text} · version ${before.version} said ${named(before.classes[0])}` : text;
}

function term(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}
