// The cards that are judged: text as rendered or as written, pictures, films and recorded episodes.

import { clip } from "./clips.js";
import { el } from "./dom.js";

export const LETTERS = "ABCDEFGHI";

/** Cards whose text can be shown as written and back, without building the card again. */
export function cardsOf(task, desk, names, extra = () => null) {
  const look = (sample) => (sample.blob ? clip(sample) : desk.turn(sample));
  const bodies = task.samples.map((sample) => el("div", { className: "body" }, look(sample)));
  const cards = task.samples.map((sample, at) =>
    el("article", { className: `card answer side-${at}`, attr: { "aria-label": `Answer ${names[at]}` } },
      el("h2", { className: "letter", textContent: names[at] }), bodies[at], extra(sample, at)));
  return { cards, repaint: () => bodies.forEach((body, at) => { if (!task.samples[at].blob) body.replaceChildren(desk.turn(task.samples[at])); }), bodies };
}

