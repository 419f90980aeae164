// Computes the explanations of cases with the JavaScript twin: JSON on stdin, JSON on stdout.

import { readFileSync } from "node:fs";

import { DIALECTS, ENGINES, stepsOf } from "../../explain/static/dialects.js";
import * as twin from "../../explain/static/steps.js";
import { noise } from "../../explain/static/threefry.js";

const numbers = (values) => Array.from(values, (x) => (Number.isFinite(x) ? x : null));

function result({ logits, history, seed, choice, position, count }) {
  const x = Float32Array.from(logits);
  const drawn = noise(BigInt(seed), choice, position, x.length);
  const explained = twin.explain(x, history, drawn);
  const final = (names) => numbers(twin.trace(x, history, stepsOf(names)).at(-1)[1]);
  return {
    noise: numbers(drawn),
    token: explained.token,
    runnerUp: explained.runnerUp,
    stages: explained.stages.map((s) => ({ ...s, logits: numbers(s.logits), p: numbers(s.p) })),
    removals: logits.map((_, i) => twin.removal(explained, i)),
    rows: twin.topTokens(explained, count),
    dialects: Object.fromEntries(Object.keys(DIALECTS).map((name) => [name, final([name])])),
    engines: Object.fromEntries(Object.entries(ENGINES).map(([name, set]) => [name, final(set)])),
  };
}

const cases = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(cases.map(result)));
