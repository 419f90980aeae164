// A sampler in JavaScript, and the program that `vectors check` runs.
//
//     completions-spec conformance vectors check 'node sampler.mjs'
//
// Numbers are doubles; Math.fround rounds to float32 where the specification does.

import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

const f32 = Math.fround;
const MIN_NORMAL = 2 ** -126;

// ---------------------------------------------------------------------------------------- steps

const maximum = x => x.reduce((a, b) => Math.max(a, b), -Infinity);
const argmax = x => x.indexOf(maximum(x)); // the first id

function softmax(x) {
  const top = maximum(x);
  const p = Array.from(x, logit => Math.exp(logit - top));
  const total = p.reduce((a, b) => a + b, 0);
  return p.map(value => value / total);
}

const count = (ids, id) => ids.filter(other => other === id).length;

const steps = {
  response_format: (x, { allowed }) =>
    allowed ? x.map((logit, id) => (allowed.includes(id) ? logit : -Infinity)) : x,

  repetition_penalty: (x, { prompt = [], output = [], repetition_penalty: penalty = 1 }) => {
    const present = new Set([...prompt, ...output]);
    const change = logit => (logit > 0 ? logit / f32(penalty) : logit * f32(penalty));
    return x.map((logit, id) => (present.has(id) ? change(logit) : logit));
  },

  frequency_penalty: (x, { output = [], frequency_penalty: penalty = 0 }) =>
    output.length ? x.map((logit, id) => logit - f32(f32(penalty) * count(output, id))) : x,

  presence_penalty: (x, { output = [], presence_penalty: penalty = 0 }) =>
    output.length ? x.map((logit, id) => logit - (output.includes(id) ? f32(penalty) : 0)) : x,

  // The result has a maximum of 0.
  temperature: (x, { temperature: value = 1 }) => {
    if (f32(value) < MIN_NORMAL) {
      const best = argmax(x);
      return x.map((_, id) => (id === best ? 0 : -Infinity));
    }
    const top = maximum(x);
    return x.map(logit => f32(logit - top) / f32(value));
  },

  min_p: (x, { min_p: fraction = 0 }) => {
    const top = maximum(x);
    return x.map(logit => (Math.exp(logit - top) >= f32(fraction) ? logit : -Infinity));
  },

  top_k: (x, { top_k: k = 0 }) => {
    if (k <= 0 || k >= x.length) return x;
    const threshold = Float32Array.from(x).sort()[x.length - k];
    return x.map(logit => (logit >= threshold ? logit : -Infinity)); // keeps ties
  },

  // Equal logits are added together, so the order in which a sort leaves them does not matter.
  top_p: (x, { top_p: mass = 1 }) => {
    if (mass >= 1) return x;
    const sorted = Float32Array.from(x).sort().reverse();
    const p = softmax(sorted);
    let reached = 0;
    for (let i = 0; i < sorted.length; ) {
      const level = sorted[i];
      for (; i < sorted.length && sorted[i] === level; i++) reached += p[i];
      if (reached >= mass) return x.map(logit => (logit >= level ? logit : -Infinity));
    }
    return x;
  },
};

// --------------------------------------------------------------------------------------- random

const rotate = (word, distance) => (word << distance) | (word >>> (32 - distance));

function threefry([k0, k1], [c0, c1]) {
  const rotations = [[13, 15, 26, 6], [17, 29, 16, 24]];
  const schedule = [k0, k1, k0 ^ k1 ^ 0x1bd11bda];
  let a = (c0 + k0) | 0;
  let b = (c1 + k1) | 0;
  for (let group = 0; group < 5; group++) {
    for (const distance of rotations[group % 2]) {
      a = (a + b) | 0;
      b = rotate(b, distance) ^ a;
    }
    a = (a + schedule[(group + 1) % 3]) | 0;
    b = (b + schedule[(group + 2) % 3] + group + 1) | 0;
  }
  return [a >>> 0, b >>> 0];
}

function seedKey(seed) {
  const value = BigInt.asUintN(64, BigInt(seed));
  return [Number(value >> 32n), Number(value & 0xffffffffn)];
}

const drawKey = ({ seed, choice, position }) =>
  threefry(threefry(seedKey(seed), [0, choice]), [0, position]);

function randomWord(key, id) {
  const [a, b] = threefry(key, [0, id]);
  return (a ^ b) >>> 0;
}

function gumbel(bits) {
  const u = Math.min(f32(f32(f32(bits) + 0.5) * 2 ** -32), 1 - 2 ** -24);
  return -f32(Math.log(f32(-Math.log1p(-u))));
}

const draw = (x, key) => argmax(x.map((logit, id) => f32(logit + gumbel(randomWord(key, id)))));

// ----------------------------------------------------------------------------------------- text

// Return the text that each part adds, up to the first stop string that is complete.
function stopStrings({ stop, parts }) {
  let withheld = '';
  const deltas = [];
  for (const part of parts) {
    const text = withheld + part;
    const ends = stop.map(s => (text.includes(s) ? text.indexOf(s) + s.length : Infinity));
    const end = Math.min(Infinity, ...ends);
    if (end < Infinity) {
      const match = stop[ends.indexOf(end)];
      deltas.push(text.slice(0, end - match.length));
      return { deltas, text: deltas.join(''), stop_reason: match };
    }
    const keep = Math.max(0, ...stop.map(s => partialMatch(text, s)));
    withheld = text.slice(text.length - keep);
    deltas.push(text.slice(0, text.length - keep));
  }
  deltas[deltas.length - 1] += withheld;
  return { deltas, text: deltas.join(''), stop_reason: null };
}

