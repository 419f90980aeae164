// The settings of the page, and their form in the URL.

export const START = {
  prompt: "Once upon a time",
  values: { temperature: 0.8, top_p: 0.9, seed: 7, max_tokens: 40 },
  token: 0,
  choice: 0,
  forced: [],
  against: "",
  pinned: null,
  lesson: null,
};

const OWN = ["prompt", "token", "choice", "forced", "against", "pinned", "lesson", "model"];

/** Return the fragment of a URL: the prompt, the values that are set, and what is selected. Images
 *  are left out: they are too long. */
export function toFragment(state) {
  const query = new URLSearchParams();
  query.set("prompt", state.prompt);
  for (const [name, value] of Object.entries(state.values)) {
    if (name !== "data") query.set(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  for (const name of ["model", "token", "choice", "against"]) {
    if (state[name]) query.set(name, state[name]);
  }
  if (state.forced.length) query.set("forced", state.forced.join(","));
  if (state.pinned) query.set("pinned", JSON.stringify(state.pinned));
  if (state.lesson) query.set("lesson", state.lesson.join("."));
  return `#${query}`;
}

/** Return the settings of a fragment; those of START without one. */
export function fromFragment(fragment) {
  if (fragment.length < 2) return structuredClone(START);
  const query = new URLSearchParams(fragment.slice(1));
  const state = { ...structuredClone(START), values: {} };
  for (const [name, text] of query) {
    if (!OWN.includes(name)) state.values[name] = parsed(text);
  }
  state.prompt = query.get("prompt") ?? START.prompt;
  state.model = query.get("model") ?? undefined;
  state.against = query.get("against") ?? "";
  state.token = Number(query.get("token") ?? 0);
  state.choice = Number(query.get("choice") ?? 0);
  state.forced = (query.get("forced") ?? "").split(",").filter(Boolean).map(Number);
  state.pinned = parsedObject(query.get("pinned"));
  const lesson = query.get("lesson");
  state.lesson = lesson ? lesson.split(".").map(Number) : null;
  return state;
}

function parsed(text) {
  if (/^-?\d{16,}$/.test(text)) return text; // a seed that a number cannot represent
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parsedObject(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
