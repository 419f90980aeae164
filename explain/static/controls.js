// A control for each parameter, made from the OpenAPI document of the server.

import { h, fill } from "./dom.js";
import { range, valueOf } from "./parameters.js";

const GROUPS = [
  ["Sampling", ["temperature", "min_p", "top_k", "top_p", "seed"]],
  ["Penalties", ["repetition_penalty", "frequency_penalty", "presence_penalty"]],
  ["Length and stops", ["max_tokens", "n", "stop", "stop_token_ids"]],
  ["Structured output", ["response_format"]],
  ["Reports", ["logprobs", "echo", "return_tokens_as_token_ids", "top"]],
  ["Request", ["data", "stream", "stream_options", "user", "prompt_cache_key"]],
];
const OPEN = ["Sampling", "Penalties", "Length and stops"];
const ELSEWHERE = ["model", "prompt", "logits", "forced"];
const FORMATS = {
  "any text": null,
  "JSON object": { type: "json_object" },
  "JSON Schema": {
    type: "json_schema",
    json_schema: {
      schema: {
        type: "object",
        properties: { name: { type: "string" }, age: { type: "integer" } },
        required: ["name", "age"],
      },
    },
  },
  regex: { type: "regex", regex: " (red|green|blue)" },
};

/** The form. onchange(name, value): called with a new value; undefined is the default. reasons: why
 *  some parameters cannot be set, by name. formats: the only formats of the response, if some. */
export class Controls {
  constructor(parameters, onchange, { reasons = {}, formats = null } = {}) {
    this.parameters = parameters;
    this.onchange = onchange;
    this.reasons = reasons;
    this.formats = formats;
    this.controls = new Map();
    const grouped = GROUPS.flatMap(([, names]) => names);
    const others = Object.keys(parameters).filter(
      (name) => !grouped.includes(name) && !ELSEWHERE.includes(name),
    );
    this.element = h(
      "div",
      { class: "controls" },
      [...GROUPS, ["Other", others]].map(([title, names]) => this.group(title, names)),
    );
  }

  group(title, names) {
    const known = names.filter((name) => name in this.parameters);
    const isWide = matchMedia("(min-width: 1000px)").matches; // else the text would be far below
    if (known.length === 0) return null;
    return h(
      "details",
      { class: "group", open: isWide && OPEN.includes(title) },
      h("summary", {}, title),
      known.map((name) => this.control(this.parameters[name])),
    );
  }

  control(parameter) {
    const { name, schema } = parameter;
    const id = `parameter-${name}`;
    const set = (value) => this.onchange(name, value);
    const reason = this.reasons[name];
    const input = INPUTS[parameter.kind](parameter, id, set, this.formats);
    const error = h("p", { class: "error", id: `${id}-error` });
    const reset = h(
      "button",
      { type: "button", class: "reset", "aria-label": `reset ${name}`, onclick: () => set(undefined) },
      "reset",
    );
    const element = h(
      "div",
      { class: `control kind-${parameter.kind}`, "data-name": name },
      h("div", { class: "head" }, h("label", { for: id }, h("code", {}, name)), !reason && reset),
      input.element,
      h("p", { class: "help", id: `${id}-help` }, schema.description ?? "", " ", h("span", {}, range(schema)), reason ? h("strong", {}, reason) : null),
      error,
    );
    for (const field of input.fields) {
      field.setAttribute("aria-describedby", `${id}-help ${id}-error`);
      if (reason) field.disabled = true;
    }
    this.controls.set(name, { element, input, error, parameter });
    return element;
  }

  /** Show the values, and which ones are set. */
  show(values) {
    for (const [name, { element, input, parameter }] of this.controls) {
      element.classList.toggle("changed", values[name] !== undefined);
      input.show(valueOf(parameter, values), values[name] !== undefined);
    }
  }

  /** Show the errors of some fields, by name. */
  showErrors(fields) {
    for (const [name, { input, error, element }] of this.controls) {
      error.textContent = fields[name] ?? "";
      for (const field of input.fields) field.setAttribute("aria-invalid", String(name in fields));
      if (name in fields) element.closest("details").open = true;
    }
  }
}

