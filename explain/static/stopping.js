// The end of a choice and its text: the JavaScript twin of reference/stopping.py and of its text.

/** Return [finish_reason, stop_reason] after a token; nulls to continue. generated: the number of
 *  tokens of the choice, this one included. */
export function finish(token, generated, budget, eosTokenIds, stopTokenIds) {
  if (eosTokenIds.includes(token)) return ["stop", null];
  if (stopTokenIds.includes(token)) return ["stop", token];
  return generated >= budget ? ["length", null] : [null, null];
}

/** The search for the first stop string in a text that arrives in parts. */
export class StopStrings {
  constructor(stops) {
    this.stops = stops;
    this.withheld = "";
  }

  /** Return the text that is safe to emit, and the stop string if one is complete, else null. */
  push(part) {
    const text = this.withheld + part;
    let end = Infinity;
    let match = null;
    for (const stop of this.stops) {
      const at = text.indexOf(stop);
      if (at >= 0 && at + stop.length < end) [end, match] = [at + stop.length, stop];
    }
    if (match !== null) {
      this.withheld = "";
      return [text.slice(0, end - match.length), match];
    }
    const keep = Math.max(0, ...this.stops.map((stop) => partialMatch(text, stop)));
    this.withheld = text.slice(text.length - keep);
    return [text.slice(0, text.length - keep), null];
  }

  /** Return the withheld text, when the choice has ended without a match. */
  flush() {
    const text = this.withheld;
    this.withheld = "";
    return text;
  }
}

/** Return the length of the longest suffix of a text that is a proper prefix of a stop string. */
function partialMatch(text, stop) {
  for (let n = Math.min(text.length, stop.length - 1); n > 0; n--) {
    if (text.endsWith(stop.slice(0, n))) return n;
  }
  return 0;
}

/** The text of one choice. vocabulary: the texts of all tokens, as `logprobs` has them.
 *  stripsSpace: whether the space at the start of the first token is not part of the text. */
export class ChoiceText {
  constructor(vocabulary, stops, stripsSpace) {
    this.vocabulary = vocabulary;
    this.stops = new StopStrings(stops);
    this.stripsSpace = stripsSpace;
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  }

  /** Return the text that a token adds, and the stop string that it completes, or null. reason: the
   *  finish_reason of the token. */
  push(token, reason) {
    let text = reason === "stop" ? "" : this.decode(token);
    if (reason !== null) text += this.decoder.decode();
    const [safe, stop] = this.stops.push(text);
    return [stop === null && reason !== null ? safe + this.stops.flush() : safe, stop];
  }

  decode(token) {
    const bytes = bytesOf(this.vocabulary[token]);
    const isSpace = this.stripsSpace && bytes[0] === 0x20;
    this.stripsSpace = false;
    return this.decoder.decode(isSpace ? bytes.subarray(1) : bytes, { stream: true });
  }
}

/** Return the bytes of a token: `bytes:\xe2\x82` is a part of a character. */
export function bytesOf(name) {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(name)) return new TextEncoder().encode(name);
  return Uint8Array.from(name.slice(8).split("\\x"), (digits) => parseInt(digits, 16));
}
