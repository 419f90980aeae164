// Requests to the server: the documents of the page, and the stream of an explained completion.

import { bodyText } from "./request.js";
import { bits, floats } from "./run.js";

export class RequestError extends Error {
  /** fields: messages by the name of the field that they are about. */
  constructor(message, fields = {}) {
    super(message);
    this.fields = fields;
  }
}

const headers = (key) => (key ? { authorization: `Bearer ${key}` } : {});

/** Get a JSON document. Paths are relative to the page, which may be below a prefix. */
export async function getJson(path, key = "") {
  const response = await fetch(path, { headers: headers(key) });
  if (!response.ok) throw await errorOf(response);
  return response.json();
}

/** Yield the events of `POST /v1/explain`. request: {model, prompt, values, logits, forced}. */
export async function* explain({ model, prompt, values, ...more }, { key = "", signal } = {}) {
  const response = await fetch("v1/explain", {
    method: "POST",
    headers: { "content-type": "application/json", ...headers(key) },
    body: bodyText(model, prompt, values, more),
    signal,
  });
  if (!response.ok) throw await errorOf(response);
  for await (const data of dataOf(response.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new RequestError(event.error.message);
    if (event.logits) decode(event);
    yield event;
  }
  throw new RequestError("The stream ended early: the server has stopped.");
}

/** Replace the base64 of an event by numbers. */
function decode(event) {
  event.logits = floats(event.logits);
  event.allowed = bits(event.allowed, event.logits.length);
}

/** Yield the data of each server-sent event. */
async function* dataOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) if (frame.startsWith("data: ")) yield frame.slice(6);
  }
}

async function errorOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    return new RequestError(`The server answered ${response.status}.`);
  }
  if (response.status === 401) return new RequestError("This server needs an API key.", { key: "required" });
  if (Array.isArray(body.detail)) {
    const fields = {};
    for (const { loc, msg } of body.detail) fields[loc[1] ?? "body"] = msg;
    return new RequestError("Some values are not valid.", fields);
  }
  const { message = String(body.detail), param } = body.error ?? {};
  return new RequestError(message, param ? { [param]: message } : {});
}
