// The table of the steps: a column per step, a row per token.

import { condition, h, percent, probability, quoted, visible } from "./dom.js";

/** Return the table. options: onstep(name) shows the definition of a step, ontake(id) continues
 *  with another token, showAll: whether steps that changed nothing have a column. valueOf(name):
 *  the setting of a step. */
export function stepsTable(view, { caption, onstep, ontake, showAll, settingOf }) {
  const columns = view.stages
    .map((stage, index) => ({ stage, index }))
    .filter(({ stage, index }) => index === 0 || stage.changed || stage.removed || showAll);
  const largest = Math.max(...columns.flatMap(({ stage }) => [...stage.p, 0]));
  const width = (p) => (p / largest).toFixed(4);
  return h(
    "table",
    { class: "steps" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "token"), columns.map((c) => head(c.stage, settingOf, onstep)))),
    h("tbody", {}, view.rows.map((row, i) => rowOf(view, row, i, columns, { ontake, width })), others(columns)),
    h("tfoot", {}, foot(columns)),
  );
}

function head(stage, settingOf, onstep) {
  const name = stage.name.replace("_penalty", "_\u200bpenalty");
  if (stage.name === "model") return h("th", { scope: "col", "data-step": "model" }, h("span", { class: "name" }, "model"));
  return h(
    "th",
    { scope: "col", "data-step": stage.name, class: stage.changed || stage.removed ? "" : "off" },
    h("button", { type: "button", class: "name", title: "definition, source and decisions", onclick: () => onstep(stage.name) }, name),
    h("span", { class: "setting" }, settingOf(stage.name)),
  );
}

function rowOf(view, row, index, columns, { ontake, width }) {
  const isChosen = row.id === view.chosen;
  const isDrawn = row.id === view.winner;
  const badge = isChosen ? (isDrawn ? "drawn" : "in the text") : isDrawn ? "would be drawn" : null;
  const take = h(
    "button",
    { type: "button", class: "take", "aria-label": `continue with ${quoted(row.text)}`, title: "continue from this token", onclick: () => ontake(row) },
    "↳",
  );
  return h(
    "tr",
    { class: isChosen ? "chosen" : row.removal ? "dropped" : "", "data-id": row.id },
    h(
      "th",
      { scope: "row" },
      h("span", { class: "piece" }, visible(row.text)),
      badge && h("span", { class: "badge" }, badge),
      ontake && !isChosen && take,
    ),
    columns.map(({ stage, index: at }) => cell(stage, view.stages[at - 1], row, index, width)),
  );
}

function cell(stage, before, row, index, width) {
  const p = stage.p[index];
  const attributes = { "data-p": p, "data-step": stage.name };
  if (row.removal?.step === stage.name) {
    return h(
      "td",
      { ...attributes, class: "removed" },
      h("s", {}, h("span", { class: "hidden" }, "removed, was "), probability(before.p[index])),
      h("small", {}, condition(row.removal)),
    );
  }
  if (p === 0) return h("td", { ...attributes, class: "gone" }, h("span", { class: "hidden" }, "removed before"), h("span", { "aria-hidden": "true" }, "·"));
  return h("td", { ...attributes, vars: { "--width": width(p) } }, h("span", { class: "number" }, probability(p)));
}

function others(columns) {
  return h(
    "tr",
    { class: "others" },
    h("th", { scope: "row" }, "all others"),
    columns.map(({ stage }) => h("td", { "data-p": stage.others }, h("span", { class: "number" }, stage.others === 0 ? "·" : probability(stage.others)))),
  );
}

function foot(columns) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, "tokens left"),
    columns.map(({ stage }) =>
      h(
        "td",
        { "data-step": stage.name, "data-kept": stage.kept },
        h("strong", {}, stage.kept.toLocaleString("en")),
        stage.removed > 0 && h("small", {}, `−${stage.removed.toLocaleString("en")}, ${percent(stage.removedMass)} mass`),
      ),
    ),
  );
}
