// Answers the test vectors of stop strings, ends and texts: lines of JSON on stdin, on stdout.

import { readFileSync } from "node:fs";

import { ChoiceText, finish, StopStrings } from "../../explain/static/stopping.js";

const ANSWERS = {
  stop({ stop, parts }) {
    const search = new StopStrings(stop);
    const deltas = [];
    let reason = null;
    for (const part of parts) {
      let text;
      [text, reason] = search.push(part);
      deltas.push(text);
      if (reason !== null) break;
    }
    if (reason === null && deltas.length) deltas[deltas.length - 1] += search.flush();
    return { deltas, text: deltas.join(""), stop_reason: reason };
  },
  finish({ token, generated, budget, eos_token_ids, stop_token_ids }) {
    const [finish_reason, stop_reason] = finish(token, generated, budget, eos_token_ids, stop_token_ids);
    return { finish_reason, stop_reason };
  },
  detokenization({ pieces, strip_space }) {
    const text = new ChoiceText(pieces.map(nameOf), [], strip_space);
    const deltas = pieces.map((_, i) => text.push(i, i + 1 === pieces.length ? "length" : null)[0]);
    return { deltas, text: deltas.join("") };
  },
};

/** Return the text of a token as `logprobs` has it. */
function nameOf(hex) {
  const bytes = Buffer.from(hex, "hex");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return `bytes:${hex.replace(/../g, "\\x$&")}`;
  }
}

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { id, family, input } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ id, ...ANSWERS[family](input) })}\n`);
}
