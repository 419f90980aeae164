// Elements and formats. Styles are set through properties: the page's policy forbids inline styles.

const SVG = "http://www.w3.org/2000/svg";

/** Create an element. Attributes: `on…` are listeners, `vars` are CSS variables, `class` is the
 *  class, false and null are left out; `value`, `checked` and `disabled` are properties. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, attributes);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function apply(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "vars") setVariables(element, value);
    else if (["value", "checked", "disabled", "open"].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function setVariables(element, variables) {
  for (const [name, value] of Object.entries(variables)) element.style.setProperty(name, value);
}

export const byId = (id) => document.getElementById(id);

/** Replace the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((c) => c !== null && c !== false));
}

/** Format a probability to four decimals; a smaller one in scientific notation. */
export function probability(p) {
  if (p === 0) return "0";
  return p < 0.00005 ? p.toExponential(0) : p.toFixed(4);
}

export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1%";
  return `${(100 * p).toFixed(p < 0.1 && p > 0 ? 1 : 0)}%`;
}

/** Format an integer exactly, another number to four significant digits, as Python's `.4g`. */
export function number(x) {
  if (Number.isInteger(x)) return String(x);
  if (Math.abs(x) >= 1e-4) return String(Number(x.toPrecision(4)));
  const [digits, exponent] = x.toExponential(3).split("e-");
  return `${Number(digits)}e-${exponent.padStart(2, "0")}`;
}

const PREFIXES = { rank: "rank ", mass_above: "mass " };

/** Return a condition with its numbers instead of their names: "p < min_p × p_max". */
export function condition({ text, numbers }) {
  const names = Object.keys(numbers);
  if (names.length === 0) return text;
  return (PREFIXES[names[0]] ?? "") + text.replace(/[a-z_]+/g, (name) => number(numbers[name]));
}

const CONTROL = /[\u0000-\u001f\u007f-\u00a0\u2028\u2029]/g;

/** Return a token's text as it is shown: white space and control characters are visible. */
export function visible(text) {
  const marked = text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/^ | $/g, "␣");
  return marked.replace(CONTROL, (c) => `U+${c.charCodeAt(0).toString(16).padStart(4, "0")}`) || "∅";
}

/** Return a token's text for a screen reader and for messages. */
export const quoted = (text) => `“${text.replace(/\n/g, "↵").trim() || visible(text)}”`;
