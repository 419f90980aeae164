// The page: its state, its requests, and what is shown of them.

import { compareOptions, comparison, dialectsOf } from "./compare.js";
import { stepsTable } from "./columns.js";
import { Controls } from "./controls.js";
import { showDefinition } from "./details.js";
import { byId, fill, h, quoted } from "./dom.js";
import { dial, drawTable } from "./draw.js";
import { Lessons } from "./lesson-view.js";
import { allValues, parameters, valueOf } from "./parameters.js";
import { curl } from "./request.js";
import { Run, winners } from "./run.js";
import { explain, getJson, recording } from "./source.js";
import { fromFragment, START, toFragment } from "./state.js";
import { RequestError } from "./stream.js";
import { restoreTheme, switchTheme } from "./theme.js";
import { Tokens } from "./tokens.js";
import { viewOfEvent, viewOfTwin } from "./view.js";

const SEEDS = 16;
const DELAY = 60; // milliseconds between two renderings of a stream
const LOCAL = "http://127.0.0.1:8000/"; // of `make run`

let state = fromFragment(location.hash);
let known = {}; // the parameters, by name
let specification = null;
let controls = null;
let lessons = null;
let run = new Run({});
let other = null; // the run of the pinned settings
let abort = null;
let showAll = false;
let model = "";
let isLocked = false;

const main = new Tokens("generated tokens", select);
const second = new Tokens("tokens of the pinned settings", (position) => select(position));

const key = () => sessionStorage.getItem("key") ?? "";
const choice = () => run.choices.get(state.choice);
/** The selected position, or the last one that was received. */
const shown = () => Math.max(0, Math.min(state.token, (choice()?.tokens.length ?? 1) - 1));
const token = () => choice()?.tokens[shown()];

const allParams = (values) => allValues(known, values);

const currentSeed = () => {
  try {
    return state.values.seed === undefined ? run.seed : BigInt(state.values.seed);
  } catch {
    return run.seed;
  }
};

/** Whether the settings are those of the run: then the numbers are the server's. */
function isCurrent() {
  const same = (a, b) => JSON.stringify(allParams(a)) === JSON.stringify(allParams(b));
  return run.start !== null && same(state.values, run.settings.values) && state.prompt === run.settings.prompt;
}

function saveState() {
  history.replaceState(null, "", toFragment({ ...state, model: model === defaultModel() ? "" : model }));
}

const defaultModel = () => byId("model").options[0]?.value ?? "";

// Requests

/** Run the current settings, and the pinned ones if they are compared. */
async function execute() {
  abort?.abort();
  abort = new AbortController();
  const { signal } = abort;
  const settings = { prompt: state.prompt, values: { ...state.values }, forced: [...state.forced] };
  run = new Run(settings);
  controls.showErrors({});
  byId("prompt-error").textContent = "";
  setBusy(true);
  say("Running…");
  await receive(run, signal, renderSoon);
  if (signal.aborted) return;
  if (state.against === "pinned" && state.pinned && !run.error) await executePinned(signal);
  setBusy(false);
  if (!run.error) say(summary());
  render();
}

function summary() {
  const count = choice()?.tokens.length ?? 0;
  if (!choice()?.isCut) return `${count} tokens. Select one to see how it was chosen.`;
  return `${count} tokens. Select one to see how it was chosen. The recorded texts go on with other tokens after it; make run, on your machine, continues from any.`;
}

async function executePinned(signal) {
  other = new Run({ prompt: state.pinned.prompt, values: state.pinned.values, forced: [] });
  await receive(other, signal, renderSoon);
}

/** Receive the events of a run. Without logits if there would be too many. */
async function receive(target, signal, onevent) {
  const { prompt, values, forced } = target.settings;
  for (const logits of [true, false]) {
    try {
      for await (const event of explain({ model, prompt, values, logits, forced }, { key: key(), signal })) {
        target.add(event);
        onevent();
      }
      target.done = true;
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (logits && error instanceof RequestError && "logits" in error.fields) continue;
      target.error = error;
      showError(error);
      return;
    }
  }
}

