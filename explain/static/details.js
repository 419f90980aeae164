// The definition of a step: the lines of its docstring, its source, and the decisions behind it.

import { byId, fill, h } from "./dom.js";
import { inline, markdown } from "./markdown.js";

/** Show the definition of a step in the dialog. */
export function showDefinition(specification, name) {
  const step = specification.steps.find((s) => s.name === (name === "allowed" ? "response_format" : name));
  const dialog = byId("definition");
  fill(
    dialog,
    h(
      "article",
      {},
      h("header", {}, h("h2", { id: "definition-title" }, h("code", {}, name)), close(dialog)),
      h("p", { class: "summary" }, inline(step.summary)),
      h("dl", { class: "lines" }, step.lines.map(({ label, text }) => [h("dt", {}, label), h("dd", {}, label === "Example" ? h("pre", { tabindex: 0 }, text) : inline(text))])),
      h("h3", {}, "Source"),
      step.sources.map(source),
      h("h3", {}, "Decisions"),
      step.decisions.map((number) => decision(specification.decisions[number])),
    ),
  );
  dialog.showModal();
}

function close(dialog) {
  return h("button", { type: "button", class: "close", "aria-label": "close", onclick: () => dialog.close() }, "×");
}

function source({ name, path, line, text }) {
  return h("figure", { class: "source" }, h("figcaption", {}, `${name}, ${path}:${line}`), h("pre", { tabindex: 0 }, h("code", {}, text)));
}

function decision({ title, text }) {
  return h("details", { class: "decision" }, h("summary", {}, title), h("div", {}, markdown(text)));
}
