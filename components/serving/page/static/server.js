// What the page asks its server. Whatever goes wrong comes as a Refusal, in words.

export class Refusal extends Error {}

const UNREACHABLE = "The server does not answer. It may have been stopped.";

async function asked(path, options) {
  let answer, text;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
    text = await answer.text();
  } catch {
    throw new Refusal(UNREACHABLE);
  }
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new Refusal(`The server answered ${answer.status} without JSON.`);
  }
  if (!answer.ok) throw new Refusal(content.error || `The server answered ${answer.status}.`);
  return content;
}

const path = (model, choice) => `try/models/${encodeURIComponent(model)}${choice}`;

export const models = () => asked("try/models.json");

// choice: "", "/versions/7" or "/labels/stable".
export const version = (model, choice) => asked(path(model, choice));

// Sends the file as it is; adds `roundTrip`, milliseconds.
export async function prediction(model, choice, file, maxBytes) {
  if (file.size > maxBytes) throw new Refusal(`The server takes images up to ${maxBytes} bytes; this one has ${file.size}.`);
  let body;
  try {
    body = await file.arrayBuffer();
  } catch {
    throw new Refusal("The browser cannot read this file. A folder cannot be sent; choose the images in it.");
  }
  const started = performance.now();
  const answer = await asked(`${path(model, choice)}:predict`, { method: "POST", body });
  return { ...answer, roundTrip: performance.now() - started };
}