function showError(error) {
  const isNetwork = !(error instanceof RequestError);
  const message = isNetwork ? "The server does not answer. What was received stays; Run tries again." : error.message;
  const fields = error.fields ?? {};
  say(message, true);
  controls?.showErrors(fields);
  byId("prompt-error").textContent = fields.prompt ?? "";
  if (fields.key) {
    isLocked = true;
    byId("key-field").hidden = false;
    byId("key").focus();
  }
}

function say(message, isError = false) {
  byId("status").textContent = message;
  byId("status").classList.toggle("failed", isError);
}

function setBusy(isBusy) {
  byId("stop").hidden = !isBusy;
  byId("output").setAttribute("aria-busy", String(isBusy));
}

// Changes of the state

function setValue(name, value) {
  if (value === undefined || value === known[name].default) delete state.values[name];
  else state.values[name] = value;
  controls.show(state.values);
  saveState();
  renderDetails();
}

function select(position) {
  state.token = position;
  main.select(position);
  saveState();
  renderDetails();
}

function take(row) {
  state.forced = [...choice().tokens.slice(0, shown()).map((t) => t.id), row.id];
  saveState();
  execute();
}

function pin() {
  state.pinned = { prompt: state.prompt, values: { ...state.values } };
  other = isCurrent() ? run : null;
  compareWith("pinned");
}

async function compareWith(against) {
  if (against === "pinned" && !state.pinned) return pin();
  state.against = against;
  saveState();
  render();
  if (against === "pinned" && other === null) {
    abort = new AbortController();
    await executePinned(abort.signal);
    render();
  }
}

function applyLesson(position, card) {
  state = { ...structuredClone(START), ...structuredClone(card?.set ?? state), lesson: position };
  if (!card) state.lesson = null;
  other = null;
  showState();
  execute();
}

/** Show the state in the form. */
function showState() {
  byId("prompt").value = state.prompt;
  controls.show(state.values);
  lessons.show(state.lesson);
  saveState();
}

// Rendering

let timer = null;
function renderSoon() {
  timer ??= setTimeout(render, DELAY);
}

function render() {
  clearTimeout(timer);
  timer = null;
  if (run.start === null && run.choices.size === 0) return;
  renderChoices();
  main.selected = state.token;
  const difference = state.against ? differenceHere()?.position ?? null : null;
  main.show(run.settings, choice(), difference);
  if (run.done) state.token = main.selected;
  renderDetails();
}

function renderChoices() {
  const indices = [...run.choices.keys()];
  if (!run.choices.has(state.choice)) state.choice = 0;
  fill(
    byId("choices"),
    indices.length > 1 &&
      indices.map((i) => h("button", { type: "button", "aria-pressed": String(i === state.choice), onclick: () => selectChoice(i) }, `choice ${i}`)),
    state.forced.length > 0 && run.settings.forced.length > 0 &&
      h("button", { type: "button", class: "forced", onclick: () => { state.forced = []; saveState(); execute(); } }, `${state.forced.length} tokens are fixed: release them`),
  );
}

function selectChoice(index) {
  state.choice = index;
  saveState();
  render();
}

/** Explain the selected token: by the reference if the settings are those of the run, else here. */
function explanation(values = state.values, dialects = [], seed = currentSeed()) {
  if (!run.hasLogits(state.choice, shown())) return null;
  return run.explain(state.choice, shown(), allParams(values), dialects, seed);
}

function renderDetails() {
  renderRequest();
  const event = token();
  for (const id of ["steps", "draw", "compare"]) byId(id).hidden = !event;
  if (!event) return;
  const own = explanation();
  const isReported = own === null || (isCurrent() && event.stages !== undefined);
  const view = isReported ? viewOfEvent(event) : viewOfTwin(own, { run, chosen: event.id, top: valueOf(known.top, state.values) });
  renderSteps(view, event, isReported);
  fill(byId("draw-table"), drawTable(view));
  renderDial(own);
  renderComparison(own);
}

