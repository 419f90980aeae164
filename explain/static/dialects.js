// Known deviations of other engines, by the names of the conformance suite's dialects.
//
// A dialect has another order of the steps, other steps, or both. An engine is a set of dialects.

import * as steps from "./steps.js";

const { kept, mapped, probabilities, ranked } = steps;
const SPECIFIED = Object.fromEntries(steps.STEPS);
const NAMES = steps.STEPS.map(([name]) => name);
const PENALTIES = NAMES.slice(0, 4);
const TRUNCATION = NAMES.slice(5);
const MAX_LOGIT = 1e30;
const f = Math.fround;

/** Steps that only dialects have: shift the maximum to 0, or scale without shifting. */
const ADDED = {
  shift: (x) => steps.temperature(x, 1),
  scale: (x, h) => (h.params.temperature < 2 ** -126 ? x : mapped(x, (v) => v / f(h.params.temperature))),
};

function inSet(ids) {
  const set = new Set(ids);
  return (x, i) => set.has(i);
}

function topPByRank(x, h) {
  const mass = h.params.top_p;
  if (mass >= 1) return x;
  const p = probabilities(x);
  const order = ranked(p);
  const sums = steps.cumulative(Float64Array.from(order, (i) => p[i]));
  return kept(x, inSet(order.filter((id, rank) => rank === 0 || sums[rank] - p[id] < mass)));
}

function topPWithoutCrossing(x, h) {
  const mass = h.params.top_p;
  if (mass >= 1) return x;
  const p = probabilities(x);
  const order = ranked(p);
  const sums = steps.cumulative(Float64Array.from(order, (i) => p[i]));
  return kept(x, inSet(order.filter((id, rank) => rank === 0 || sums[rank] <= mass)));
}

function topKByRank(x, h) {
  const k = h.params.top_k;
  return k > 0 && k < x.length ? kept(x, inSet(ranked(x).slice(0, k))) : x;
}

function minPAbsolute(x, h) {
  const p = probabilities(x);
  const max = p[steps.argmax(p)];
  return kept(x, (v, i) => p[i] >= h.params.min_p || p[i] === max);
}

function minPStrict(x, h) {
  const best = steps.argmax(x);
  const fraction = h.params.min_p;
  return kept(x, (v, i) => f(Math.exp(v)) > f(fraction) || i === best || fraction === 0);
}

function repetitionOver(isCounted) {
  return (x, h) => {
    const present = Array.from(h.present, (p, i) => isCounted(p, h.counts[i]));
    return steps.repetitionPenalty(x, present, h.params.repetition_penalty);
  };
}

function repetitionDivides(x, h) {
  return mapped(x, (v, i) => (h.present[i] ? v / f(h.params.repetition_penalty) : v));
}

function repetitionPerOccurrence(x, h) {
  return mapped(x, (v, i) => {
    const times = Math.max(h.counts[i], h.present[i] ? 1 : 0);
    const factor = h.params.repetition_penalty ** times;
    const penalized = v > 0 ? v / factor : v * factor;
    return Math.max(-MAX_LOGIT, Math.min(MAX_LOGIT, penalized));
  });
}

function overPromptToo(name) {
  return (x, h) => {
    const counts = Array.from(h.counts, (count, i) => (count === 0 && h.present[i] ? 1 : count));
    return SPECIFIED[name](x, { ...h, counts });
  };
}

export const DIALECTS = {
  "temperature after truncation": {
    order: [...PENALTIES, "shift", ...TRUNCATION, "temperature"],
  },
  "top_p without the crossing token": { changed: { top_p: topPWithoutCrossing } },
  "top_p by rank: ties are cut": { changed: { top_p: topPByRank } },
  "top_k by rank: ties are cut": { changed: { top_k: topKByRank } },
  "top_p of the whole distribution": {
    changed: {
      top_p: (x, h, earlier) => {
        const nucleus = steps.topP(earlier.temperature, h.params.top_p);
        return kept(x, (v, i) => Number.isFinite(nucleus[i]));
      },
    },
  },
  "top_p before top_k": { order: [...PENALTIES, "temperature", "min_p", "top_p", "top_k"] },
  "min_p of the probability itself": { changed: { min_p: minPAbsolute } },
  "min_p by >: ties are cut": { changed: { min_p: minPStrict } },
  "min_p last": { order: [...PENALTIES, "temperature", "top_k", "top_p", "min_p"] },
  "repetition_penalty over the output only": {
    changed: { repetition_penalty: repetitionOver((present, count) => count > 0) },
  },
  "repetition_penalty over the prompt only": {
    changed: { repetition_penalty: repetitionOver((present, count) => present && count === 0) },
  },
  "repetition_penalty divides negative logits too": {
    changed: { repetition_penalty: repetitionDivides },
  },
  "repetition_penalty once for each occurrence": {
    changed: { repetition_penalty: repetitionPerOccurrence },
  },
  "frequency_penalty over the prompt too": {
    changed: { frequency_penalty: overPromptToo("frequency_penalty") },
  },
  "presence_penalty over the prompt too": {
    changed: { presence_penalty: overPromptToo("presence_penalty") },
  },
  "presence_penalty and frequency_penalty swapped": {
    changed: {
      frequency_penalty: (x, h) => steps.presencePenalty(x, h.counts, h.params.frequency_penalty),
      presence_penalty: (x, h) => steps.frequencyPenalty(x, h.counts, h.params.presence_penalty),
    },
  },
  "penalties after the temperature": {
    order: ["response_format", "scale", ...PENALTIES.slice(1), "shift", ...TRUNCATION],
  },
  "repetition_penalty after the other penalties": {
    order: [
      "response_format",
      "frequency_penalty",
      "presence_penalty",
      "repetition_penalty",
      ...NAMES.slice(4),
    ],
  },
};

/** The dialects of other engines, as the suite has found them (docs/conformance/servers.md). */
export const ENGINES = {
  vLLM: ["top_p by rank: ties are cut"],
  "llama.cpp": [
    "temperature after truncation",
    "top_k by rank: ties are cut",
    "top_p by rank: ties are cut",
  ],
  transformers: ["min_p last", "top_p by rank: ties are cut"],
};

/** Return the steps of some dialects together: the last order, and all changed steps. */
export function stepsOf(names) {
  let order = NAMES;
  const functions = { ...SPECIFIED, ...ADDED };
  for (const name of names) {
    order = DIALECTS[name].order ?? order;
    Object.assign(functions, DIALECTS[name].changed);
  }
  return order.map((name) => [name, functions[name]]);
}
