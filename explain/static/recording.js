// Completions that a model has computed, and others that follow from its logits.
//
// A recording has, for each prompt, a tree of token sequences with the model's logits after each.
// Logits depend on the tokens only, so the twin of the sampler can draw with any settings and any
// seed, until a token is drawn after which no logits are known.

import { allValues, violations } from "./parameters.js";
import { bits } from "./run.js";
import { argmax, mapped, probabilities, trace } from "./steps.js";
import { ChoiceText, finish } from "./stopping.js";
import { RequestError } from "./stream.js";
import { noise } from "./threefry.js";

const MOST_TOKENS = 16384; // max_tokens null
const FOLLOWED = [
  "prompt", "temperature", "min_p", "top_k", "top_p", "seed", "repetition_penalty",
  "frequency_penalty", "presence_penalty", "max_tokens", "n", "stop", "stop_token_ids",
  "response_format", "top", "logits", "forced", "model",
];
const OF_RESPONSE = [
  "logprobs", "echo", "return_tokens_as_token_ids", "stream", "stream_options", "user",
  "prompt_cache_key",
];

export class Recording {
  /** known: the parameters. load(name): returns a promise of the numbers in a file. */
  constructor(index, known, load) {
    this.index = index;
    this.known = known;
    this.load = load;
    this.prompts = index.prompts.map((prompt) => new RecordedPrompt(prompt, index.vocabulary.length));
    this.allowed = bits(index.allowed, index.vocabulary.length);
  }

  /** The parameters that have no effect here, and the reason. */
  get reasons() {
    const others = Object.keys(this.known).filter((name) => !FOLLOWED.includes(name));
    const reason = (name) => (OF_RESPONSE.includes(name) ? "Changes only the response of a server." : "Needs a server.");
    return Object.fromEntries(others.map((name) => [name, reason(name)]));
  }

  /** The recorded formats of all prompts. */
  get formats() {
    return this.prompts.flatMap((prompt) => prompt.formats.map(({ format }) => format));
  }

  /** Yield the events of a request: of `explain.start`, then of each choice. A choice whose next
   *  logits are unknown ends with `explain.unrecorded`. Throws RequestError. */
  async *explain({ prompt: text, values, forced }) {
    const prompt = this.prompts.find((p) => p.text === text);
    if (!prompt) throw refusal("prompt", "is not recorded: choose one of the list");
    const params = this.checked(prompt, values);
    const seed = params.seed === null ? randomSeed() : BigInt(params.seed);
    const numbers = await prompt.numbers(this.load);
    const { vocabulary, model } = this.index;
    yield {
      object: "explain.start",
      model,
      seed: String(seed),
      vocab_size: vocabulary.length,
      prompt: prompt.ids.map((id) => ({ id, text: vocabulary[id] })),
      vocabulary,
    };
    const run = forced.length ? undefined : prompt.runs.find((r) => this.isSame(r.values, values));
    const paths = (choice) => new Path(this, prompt, numbers, params, seed, choice);
    yield* run ? replay(run, paths) : follow(params, forced, paths);
  }

  /** Return the values of all parameters. Throws RequestError if a value is out of its range, or
   *  cannot be followed in this recording. */
  checked(prompt, values) {
    const fields = violations(this.known, values);
    if (Object.keys(fields).length) throw new RequestError("Some values are not valid.", fields);
    const params = allValues(this.known, values);
    params.stop = [params.stop ?? []].flat();
    params.stop_token_ids ??= [];
    for (const [name, { default: off }] of Object.entries(this.known)) {
      const isKnown = FOLLOWED.includes(name) || OF_RESPONSE.includes(name);
      if (!isKnown && !same(params[name], off)) throw refusal(name, "needs a server");
    }
    const isSpecial = (id) => !this.allowed[id];
    if (params.stop_token_ids.some(isSpecial)) throw refusal("stop_token_ids", "must not be special tokens here");
    const names = this.index.vocabulary.filter((_, id) => isSpecial(id));
    if (params.stop.some((s) => names.includes(s))) throw refusal("stop", "must not be special tokens here");
    if (!prompt.masks(params.response_format)) {
      throw refusal("response_format", "is not recorded for this prompt");
    }
    return params;
  }

  isSame(a, b) {
    const all = (values) => ({ ...allValues(this.known, values), top: null });
    return same(all(a), all(b));
  }
}

class RecordedPrompt {
  constructor({ text, ids, strips_space, logits, nodes, formats, runs }, vocabSize) {
    Object.assign(this, { text, ids, stripsSpace: strips_space, file: logits, formats, runs, vocabSize });
    this.children = new Map(nodes.map(([parent, token], node) => [`${parent} ${token}`, node]));
    this.loaded = null;
  }

