// Two distributions of one token side by side: other settings, or the rules of another engine.

import { DIALECTS, ENGINES } from "./dialects.js";
import { h, probability, quoted, visible } from "./dom.js";
import { ranked, totalVariation } from "./steps.js";

const ROWS = 10;
const LISTED = 6;

/** Return the choices of the comparison as options of a select. */
export function compareOptions(hasPinned) {
  const option = (value, text = value) => h("option", { value }, text);
  return [
    option("", "nothing"),
    option("pinned", hasPinned ? "the pinned settings" : "these settings, pinned now"),
    h("optgroup", { label: "as another engine does it" }, Object.keys(ENGINES).map((n) => option(n))),
    h("optgroup", { label: "one deviation" }, Object.keys(DIALECTS).map((n) => option(n))),
  ];
}

/** Return the dialects of a choice; none for the pinned settings. */
export function dialectsOf(against) {
  return ENGINES[against] ?? (against in DIALECTS ? [against] : []);
}

/** Return the comparison of two explanations of the same token. */
export function comparison({ here, there, names, text, difference }) {
  const p = here.stages.at(-1).p;
  const q = there.stages.at(-1).p;
  const only = (a, b) => ranked(a).filter((i) => a[i] > 0 && b[i] === 0);
  const ids = [...new Set([...ranked(p).slice(0, ROWS), ...ranked(q).slice(0, ROWS)])]
    .filter((i) => p[i] > 0 || q[i] > 0)
    .sort((a, b) => Math.max(p[b], q[b]) - Math.max(p[a], q[a]) || a - b)
    .slice(0, ROWS + 4);
  const largest = Math.max(...ids.flatMap((i) => [p[i], q[i]]));
  const variation = totalVariation(p, q);
  return h(
    "div",
    { class: "comparison", "data-variation": variation },
    h(
      "dl",
      { class: "facts" },
      fact("total variation", variation.toFixed(4), "half the sum of the differences: 0 is the same distribution, 1 has no token in common"),
      fact("tokens left", `${count(here)} ${names[0]}, ${count(there)} ${names[1]}`),
      fact(`only ${names[0]}`, listed(only(p, q), text)),
      fact(`only ${names[1]}`, listed(only(q, p), text)),
      fact("first token that differs", differenceText(difference, names, text)),
    ),
    h(
      "table",
      { class: "pair" },
      h("caption", {}, "Final probabilities of this token"),
      h("thead", {}, h("tr", {}, ["token", ...names].map((t) => h("th", { scope: "col" }, t)))),
      h(
        "tbody",
        {},
        ids.map((i) =>
          h(
            "tr",
            { "data-id": i },
            h("th", { scope: "row" }, h("span", { class: "piece" }, visible(text(i)))),
            [p, q].map((values) => h("td", { "data-p": values[i], vars: { "--width": (values[i] / largest).toFixed(4) } }, h("span", { class: "number" }, values[i] === 0 ? "·" : probability(values[i])))),
          ),
        ),
      ),
    ),
  );
}

const count = (explanation) => explanation.stages.at(-1).kept.toLocaleString("en");

function fact(name, value, title = "") {
  return h("div", { title: title || null }, h("dt", {}, name), h("dd", {}, value));
}

function listed(ids, text) {
  if (ids.length === 0) return "none";
  const shown = ids.slice(0, LISTED).map((i) => h("span", { class: "piece" }, visible(text(i))));
  return [...shown, ids.length > LISTED ? ` and ${ids.length - LISTED} more` : ""];
}

function differenceText(difference, names, text) {
  if (difference === null) return "none in this text";
  const { position, here, there } = difference;
  return `number ${position + 1}: ${quoted(text(here))} ${names[0]}, ${quoted(text(there))} ${names[1]}`;
}