function renderSteps(view, event, isReported) {
  byId("steps-title").textContent = `The steps of token ${shown() + 1}, ${quoted(event.text)}`;
  byId("steps-note").textContent = stepsNote(isReported);
  const params = allParams(state.values);
  const settingOf = (name) => (["allowed", "response_format"].includes(name) ? params.response_format?.type ?? "no special tokens" : String(params[name]));
  const caption = `Probability of each token after each step, for token ${shown() + 1}`;
  const options = { caption, onstep: (name) => showDefinition(specification, name), ontake: take, showAll, settingOf };
  fill(byId("steps-table"), stepsTable(view, options));
  const off = view.stages.slice(1).filter((s) => !s.changed && !s.removed).map((s) => s.name);
  const button = byId("show-all");
  button.hidden = off.length === 0;
  button.setAttribute("aria-expanded", String(showAll));
  button.textContent = showAll ? "Hide the steps that changed nothing" : `Show the ${off.length} steps that changed nothing: ${off.join(", ")}`;
}

function stepsNote(isReported) {
  if (!isReported && !isCurrent()) return "Recomputed in this page with the changed settings. Run generates the text that they give.";
  const origin = isReported ? "Computed by the reference." : "Computed in this page, from the recorded logits of the reference.";
  return `${origin} A struck number was removed by the step, for the reason below it.`;
}

function renderDial(own) {
  if (own === null) return fill(byId("dial"));
  const seed = currentSeed();
  const first = seed < 0n ? 0n : seed - (seed % BigInt(SEEDS));
  const seeds = Array.from({ length: SEEDS }, (_, i) => first + BigInt(i));
  const drawn = winners(own, seeds, state.choice, shown());
  const onseed = (s) => {
    setValue("seed", Number.isSafeInteger(Number(s)) ? Number(s) : String(s));
    byId("dial").querySelector(`[data-seed="${s}"]`)?.focus();
  };
  fill(
    byId("dial"),
    h("div", { class: "row" }, h("h3", {}, "Other seeds"), turn("−", "the previous seeds", first - BigInt(SEEDS), onseed), turn("+", "the next seeds", first + BigInt(SEEDS), onseed)),
    dial({ seeds, tokens: drawn, text: (id) => run.text(id), current: seed, onseed }),
  );
}

function turn(sign, label, seed, onseed) {
  return h("button", { type: "button", "aria-label": label, disabled: seed < 0n, onclick: () => onseed(seed) }, sign);
}

/** Return the first position at which the comparison draws another token than the text has. */
function differenceHere() {
  if (run.start === null) return null;
  const values = state.against === "pinned" ? state.pinned?.values : state.values;
  if (!values || (state.against === "pinned" && state.pinned.prompt !== state.prompt)) return null;
  const seed = values.seed === undefined ? run.seed : BigInt(values.seed);
  return run.firstDifference(state.choice, allParams(values), dialectsOf(state.against), seed);
}

function renderComparison(own) {
  fill(byId("against"), compareOptions(state.pinned !== null));
  byId("against").value = state.against;
  fill(byId("other-text"));
  fill(byId("comparison"));
  byId("compare-note").textContent = "";
  if (!state.against || own === null) return;
  const isPinned = state.against === "pinned";
  if (isPinned && state.pinned.prompt !== state.prompt) {
    byId("compare-note").textContent = "The pinned settings have another prompt.";
    return;
  }
  const names = isPinned ? ["here", "pinned"] : ["specified", state.against];
  const found = differenceHere();
  const difference = found && { position: found.position, here: choice().tokens[found.position].id, there: found.token };
  byId("compare-note").textContent = noteOf(difference, isPinned);
  const there = explanation(isPinned ? state.pinned.values : state.values, dialectsOf(state.against));
  fill(byId("comparison"), comparison({ here: own, there, names, text: (id) => run.text(id), difference }));
  if (isPinned && other && other.choices.size) {
    second.selected = shown();
    const same = other.choices.get(state.choice) ?? other.choices.get(0);
    second.show(other.settings, same, difference?.position ?? null);
    fill(byId("other-text"), h("h3", {}, "The text of the pinned settings"), second.element);
  }
}