// Each kind: (parameter, id, set) → {element, fields, show(value, isSet)}.
const INPUTS = {
  number(parameter, id, set) {
    const { minimum: min, maximum: max, type } = parameter.schema;
    const bounded = min !== undefined && max !== undefined && max - min <= 50;
    const step = type === "integer" ? 1 : 0.01;
    const read = (event) => set(event.target.value === "" ? undefined : Number(event.target.value));
    const placeholder = parameter.default === null ? "none" : String(parameter.default);
    const box = h("input", { type: "number", id, min, max, step: type === "integer" ? 1 : "any", placeholder, oninput: read });
    if (!bounded) return field(box, (value, isSet) => (isSet ? value : ""));
    const slider = h("input", { type: "range", min, max, step, "aria-label": parameter.name, oninput: read });
    return {
      element: h("div", { class: "pair" }, slider, box),
      fields: [box, slider],
      show: (value) => {
        slider.value = value ?? min;
        if (document.activeElement !== box) box.value = value ?? "";
      },
    };
  },
  seed(parameter, id, set) {
    const box = h("input", {
      type: "text", id, inputmode: "numeric", placeholder: "random", autocomplete: "off",
      oninput: (event) => set(seedValue(event.target.value)),
    });
    return field(box, (value) => value ?? "");
  },
  text(parameter, id, set) {
    const box = h("input", { type: "text", id, oninput: (e) => set(e.target.value || undefined) });
    return field(box, (value) => value ?? "");
  },
  boolean(parameter, id, set) {
    const box = h("input", { type: "checkbox", id, onchange: (e) => set(e.target.checked || undefined) });
    return { element: box, fields: [box], show: (value) => (box.checked = Boolean(value)) };
  },
  lines(parameter, id, set) {
    const read = (e) => {
      const lines = e.target.value.split("\n").filter(Boolean).map((l) => l.replace(/\\n/g, "\n"));
      set(lines.length ? lines : undefined);
    };
    const box = h("textarea", { id, rows: 2, placeholder: "one per line; \\n is a line break", oninput: read });
    const shown = (value) => [value ?? []].flat().map((l) => l.replace(/\n/g, "\\n")).join("\n");
    return field(box, shown);
  },
  integers(parameter, id, set) {
    const read = (e) => {
      const numbers = e.target.value.split(/[\s,]+/).filter(Boolean).map(Number);
      set(numbers.length ? numbers : undefined);
    };
    const box = h("input", { type: "text", id, placeholder: "ids, separated by commas", oninput: read });
    return field(box, (value) => (value ?? []).join(", "));
  },
  object(parameter, id, set) {
    const box = h("textarea", { id, rows: 2, placeholder: "JSON", spellcheck: "false", oninput: (e) => readJson(e.target, set) });
    return field(box, (value, isSet) => (isSet ? JSON.stringify(value) : ""));
  },
  format(parameter, id, set, only) {
    const formats = only ? fixedFormats(only) : FORMATS;
    const text = h("textarea", {
      rows: 4, spellcheck: "false", readonly: only !== null, "aria-label": "response_format as JSON", oninput: (e) => readJson(e.target, set),
    });
    const select = h(
      "select",
      { id, onchange: (e) => set(formats[e.target.value] ?? undefined) },
      Object.keys(formats).map((name) => h("option", {}, name)),
    );
    return {
      element: h("div", { class: "format" }, select, text),
      fields: [select, text],
      show: (value) => {
        const names = Object.keys(formats);
        select.value = names.find((n) => formats[n]?.type === value?.type) ?? names[0];
        text.hidden = !value;
        if (document.activeElement !== text) text.value = value ? JSON.stringify(value, null, 1) : "";
      },
    };
  },
  images(parameter, id, set) {
    const isTextOnly = parameter.schema.properties?.image?.maxItems === 0;
    const read = async (e) => {
      const image = await Promise.all([...e.target.files].map(dataUri));
      set(image.length ? { image } : undefined);
    };
    const box = h("input", { type: "file", id, multiple: true, accept: "image/*", disabled: isTextOnly, onchange: read });
    const previews = h("div", { class: "previews" });
    const note = isTextOnly ? h("p", { class: "help" }, "This model is text-only.") : null;
    return {
      element: h("div", {}, box, previews, note),
      fields: [box],
      show: (value) => {
        fill(previews, (value?.image ?? []).map((src, i) => h("img", { src, alt: `image ${i + 1}` })));
        if (!value) box.value = "";
      },
    };
  },
};

/** Return some formats by their names. */
function fixedFormats(formats) {
  const nameOf = ({ type }) => Object.keys(FORMATS).find((name) => FORMATS[name]?.type === type) ?? type;
  return { "any text": null, ...Object.fromEntries(formats.map((format) => [nameOf(format), format])) };
}

function field(element, shown) {
  return {
    element,
    fields: [element],
    show: (value, isSet) => {
      if (document.activeElement !== element) element.value = shown(value, isSet);
    },
  };
}

function readJson(box, set) {
  try {
    box.removeAttribute("aria-invalid");
    set(box.value.trim() ? JSON.parse(box.value) : undefined);
  } catch {
    box.setAttribute("aria-invalid", "true");
  }
}

/** Return a seed as a number, or as a string if a number cannot represent it. */
export function seedValue(text) {
  if (text.trim() === "") return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : text.trim();
}

function dataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
