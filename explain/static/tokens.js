// The output: tokens in the order of their generation, colored by probability.

import { fill, h, percent, quoted, setVariables } from "./dom.js";

/** A list of tokens, one of which is selected. onselect(position): called when it changes. */
export class Tokens {
  constructor(label, onselect) {
    this.onselect = onselect;
    this.selected = 0;
    this.prompt = h("span", { class: "prompt" });
    this.list = h("span", {
      class: "tokens", role: "listbox", "aria-label": label, "aria-orientation": "horizontal",
      onkeydown: (event) => this.onkey(event),
    });
    this.end = h("span", { class: "end" });
    this.element = h("p", { class: "text" }, this.prompt, this.list, this.end);
  }

  /** Show the tokens of a choice. difference: the position of the first token that differs from
   *  another run, or null. */
  show({ prompt, values }, choice, difference) {
    this.prompt.textContent = prompt;
    const tokens = choice?.tokens ?? [];
    while (this.list.children.length > tokens.length) this.list.lastChild.remove();
    const text = values.echo ? choice?.text.slice(prompt.length) : choice?.text;
    let start = 0; // of the token in the text, whose first space may be stripped
    if (tokens[0]?.text.startsWith(" ") && text && !text.startsWith(" ")) start = -1;
    tokens.forEach((token, position) => {
      const item = this.list.children[position] ?? this.list.appendChild(this.item(position));
      const isEnd = position + 1 === tokens.length && choice.finish === "stop" && typeof choice.stop !== "string";
      const isWithheld = isEnd || (choice.finish !== "length" && start >= text.length);
      this.fillItem(item, token, position, isWithheld, position === difference);
      start += token.text.length;
    });
    this.end.textContent = endOf(choice);
    this.select(Math.min(this.selected, Math.max(0, tokens.length - 1)));
  }

  item(position) {
    return h("span", { class: "token", role: "option", onclick: () => this.choose(position) });
  }

  fillItem(item, token, position, isWithheld, isDifferent) {
    const surprise = Math.min(1, -Math.log(Math.max(token.p, 1e-9)) / 6);
    setVariables(item, { "--surprise": surprise.toFixed(3) });
    const [, space, text] = token.text.match(/^( ?)([^]*)$/); // a line may break at the space
    const lines = text.split("\n");
    const ink = (line) => line !== "" && h("span", { class: "ink" }, line);
    const breaks = (line) => [h("span", { class: "ink mark" }, "↵"), "\n", ink(line)];
    fill(item, space, ink(lines[0] || (lines.length > 1 ? "" : "␣")), lines.slice(1).map(breaks));
    item.classList.toggle("withheld", isWithheld);
    item.classList.toggle("forced", token.forced);
    item.classList.toggle("different", isDifferent);
    const notes = [isWithheld && "not in the text", token.forced && "taken by you", isDifferent && "differs"];
    const note = notes.filter(Boolean).map((text) => `, ${text}`).join("");
    item.setAttribute("aria-label", `${position + 1}: ${quoted(token.text)}, ${percent(token.p)}${note}`);
    item.title = `${quoted(token.text)} · the model gave it ${percent(token.p)}${note}`;
  }

  /** Mark a token as selected. */
  select(position) {
    this.selected = position;
    [...this.list.children].forEach((item, i) => {
      item.setAttribute("aria-selected", String(i === position));
      item.tabIndex = i === position ? 0 : -1;
    });
  }

  choose(position) {
    this.select(position);
    this.list.children[position]?.focus({ preventScroll: true });
    this.onselect(position);
  }

  onkey(event) {
    const last = this.list.children.length - 1;
    const moves = {
      ArrowLeft: this.selected - 1, ArrowRight: this.selected + 1, ArrowUp: this.selected - 1,
      ArrowDown: this.selected + 1, Home: 0, End: last,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, moves[event.key])));
  }
}

function endOf(choice) {
  if (choice?.isCut) return " … not recorded from here";
  if (!choice?.finish) return "";
  const reason = choice.stop === null ? "" : ` ${quoted(String(choice.stop))}`;
  return ` finish_reason: ${choice.finish}${reason}`;
}
