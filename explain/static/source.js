// Where the page gets explained completions from: a server; or a recording, if the document names
// one, as that of the documentation does, which has no server.

const meta = document.querySelector('meta[name="recording"]');
const source = meta ? await openRecording(meta.content) : await import("./stream.js");

async function openRecording(folder) {
  try {
    return await (await import("./recorded.js")).open(folder);
  } catch (error) {
    return { getJson: () => Promise.reject(error) }; // the page reports it
  }
}

/** recording: null with a server. */
export const { explain, getJson, recording = null } = source;
