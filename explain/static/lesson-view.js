// The lessons: a button for each, and the card of the current one.

import { byId, fill, h } from "./dom.js";

/** lessons: a title and cards each; a card has a text and the settings that the page takes over.
 *  onchange(position, card): called with [lesson, card] and the card; with null at the end. */
export class Lessons {
  constructor(lessons, onchange) {
    this.lessons = lessons;
    this.onchange = onchange;
    this.tabs = h(
      "ol",
      {},
      lessons.map(({ title }, i) => h("li", {}, h("button", { type: "button", "aria-pressed": "false", onclick: () => this.open(i, 0) }, title))),
    );
  }

  open(lesson, card) {
    this.onchange([lesson, card], this.lessons[lesson].cards[card]);
  }

  /** Show a card; hide the lessons' card for null. */
  show(position) {
    const element = byId("lesson");
    const [lesson, card] = position ?? [-1, 0];
    [...this.tabs.querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-pressed", String(i === lesson)));
    const current = this.lessons[lesson]?.cards[card];
    element.hidden = !current;
    if (!current) return;
    const { title, cards } = this.lessons[lesson];
    const isLast = card === cards.length - 1;
    fill(
      element,
      h("p", { class: "eyebrow" }, `Lesson ${lesson + 1}: ${title}, ${card + 1} of ${cards.length}`),
      h("p", {}, current.text),
      h(
        "div",
        { class: "row" },
        h("button", { type: "button", disabled: card === 0, onclick: () => this.open(lesson, card - 1) }, "Back"),
        isLast
          ? lesson + 1 < this.lessons.length && h("button", { type: "button", class: "primary", onclick: () => this.open(lesson + 1, 0) }, `Next lesson: ${this.lessons[lesson + 1].title}`)
          : h("button", { type: "button", class: "primary", onclick: () => this.open(lesson, card + 1) }, "Next"),
        h("button", { type: "button", class: "quiet", onclick: () => this.onchange(null, null) }, "Leave the lesson"),
      ),
    );
  }
}
