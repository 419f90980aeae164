// Where the page gets explained completions from: a server; or a recording, if the page names one,
// as that of the documentation does, which has no server.

const meta = document.querySelector('meta[name="recording"]');
const source = meta ? await (await import("./recorded.js")).open(meta.content) : await import("./stream.js");

/** recording: null with a server. */
export const { explain, getJson, recording = null } = source;
