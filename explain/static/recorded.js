// The source of a page without a server: documents and a recording next to the page.

import { parameters } from "./parameters.js";
import { Recording } from "./recording.js";
import { getJson } from "./stream.js";

/** Open the recording of a folder, whose path is relative to the page. */
export async function open(folder) {
  const [index, openapi] = await Promise.all([getJson(`${folder}index.json`), getJson("openapi.json")]);
  const recording = new Recording(index, parameters(openapi), (name) => numbers(folder + name));
  return { recording, getJson, explain: (request) => recording.explain(request) };
}

/** Get a file of float32 numbers, the lowest byte first. */
async function numbers(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new Float32Array(await response.arrayBuffer());
}
