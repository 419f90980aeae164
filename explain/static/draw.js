// The draw: logit + noise = score. The best score wins. Other seeds draw other tokens.

import { h, svg, visible } from "./dom.js";

const WIDTH = 240;

/** Return the table of the best scores. */
export function drawTable(view) {
  const values = view.draw.flatMap((row) => [row.logit, row.score]);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const x = (value) => 8 + ((value - low) / (high - low || 1)) * (WIDTH - 16);
  return h(
    "table",
    { class: "draw" },
    h("caption", {}, "The best scores of the draw"),
    h("thead", {}, h("tr", {}, ["token", "logit", "+ noise", "= score", ""].map((t) => h(t ? "th" : "td", t ? { scope: "col" } : {}, t)))),
    h(
      "tbody",
      {},
      view.draw.map((row, rank) =>
        h(
          "tr",
          { "data-id": row.id, class: rank === 0 ? "winner" : "" },
          h("th", { scope: "row" }, h("span", { class: "piece" }, visible(row.text)), rank < 2 && h("span", { class: "badge" }, ["winner", "runner-up"][rank])),
          ["logit", "noise", "score"].map((name) => h("td", { class: "number", "data-value": row[name], "data-name": name }, signed(row[name]))),
          h("td", { class: "arrow", "aria-hidden": "true" }, arrow(x(row.logit), x(row.score))),
        ),
      ),
    ),
  );
}

const signed = (value) => value.toFixed(3).replace("-", "−");

/** An arrow from a logit to its score. */
function arrow(from, to) {
  const line = svg("line", { x1: from, x2: to, y1: 9, y2: 9, class: "line" });
  const start = svg("circle", { cx: from, cy: 9, r: 3, class: "from" });
  const end = svg("circle", { cx: to, cy: 9, r: 5, class: "to" });
  return svg("svg", { viewBox: `0 0 ${WIDTH} 18`, class: "arrows" }, line, start, end);
}

/** Return the dial: a button for each of some seeds, with the token that it draws. */
export function dial({ seeds, tokens, text, current, onseed }) {
  return h(
    "ol",
    { class: "dial", "aria-label": "what other seeds draw from this distribution" },
    seeds.map((seed, i) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button", "aria-pressed": String(seed === current), "data-seed": String(seed), onclick: () => onseed(seed),
            "aria-label": `seed ${seed} draws ${visible(text(tokens[i]))}`,
          },
          h("span", { class: "seed" }, String(seed)),
          h("span", { class: "piece" }, visible(text(tokens[i]))),
        ),
      ),
    ),
  );
}
