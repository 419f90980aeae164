// Explains requests with a recording: its folder is the first argument, requests are JSON on stdin.

import { readFileSync } from "node:fs";

import { parameters } from "../../explain/static/parameters.js";
import { Recording } from "../../explain/static/recording.js";
import { START } from "../../explain/static/state.js";

const [folder] = process.argv.slice(2);
const read = (name) => readFileSync(`${folder}/${name}`);
const document = JSON.parse(read("openapi.json"));
const numbers = async (name) => {
  const { buffer, byteOffset, byteLength } = read(`recording/${name}`);
  return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
};
const recording = new Recording(JSON.parse(read("recording/index.json")), parameters(document), numbers);

async function result(request) {
  const events = [];
  try {
    for await (const { logits, allowed, vocabulary, ...event } of recording.explain(request)) {
      if (logits) event.allowed = [...allowed].map((a, i) => (a ? i : -1)).filter((i) => i >= 0);
      events.push(event);
    }
  } catch (error) {
    if (!error.fields) throw error;
    return { refused: error.fields };
  }
  return { events };
}

const results = [];
for (const request of JSON.parse(readFileSync(0, "utf8"))) results.push(await result(request));
process.stdout.write(JSON.stringify({ start: START, reasons: recording.reasons, results }));