  /** Return a promise of the logits of all nodes. */
  numbers(load) {
    this.loaded ??= load(this.file);
    return this.loaded;
  }

  /** Return the node after a token; undefined if it is not recorded. */
  child(node, token) {
    return this.children.get(`${node} ${token}`);
  }

  /** Return a function from a node to the mask of a format there: null without a format, undefined
   *  if it is not recorded. Return null if the format is not recorded at all. */
  masks(format) {
    if (format === null || format.type === "text") return () => null;
    const recorded = this.formats.find((f) => same(f.format, format));
    return recorded ? (node) => recorded.masks[node] : null;
  }
}

/** One choice on its way through the tree. */
class Path {
  constructor(recording, prompt, numbers, params, seed, choice) {
    Object.assign(this, { recording, prompt, numbers, params, seed, choice });
    this.masks = prompt.masks(params.response_format);
    this.node = 0;
    this.position = 0;
    this.present = new Uint8Array(prompt.vocabSize);
    this.counts = new Uint16Array(prompt.vocabSize);
    for (const id of prompt.ids) this.present[id] = 1;
  }

  get isKnown() {
    return this.node !== undefined && this.masks(this.node) !== undefined;
  }

  get logits() {
    const { vocabSize } = this.prompt;
    return this.numbers.subarray(this.node * vocabSize, (this.node + 1) * vocabSize);
  }

  get allowed() {
    const mask = this.masks(this.node);
    return mask === null ? this.recording.allowed : bits(mask, this.prompt.vocabSize);
  }

  /** Return the token that the settings draw here. */
  draw() {
    const { params, allowed, present, counts } = this;
    const final = trace(this.logits, { params, allowed, present, counts }).at(-1)[1];
    const own = noise(this.seed, this.choice, this.position, final.length);
    return argmax(mapped(final, (x, i) => x + own[i]));
  }

  /** Return the event of a token, and go on to the logits after it. */
  take(id, isForced = false) {
    const { choice, position, logits, allowed } = this;
    const text = this.recording.index.vocabulary[id];
    this.node = this.prompt.child(this.node, id);
    this.position += 1;
    this.present[id] = 1;
    this.counts[id] += 1;
    const p = probabilities(logits)[id];
    return { object: "explain.token", choice, position, id, text, forced: isForced, p, logits, allowed };
  }
}

/** Yield the events of a recorded run. */
function* replay({ stream }, paths) {
  const byChoice = new Map();
  for (const item of stream) {
    if (!Array.isArray(item)) {
      yield item;
      continue;
    }
    const [choice, id] = item;
    if (!byChoice.has(choice)) byChoice.set(choice, paths(choice));
    yield byChoice.get(choice).take(id);
  }
}

/** Yield the events of a run that has not been recorded, as far as its logits are known. */
function* follow(params, forced, paths) {
  for (let choice = 0; choice < params.n; choice++) yield* followChoice(params, forced, paths(choice));
}

function* followChoice(params, forced, path) {
  const { index } = path.recording;
  const { choice, prompt } = path;
  const budget = Math.min(params.max_tokens ?? MOST_TOKENS, index.context - prompt.ids.length);
  const output = new ChoiceText(index.vocabulary, params.stop, prompt.stripsSpace);
  if (params.echo) yield textEvent(choice, prompt.text, null, null);
  while (path.isKnown) {
    const { position } = path;
    const isForced = position < forced.length;
    if (isForced && !path.allowed[forced[position]]) {
      throw refusal("forced", `token ${forced[position]} is not allowed at position ${position}`);
    }
    const id = isForced ? forced[position] : path.draw();
    yield path.take(id, isForced);
    const [reason, stopId] = finish(id, path.position, budget, index.eos_token_ids, params.stop_token_ids);
    const [text, stop] = output.push(id, reason);
    yield textEvent(choice, text, stop === null ? reason : "stop", stop ?? stopId);
    if (reason !== null || stop !== null) return;
  }
  yield { object: "explain.unrecorded", choice };
}

function textEvent(index, text, finish_reason, stop_reason) {
  return { object: "explain.text", choices: [{ index, text, finish_reason, stop_reason }] };
}

function refusal(name, reason) {
  return new RequestError(`${name}: ${reason}.`, { [name]: reason });
}

function randomSeed() {
  return crypto.getRandomValues(new BigUint64Array(1))[0];
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