// The length of the longest end of a text that begins a stop string.
function partialMatch(text, stop) {
  let n = Math.min(text.length, stop.length - 1);
  while (n > 0 && !text.endsWith(stop.slice(0, n))) n--;
  return n;
}

function detokenization({ pieces, strip_space: strip }) {
  // ignoreBOM keeps a byte order mark: it is a character of the output.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const deltas = pieces.map((hex, i) => {
    const bytes = Buffer.from(hex, 'hex');
    const stripped = strip && i === 0 && bytes[0] === 0x20 ? bytes.subarray(1) : bytes;
    return decoder.decode(stripped, { stream: true });
  });
  deltas[deltas.length - 1] += decoder.decode();
  return { deltas, text: deltas.join('') };
}

// --------------------------------------------------------------------------------------- answers

const read = logits => Float32Array.from(logits, logit => (logit === null ? -Infinity : logit));
const write = x => Array.from(x, logit => (logit === -Infinity ? null : logit));
const kept = x => Array.from(x.keys()).filter(id => x[id] > -Infinity);

function applySteps(x, input) {
  const counts = {};
  for (const [name, step] of Object.entries(steps)) {
    x = Float32Array.from(step(x, input));
    counts[name] = kept(x).length;
  }
  return [x, counts];
}

function chain(input) {
  const [x, counts] = applySteps(read(input.logits), input);
  return { kept: kept(x), probabilities: softmax(x), counts };
}

function readTensor(name) {
  const data = fs.readFileSync(path.join(process.env.VECTORS_DIR, 'wide.safetensors'));
  const size = Number(data.readBigUInt64LE(0));
  const { dtype, data_offsets: [begin, end] } = JSON.parse(data.subarray(8, 8 + size))[name];
  const bytes = Uint8Array.from(data.subarray(8 + size + begin, 8 + size + end));
  if (dtype !== 'BF16') return new Float32Array(bytes.buffer);
  // The 16 bits are the high half of a float32.
  const words = Uint32Array.from(new Uint16Array(bytes.buffer), half => half << 16);
  return new Float32Array(words.buffer);
}

function threefryAnswer(input) {
  if (input.counter) return { words: threefry(input.key, input.counter) };
  if (input.choice === undefined) return { words: seedKey(input.seed) };
  const key = drawKey(input);
  const ids = [...Array(input.vocab_size ?? 0).keys()];
  return { words: input.vocab_size === undefined ? key : ids.map(id => randomWord(key, id)) };
}

function logprobs({ logits, token, top }) {
  const x = read(logits);
  const shift = maximum(x) + Math.log(x.reduce((sum, v) => sum + Math.exp(v - maximum(x)), 0));
  const ids = [...x.keys()].sort((a, b) => x[b] - x[a] || a - b).slice(0, top);
  if (!ids.includes(token)) ids.push(token);
  return { logprob: x[token] - shift, top_ids: ids, top_logprobs: ids.map(id => x[id] - shift) };
}

function sampled(input) {
  const p = softmax(applySteps(read(input.logits), input)[0]);
  const one = () => {
    let rest = Math.random();
    const id = p.findIndex(value => (rest -= value) < 0);
    return id < 0 ? p.findLastIndex(value => value > 0) : id; // rounding may leave a rest
  };
  return { tokens: Array.from({ length: 2000 }, one) };
}

function finish({ token, generated, budget, eos_token_ids: eos, stop_token_ids: stops }) {
  if (eos.includes(token)) return { finish_reason: 'stop', stop_reason: null };
  if (stops.includes(token)) return { finish_reason: 'stop', stop_reason: token };
  return { finish_reason: generated >= budget ? 'length' : null, stop_reason: null };
}

function budget({ max_tokens: wanted, context, prompt_length: length }) {
  const room = context - length;
  return { budget: room < 1 ? null : Math.min(wanted ?? 16384, room) };
}

const oneStep = name => input => ({ logits: write(Float32Array.from(steps[name](read(input.logits), input))) });
const names = ['repetition_penalty', 'frequency_penalty', 'presence_penalty', 'temperature', 'min_p', 'top_k', 'top_p'];

const families = {
  mask: oneStep('response_format'),
  ...Object.fromEntries(names.map(name => [name, oneStep(name)])),
  chain,
  wide: input => ({ kept: kept(applySteps(readTensor(input.tensor), input)[0]) }),
  distribution: sampled,
  threefry: threefryAnswer,
  gumbel: ({ bits }) => ({ noise: bits.map(gumbel) }),
  draw: input => ({ token: draw(applySteps(read(input.logits), input)[0], drawKey(input)) }),
  logprobs,
  stop: stopStrings,
  finish,
  budget,
  detokenization,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, family, input } = JSON.parse(line);
  const answer = families[family]?.(input) ?? { unsupported: true };
  process.stdout.write(JSON.stringify({ id, ...answer }) + '\n');
}
