// Wires the page: what is served, which version is asked, the images that were asked about.

import { showVersion } from "./about.js";
import { cameraOf } from "./camera.js";
import { Result } from "./results.js";
import * as server from "./server.js";
import { size } from "./wording.js";

const MAX_RESULTS = 24; // each holds its image in memory
const REFRESH_MILLISECONDS = 2000;

const at = (id) => document.getElementById(id);
const [modelSelect, versionSelect, topK] = [at("model"), at("version"), at("top-k")];
const results = []; // newest first
const state = { served: [], maxBytes: Infinity, shown: "", round: 0, line: Promise.resolve() };

function say(text) {
  at("status").textContent = text;
}

// Two kinds of trouble: the server's, which ends by itself, and what the last act met.
const troubles = { server: "", act: "" };

function complain(text, kind = "server") {
  troubles[kind] = text;
  const shown = Object.values(troubles).filter(Boolean).join(" ");
  if (at("alert").textContent !== shown) at("alert").textContent = shown; // a screen reader repeats it
  at("alert").hidden = !shown;
}

const model = () => state.served.find(({ name }) => name === modelSelect.value);

// The version that a choice means now; undefined where none is loaded.
function meant(choice) {
  const [, kind, name] = choice.split("/");
  const loaded = model()?.versions.filter(({ state: phase }) => phase === "AVAILABLE").map(({ version }) => version) ?? [];
  if (kind === "versions") return loaded.find((version) => version === name);
  if (kind === "labels") return loaded.find((version) => version === model().labels[decodeURIComponent(name)]);
  return loaded[0]; // the server lists the newest first
}

function option(text, value, isDisabled = false) {
  const made = new Option(text, value);
  made.disabled = isDisabled;
  return made;
}

function fill(select, parts) {
  const before = select.value;
  select.replaceChildren(...parts);
  const values = [...select.options].filter((one) => !one.disabled).map(({ value }) => value);
  select.value = values.includes(before) ? before : values[0];
  return before === select.value;
}

function group(label, options) {
  const made = document.createElement("optgroup");
  made.label = label;
  made.append(...options);
  return made;
}

function versionParts() {
  const { versions = [], labels = {} } = model() ?? {};
  const listed = versions.filter(({ state: phase, error }) => phase !== "END" || error);
  const numbered = listed.map(({ version, state: phase, error }) => {
    const note = phase === "AVAILABLE" ? "" : error ? " (failed)" : ` (${phase.toLowerCase()})`;
    return option(`Version ${version}${note}`, `/versions/${version}`, phase !== "AVAILABLE");
  });
  const labelled = Object.entries(labels).sort().map(([label, version]) => {
    const choice = `/labels/${encodeURIComponent(label)}`;
    return option(`${label} (version ${version})`, choice, meant(choice) === undefined);
  });
  const newest = meant("");
  const parts = [option(newest ? `Newest (version ${newest})` : "None is loaded", "", !newest)];
  if (labelled.length) parts.push(group("Labels", labelled));
  parts.push(group("Versions", numbered));
  return parts;
}

async function refresh() {
  let listed;
  try {
    listed = await server.models();
  } catch (error) {
    return complain(error.message);
  }
  state.maxBytes = listed.max_image_bytes;
  at("limit").textContent = `Images are sent as they are, up to ${size(state.maxBytes)} each.`;
  if (JSON.stringify(listed.models) !== JSON.stringify(state.served)) {
    state.served = listed.models;
    fill(modelSelect, listed.models.map(({ name }) => option(name, name)));
    at("model-choice").hidden = listed.models.length < 2;
    const stayed = fill(versionSelect, versionParts());
    if (state.shown && !stayed) say("The version that was chosen is not served any more.");
  }
  await turnTo();
}

// Shows the version that is chosen now, and asks it about the images again.
async function turnTo() {
  const [name, choice] = [modelSelect.value, versionSelect.value];
  const version = meant(choice);
  at("title").textContent = name || "a model";
  document.title = `Try ${name || "a model"}`;
  if (!version) return complain("No version of this model is loaded.");
  const key = JSON.stringify([name, version]);
  if (key === state.shown) return complain("");
  try {
    const about = await server.version(name, `/versions/${version}`);
    if (key !== JSON.stringify([modelSelect.value, meant(versionSelect.value)])) return undefined;
    showVersion(about);
  } catch (error) {
    return complain(error.message);
  }
  complain("");
  if (state.shown) say(`Version ${version} of ${name} answers.`);
  state.shown = key;
  state.round += 1;
  at("answers").hidden = at("ask").hidden || !results.length;
  if (!at("ask").hidden) [...results].reverse().forEach(ask);
  else camera.close();
  return undefined;
}

// One request at a time, so that the times shown are the server's and not those of a queue here.
function ask(result) {
  const round = state.round;
  result.wait();
  state.line = state.line.then(async () => {
    if (round !== state.round || !results.includes(result)) return;
    try {
      const answer = await server.prediction(modelSelect.value, versionSelect.value, result.file, state.maxBytes);
      result.show(answer, Number(topK.value));
    } catch (error) {
      if (!(error instanceof server.Refusal)) throw error;
      result.fail(error.message);
    }
    say(result.sentence());
  });
}

function add(files) {
  if (at("ask").hidden || !files.length) return;
  const taken = files.slice(0, MAX_RESULTS);
  complain(taken.length < files.length ? `The page keeps ${MAX_RESULTS} images: the others are left out.` : "", "act");
  for (const file of taken) {
    const result = new Result(file);
    results.unshift(result);
    at("results").prepend(result.element);
    ask(result);
  }
  results.splice(MAX_RESULTS).forEach((result) => result.close());
  at("answers").hidden = false;
}

function clear() {
  results.splice(0).forEach((result) => result.close());
  at("answers").hidden = true;
  at("files").focus();
}

function takeDrops() {
  const drop = at("drop");
  const mark = (isOver) => drop.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || mark(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => add([...event.clipboardData.files]));
}

at("files").addEventListener("change", () => {
  add([...at("files").files]);
  at("files").value = ""; // the same file may be chosen again
});
at("clear").addEventListener("click", clear);
modelSelect.addEventListener("change", () => {
  versionSelect.value = "";
  results.forEach((result) => result.forget());
  fill(versionSelect, versionParts());
  turnTo();
});
versionSelect.addEventListener("change", turnTo);
topK.addEventListener("change", () => results.forEach((result) => result.render(Number(topK.value))));
const camera = cameraOf({ toggle: at("camera-toggle"), panel: at("camera"), video: at("video"), take: at("take") }, (photo) => add([photo]), (fault) => complain(fault, "act"));
takeDrops();
await refresh();
setInterval(() => document.hidden || refresh(), REFRESH_MILLISECONDS);
