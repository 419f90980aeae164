// The steps of the sampler: the JavaScript twin of reference/logits.py, sampler.py and explain.py.
//
// Logits are Float32Array; a token that must not be sampled has the logit -Infinity. A history is
// {params, allowed, present, counts}: the parameters of the request, and arrays with an item per
// token. Arithmetic is rounded to float32 where the reference's is.

const f = Math.fround;
const MIN_TEMPERATURE = 2 ** -126; // the smallest normal float32

/** Return new logits, computed for each token from its logit and its id. */
export function mapped(logits, compute) {
  const result = new Float32Array(logits.length);
  for (let i = 0; i < logits.length; i++) result[i] = compute(logits[i], i);
  return result;
}

/** Return new logits, in which only the tokens that `keep` accepts are left. */
export function kept(logits, keep) {
  return mapped(logits, (x, i) => (keep(x, i) ? x : -Infinity));
}

export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Return the ids in the order of their values, the largest first; of equal ones the lowest id. */
export function ranked(values) {
  return Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
}

/** Compute the softmax, in float64. */
export function probabilities(logits) {
  const max = logits[argmax(logits)];
  const weights = Float64Array.from(logits, (x) => Math.exp(f(x - max)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

export function mask(logits, allowed) {
  return kept(logits, (x, i) => allowed[i]);
}

export function repetitionPenalty(logits, present, penalty) {
  const p = f(penalty);
  return mapped(logits, (x, i) => (!present[i] ? x : x > 0 ? x / p : x * p));
}

export function frequencyPenalty(logits, counts, penalty) {
  return mapped(logits, (x, i) => x - f(f(penalty) * counts[i]));
}

export function presencePenalty(logits, counts, penalty) {
  return mapped(logits, (x, i) => (counts[i] > 0 ? x - f(penalty) : x));
}

export function temperature(logits, value) {
  const best = argmax(logits);
  if (value < MIN_TEMPERATURE) return mapped(logits, (x, i) => (i === best ? 0 : -Infinity));
  return mapped(logits, (x) => f(x - logits[best]) / f(value));
}

export function minP(logits, fraction) {
  return kept(logits, (x) => f(Math.exp(x)) >= f(fraction));
}

export function topK(logits, k) {
  if (!(k > 0 && k < logits.length)) return logits;
  const kth = Float32Array.from(logits).sort()[logits.length - k];
  return kept(logits, (x) => x >= kth);
}

export function topP(logits, mass) {
  if (mass >= 1) return logits;
  const p = probabilities(logits);
  const levels = Float64Array.from(p).sort().reverse();
  const sums = cumulative(levels);
  const cutoff = sums.findIndex((sum) => sum >= mass);
  const level = levels[cutoff < 0 ? levels.length - 1 : cutoff];
  return kept(logits, (x, i) => p[i] >= level);
}

export function cumulative(values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}

/** These steps, in this order. Each takes the logits and the history. */
export const STEPS = [
  ["response_format", (x, h) => mask(x, h.allowed)],
  ["repetition_penalty", (x, h) => repetitionPenalty(x, h.present, h.params.repetition_penalty)],
  ["frequency_penalty", (x, h) => frequencyPenalty(x, h.counts, h.params.frequency_penalty)],
  ["presence_penalty", (x, h) => presencePenalty(x, h.counts, h.params.presence_penalty)],
  ["temperature", (x, h) => temperature(x, h.params.temperature)],
  ["min_p", (x, h) => minP(x, h.params.min_p)],
  ["top_k", (x, h) => topK(x, h.params.top_k)],
  ["top_p", (x, h) => topP(x, h.params.top_p)],
];

/** Return the name of each step and the logits after it. A step may read the logits after earlier
 *  ones, by their names. */
export function trace(logits, history, steps = STEPS) {
  const earlier = {};
  return steps.map(([name, step]) => {
    logits = step(logits, history, earlier);
    earlier[name] = logits;
    return [name, logits];
  });
}

/** Return how a token is sampled: the stages, the scores, the winner and the runner-up. */
export function explain(logits, history, noise, steps = STEPS) {
  const stages = [stage(null, "model", logits)];
  for (const [name, after] of trace(logits, history, steps)) {
    stages.push(stage(stages.at(-1), label(name, history.params), after));
  }
  const final = stages.at(-1).logits;
  const scores = mapped(final, (x, i) => x + noise[i]);
  const token = argmax(scores);
  const runnerUp = argmax(mapped(scores, (x, i) => (i === token ? -Infinity : x)));
  return {
    params: history.params,
    stages,
    noise,
    scores,
    token,
    runnerUp: runnerUp !== token && Number.isFinite(scores[runnerUp]) ? runnerUp : null,
  };
}

function stage(before, name, logits) {
  const p = probabilities(logits);
  const ids = [...logits.keys()];
  const removed = before
    ? ids.filter((i) => Number.isFinite(before.logits[i]) && !Number.isFinite(logits[i]))
    : [];
  return {
    name,
    logits,
    p,
    changed: before !== null && ids.some((i) => p[i] !== before.p[i]),
    kept: ids.filter((i) => Number.isFinite(logits[i])).length,
    removed: removed.length,
    removedMass: removed.reduce((sum, i) => sum + before.p[i], 0),
  };
}

/** Return the name under which a step is shown. */
export function label(name, params) {
  const kind = params.response_format?.type ?? "text";
  return name === "response_format" && kind === "text" ? "allowed" : name;
}

/** Return the union of the most likely tokens before and after the steps, and the sampled one. */
export function topTokens(explanation, count) {
  const first = explanation.stages[0].p;
  const last = explanation.stages.at(-1).p;
  const after = ranked(last).slice(0, count).filter((i) => last[i] > 0);
  const ids = new Set([...after, ...ranked(first).slice(0, count), explanation.token]);
  return [...ids].sort((a, b) => last[b] - last[a] || first[b] - first[a] || a - b);
}

/** Return the step that removed a token, and the condition with its numbers; null if it is left. */
export function removal(explanation, token) {
  const { stages, params } = explanation;
  for (let i = 1; i < stages.length; i++) {
    if (Number.isFinite(stages[i - 1].logits[token]) && !Number.isFinite(stages[i].logits[token])) {
      return { step: stages[i].name, ...reason(stages[i - 1], stages[i].name, token, params) };
    }
  }
  return null;
}

function reason({ logits, p }, step, token, params) {
  const max = logits[argmax(logits)];
  switch (step) {
    case "temperature":
      if (logits[token] === max) return { text: "same logit, but id > argmax", numbers: {} };
      return { text: "logit < max", numbers: { logit: logits[token], max } };
    case "min_p":
      return {
        text: "p < min_p × p_max",
        numbers: { p: p[token], min_p: params.min_p, p_max: p[argmax(p)] },
      };
    case "top_k": {
      const rank = 1 + logits.filter((x) => x > logits[token]).length;
      return { text: "rank > top_k", numbers: { rank, top_k: params.top_k } };
    }
    case "top_p": {
      const above = Float64Array.from(p.filter((q) => q > p[token])).sort().reverse();
      const mass_above = cumulative(above).at(-1);
      return { text: "mass_above ≥ top_p", numbers: { mass_above, top_p: params.top_p } };
    }
    default:
      return { text: "not allowed", numbers: {} };
  }
}

/** Return the total variation between two distributions: half the sum of the differences. */
export function totalVariation(p, q) {
  return p.reduce((sum, value, i) => sum + Math.abs(value - q[i]), 0) / 2;
}
