// The Markdown of decision records as elements: paragraphs, lists, tables, code, emphasis.

import { h } from "./dom.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|\[([^\]]+)\]\([^)]*\)/g;

/** Return the elements of a text. Links become their text: the page has no other documents. */
export function markdown(text) {
  return text.split(/\n\n+/).filter((block) => block.trim()).map(block);
}

function block(text) {
  if (text.startsWith("```")) return h("pre", {}, text.replace(/^```\w*\n|\n?```$/g, ""));
  const lines = text.split("\n");
  if (lines[0].startsWith("#")) return h("h4", {}, inline(lines[0].replace(/^#+ /, "")));
  if (lines[0].startsWith("|")) return table(lines);
  if (/^(- |\d+\. )/.test(lines[0])) {
    const items = text.split(/\n(?=- |\d+\. )/).map((item) => item.replace(/^(- |\d+\. )/, ""));
    return h(lines[0].startsWith("-") ? "ul" : "ol", {}, items.map((i) => h("li", {}, inline(i))));
  }
  return h("p", {}, inline(text));
}

function table([head, , ...rows]) {
  const cells = (line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim());
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "table" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, cells(head).map((cell) => h("th", { scope: "col" }, inline(cell))))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells(row).map((c) => h("td", {}, inline(c)))))),
    ),
  );
}

/** Return the parts of a line: text, and elements for code, emphasis and links. */
export function inline(text) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index));
    const [, code, strong, emphasis, link] = match;
    if (code) parts.push(h("code", {}, code));
    else if (strong) parts.push(h("strong", {}, strong));
    else if (emphasis) parts.push(h("em", {}, emphasis));
    else parts.push(...inline(link));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}
