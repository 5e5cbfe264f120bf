// What is known of a version: its training, its model card, its signatures.

import { barItems } from "./bars.js";
import { count, date, percent } from "./wording.js";

const at = (id) => document.getElementById(id);

function factRows({ metrics, ...facts }) {
  const rows = [];
  const add = (label, value, text) => {
    if (value !== undefined) rows.push([label, text ?? String(value)]);
  };
  add("Network", facts.net);
  add("Training images", facts.num_train_images, count(facts.num_train_images ?? 0));
  add("Accuracy", metrics.accuracy, accuracy(metrics));
  add("Macro F1", metrics.macro_f1, percent(metrics.macro_f1));
  if (metrics.accuracy === undefined) add("Best accuracy while training", facts.best_eval_accuracy, percent(facts.best_eval_accuracy));
  add("Image size", facts.image_size, `${facts.image_size} × ${facts.image_size} pixels`);
  add("Started from", facts.checkpoint);
  add("Run", facts.run_id);
  add("Pushed", facts.time, facts.time === undefined ? "" : date(facts.time));
  add("Label map", facts.label_map_version, `version ${facts.label_map_version}`);
  return rows;
}

function accuracy({ accuracy: value, accuracy_interval: interval, num_images: images }) {
  const range = interval ? ` (${percent(interval[0])} to ${percent(interval[1])})` : "";
  return percent(value) + range + (images === undefined ? "" : ` on ${count(images)} images`);
}

function showClasses(classes) {
  const most = Math.max(1, ...classes.map((one) => one.num_images ?? 0));
  const rows = classes.map(({ name, num_images: images }) => ({
    name,
    figure: images === null ? "" : count(images),
    fraction: images === null ? null : images / most,
  }));
  at("classes").hidden = !classes.length;
  const counted = classes.some((one) => one.num_images !== null);
  at("classes-heading").textContent = `${count(classes.length)} classes${counted ? ", with their training images" : ""}`;
  at("class-list").replaceChildren(...barItems(rows));
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const shape = (sizes) => (sizes === null ? "any" : `[${sizes.map((one) => one ?? "any").join(", ")}]`);

function signatureTable({ name, inputs, outputs }) {
  const table = element("table", "");
  table.append(element("caption", name));
  const head = table.createTHead().insertRow();
  head.append(...["", "Tensor", "Type", "Shape"].map((text) => (text ? element("th", text, { scope: "col" }) : element("td", ""))));
  const body = table.createTBody();
  for (const [kind, tensors] of [["Input", inputs], ["Output", outputs]]) {
    for (const tensor of tensors) {
      const row = body.insertRow();
      row.append(element("td", kind, { class: "muted" }), element("th", tensor.name, { scope: "row" }), element("td", tensor.dtype), element("td", shape(tensor.shape)));
    }
  }
  const scroll = element("div", "", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Signature ${name}` });
  scroll.append(table);
  return scroll;
}

export function showVersion(about) {
  const rows = factRows(about.facts);
  at("unknown").hidden = rows.length + about.facts.classes.length > 0;
  at("faults").hidden = !about.faults.length;
  at("faults").replaceChildren(...about.faults.map((fault) => element("li", fault)));
  at("facts").replaceChildren(...rows.map(([label, text]) => {
    const row = element("div", "");
    row.append(element("dt", label), element("dd", text));
    return row;
  }));
  showClasses(about.facts.classes);
  at("card").hidden = !about.card;
  at("card-text").innerHTML = about.card; // made by the server from Markdown: its texts are escaped there
  at("signatures").replaceChildren(...about.signatures.map(signatureTable));
  at("signatures-details").open = !about.signature;
  at("ask").hidden = !about.signature;
  at("untryable").hidden = Boolean(about.signature);
}
