// One explained completion: the events received so far, and the twin's input at each token.

import { drawKey, noise, noiseOf } from "./threefry.js";
import * as twin from "./steps.js";
import { stepsOf } from "./dialects.js";

const MAX_NOISES = 1024; // of a position, in memory

export class Run {
  /** settings: {prompt, values, forced} as sent. */
  constructor(settings) {
    this.settings = settings;
    this.start = null;
    this.noises = new Map();
    this.choices = new Map();
    this.error = null;
    this.done = false;
  }

  choice(index) {
    if (!this.choices.has(index)) {
      this.choices.set(index, { tokens: [], text: "", finish: null, stop: null, events: [], isCut: false });
    }
    return this.choices.get(index);
  }

  tokens(index) {
    return this.choices.get(index)?.tokens ?? [];
  }

  /** Add an event of the stream. */
  add(event) {
    if (event.object === "explain.start") this.start = event;
    else if (event.object === "explain.token") this.choice(event.choice).tokens.push(event);
    else if (event.object === "explain.unrecorded") this.choice(event.choice).isCut = true;
    else {
      for (const part of event.choices) {
        const choice = this.choice(part.index);
        choice.text += part.text;
        choice.finish = part.finish_reason ?? choice.finish;
        choice.stop = part.stop_reason ?? choice.stop;
        if (event.object === "text_completion") choice.events.push(event); // others are the page's
      }
    }
  }

  get seed() {
    return BigInt(this.start.seed);
  }

  text(id) {
    return this.start.vocabulary?.[id] ?? `token ${id}`;
  }

  hasLogits(choice, position) {
    return this.tokens(choice)[position]?.logits !== undefined;
  }

  /** Return the input of the twin's steps at a token. params: all parameters. */
  input(choice, position, params) {
    const tokens = this.tokens(choice);
    const { logits, allowed } = tokens[position];
    const counts = new Uint16Array(logits.length);
    const present = new Uint8Array(logits.length);
    for (const { id } of this.start.prompt) present[id] = 1;
    for (const { id } of tokens.slice(0, position)) {
      present[id] = 1;
      counts[id] += 1;
    }
    return { logits, history: { params, allowed, counts, present } };
  }

  /** Explain a token with some parameters, by some dialects. seed: a BigInt. */
  explain(choice, position, params, dialects = [], seed = this.seed) {
    const { logits, history } = this.input(choice, position, params);
    return twin.explain(logits, history, this.noise(seed, choice, position), stepsOf(dialects));
  }

  /** Return the noise of a position, computed once for a seed. */
  noise(seed, choice, position) {
    const key = `${seed} ${choice} ${position}`;
    if (!this.noises.has(key)) {
      if (this.noises.size > MAX_NOISES) this.noises.clear();
      this.noises.set(key, noise(seed, choice, position, this.start.vocab_size));
    }
    return this.noises.get(key);
  }

  /** Return the first position at which these parameters and dialects draw another token, and that
   *  token; null if there is none. Positions before it have the same history. */
  firstDifference(choice, params, dialects = [], seed = this.seed) {
    const tokens = this.tokens(choice);
    for (let position = 0; position < tokens.length; position++) {
      if (!this.hasLogits(choice, position)) return null;
      if (tokens[position].forced) continue;
      const token = this.explain(choice, position, params, dialects, seed).token;
      if (token !== tokens[position].id) return { position, token };
    }
    return null;
  }
}

/** Return the token that each of some seeds draws from the final logits of an explanation. */
export function winners(explanation, seeds, choice, position) {
  const final = explanation.stages.at(-1).logits;
  const ids = [...final.keys()].filter((i) => Number.isFinite(final[i]));
  return seeds.map((seed) => {
    const key = drawKey(seed, choice, position);
    let best = ids[0];
    let score = -Infinity;
    for (const id of ids) {
      const own = Math.fround(final[id] + noiseOf(key, id));
      if (own > score) [best, score] = [id, own];
    }
    return best;
  });
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

/** Return the numbers of the base64 of a float32 array. */
export function floats(base64) {
  return new Float32Array(bytes(base64).buffer);
}

/** Return `count` bits, each a number, of the base64 of a packed array. */
export function bits(base64, count) {
  const packed = bytes(base64);
  return Uint8Array.from({ length: count }, (_, i) => (packed[i >> 3] >> (i & 7)) & 1);
}