function noteOf(difference, isPinned) {
  if (difference && shown() > difference.position) {
    return `The texts part at token ${difference.position + 1}. From there on this compares two rules on the text above.`;
  }
  return isPinned ? "" : `What ${state.against} would do with the same logits and the same noise, as far as the conformance suite knows it: ${dialectsOf(state.against).join("; ")}.`;
}

function renderRequest() {
  const base = recording ? LOCAL : new URL(".", location.href).href;
  byId("curl").textContent = curl(base, model, state.prompt, state.values, isLocked || key() !== "");
  const event = choice()?.events[Math.min(shown(), choice().events.length - 1)];
  const missing = recording && choice() ? "Not recorded with these settings: send the request to a server." : "";
  byId("response").textContent = event ? JSON.stringify(event, null, 2) : missing;
}

// Start

function listen() {
  const form = byId("settings");
  form.addEventListener("submit", (event) => { event.preventDefault(); sessionStorage.setItem("key", byId("key").value || key()); execute(); });
  form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(); });
  if (!recording) byId("prompt").addEventListener("input", (event) => { state.prompt = event.target.value; state.forced = []; saveState(); renderDetails(); });
  byId("model").addEventListener("change", (event) => { model = event.target.value; saveState(); execute(); });
  byId("stop").addEventListener("click", () => { abort?.abort(); setBusy(false); say("Stopped."); render(); });
  byId("clear").addEventListener("click", () => applyLesson(null, { set: START }));
  byId("show-all").addEventListener("click", () => { showAll = !showAll; renderDetails(); });
  byId("draw-definition").addEventListener("click", () => showDefinition(specification, "draw"));
  byId("pin").addEventListener("click", pin);
  byId("against").addEventListener("change", (event) => compareWith(event.target.value));
  byId("copy").addEventListener("click", async () => { await navigator.clipboard.writeText(byId("curl").textContent); byId("copy").textContent = "Copied"; });
  byId("theme").addEventListener("click", switchTheme);
  window.addEventListener("hashchange", () => { state = fromFragment(location.hash); showState(); execute(); });
}

/** Offer the recorded prompts instead of a text field. */
function offerPrompts() {
  const option = ({ text }) => h("option", { value: text }, text.replaceAll("\n", "↵"));
  const select = h("select", { id: "prompt", onchange: (event) => choosePrompt(event.target.value) }, recording.prompts.map(option));
  byId("prompt").replaceWith(select);
}

function choosePrompt(prompt) {
  const { response_format, ...values } = state.values;
  const isRecorded = recording.prompts.find((p) => p.text === prompt).masks(response_format ?? null);
  Object.assign(state, { prompt, values: isRecorded ? state.values : values, forced: [], token: 0, lesson: null });
  showState();
  execute();
}

async function begin() {
  restoreTheme();
  byId("tokens").append(main.element);
  if (recording) offerPrompts();
  listen();
  const documents = ["openapi.json", "explain/specification.json", "explain/lessons.json"];
  const [openapi, steps, texts] = await Promise.all(documents.map((path) => getJson(path)));
  specification = steps;
  lessons = new Lessons(texts, applyLesson);
  byId("lessons").append(lessons.tabs);
  known = parameters(openapi);
  isLocked = openapi.security?.length > 0;
  byId("key-field").hidden = !isLocked;
  const models = openapi.components.schemas.ExplainRequest.properties.model.examples;
  fill(byId("model"), models.map((name) => h("option", {}, name)));
  model = models.includes(state.model) ? state.model : models[0];
  byId("model").value = model;
  byId("model-field").hidden = models.length === 1;
  controls = new Controls(known, setValue, recording ?? {});
  byId("controls").append(controls.element);
  showState();
  if (isLocked && key() === "") say("This server needs an API key.");
  else await execute();
}

begin().catch(showError);
