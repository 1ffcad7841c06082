// Forms that put answers in order: ranking, and rating each before ranking all.

import { cardsOf } from "./cards.js";
import { el, key } from "./dom.js";
import { asking, scoring } from "./scores.js";

const DIGITS = "123456789";

/** Places from best to worst, typed or clicked. `changed` hears of each step. */
export function ranker(task, desk, before, changed) {
  let places = (before?.order ?? []).map((tied) => tied.map((id) => task.samples.findIndex((sample) => sample.id === id)));
  let tie = false;
  const tray = el("output", { className: "tray", attr: { "aria-live": "polite" } });
  const badges = task.samples.map(() => el("span", { className: "place" }));
  const made = cardsOf(task, desk, DIGITS, (sample, at) =>
    el("button", { type: "button", className: "take", onclick: () => take(at) }, badges[at], el("span", { className: "unseen", textContent: `: answer ${at + 1}, place it next` })));
  const taken = () => places.flat();
  const draw = () => {
    const words = places.map((tied) => tied.map((at) => at + 1).join(" = ")).join("  >  ");
    tray.textContent = (words || "Type the numbers, best first") + (tie ? "  =  …" : "");
    badges.forEach((badge, at) => {
      const place = places.findIndex((tied) => tied.includes(at));
      badge.textContent = place < 0 ? "not placed" : `place ${place + 1}`;
      badge.classList.toggle("placed", place >= 0);
    });
  };
  const moved = () => { draw(); changed(places); };
  const take = (at) => {
    if (desk.shut?.() || at < 0 || at >= task.samples.length || taken().includes(at)) return;
    if (tie && places.length) places.at(-1).push(at);
    else places.push([at]);
    tie = false;
    moved();
  };
  const back = () => {
    if (tie) tie = false;
    else if (places.length && places.at(-1).length > 1) places.at(-1).pop();
    else places.pop();
    moved();
  };
  draw();
  return {
    ...made,
    row: [tray, el("span", { className: "gap" }),
      el("button", { type: "button", onclick: () => { tie = places.length > 0; draw(); } }, "Tie ", key("=")),
      el("button", { type: "button", onclick: back }, "Back ", key("⌫"))],
    complete: () => taken().length === task.samples.length,
    empty: () => !places.length,
    answer: () => ({ kind: "ranking", order: places.map((tied) => tied.map((at) => task.samples[at].id)), criterion: "" }),
    words: () => places.map((tied) => tied.map((at) => at + 1).join("=")).join(" "),
    restore: (kept) => { places = kept; draw(); },
    key: (pressed) => {
      if (/^[1-9]$/.test(pressed)) take(Number(pressed) - 1);
      else if (pressed === "=") { tie = places.length > 0; draw(); }
      else if (pressed === "Backspace") back();
      else return false;
      return true;
    },
  };
}

export function ranking(task, desk) {
  const send = el("button", { type: "button", className: "main", onclick: () => finish() }, "Send ", key("Enter"));
  const made = ranker(task, desk, desk.previous, (places) => { check(); desk.draft(places); });
  const check = () => { send.disabled = !made.complete(); };
  const finish = () => {
    if (made.complete()) desk.say({ ...made.answer(), criterion: task.criteria[0] ?? "" }, `Ranked ${made.words()}`);
  };
  check();
  return {
    cards: made.cards, repaint: made.repaint,
    bar: [el("div", { className: "row" }, ...made.row, send)],
    restore: (kept) => { made.restore(kept); check(); },
    key: (pressed) => (pressed === "Enter" ? (finish(), true) : made.key(pressed)),
  };
}

/** Each by itself first, then all in order (InstructGPT): two looks from one reading. */
export function combined(task, desk) {
  const before = desk.previous;
  let ordering = Boolean(before);
  const kept = () => desk.draft({ scores: scores.values(), yes: yes?.values(), places, ordering });
  let places = [];
  const scores = scoring(task, before?.rating.scores, () => { draw(); kept(); }, DIGITS);
  const yes = task.flags.length ? asking(task, before?.flags, () => { draw(); kept(); }, DIGITS) : null;
  const made = ranker(task, { ...desk, shut: () => !ordering }, before?.ranking, (order) => { places = order; draw(); kept(); });
  const rated = () => scores.complete() && (!yes || yes.complete());
  const send = el("button", { type: "button", className: "main", onclick: () => next() }, el("span", { className: "then" }), key("Enter"));
  const first = el("div", { className: "row" }, scores.node, ...(yes ? [yes.node] : []), el("span", { className: "gap" }));
  const second = el("div", { className: "row" }, ...made.row);
  const draw = () => {
    first.hidden = ordering;
    second.hidden = !ordering;
    yes?.node.classList.toggle("later", !scores.complete());
    (ordering ? second : first).append(send);
    send.firstChild.textContent = ordering ? "Send " : "Now rank them ";
    send.disabled = ordering ? !made.complete() : !rated();
  };
  const next = () => {
    if (send.disabled) return;
    if (!ordering) {
      ordering = true;
      draw();
      return kept();
    }
    desk.say({ kind: "combined", rating: scores.answer(), ranking: made.answer(), flags: yes?.answer() ?? {} }, `Rated, ranked ${made.words()}`);
  };
  draw();
  return {
    cards: made.cards, repaint: made.repaint, bar: [first, second],
    restore: (draft) => {
      scores.restore(draft.scores);
      if (draft.yes) yes?.restore(draft.yes);
      ordering = draft.ordering;
      places = draft.places;
      made.restore(places);
      draw();
    },
    key: (pressed) => {
      if (pressed === "Enter") next();
      else if (ordering && pressed === "Backspace" && made.empty()) { ordering = false; draw(); }
      else if (ordering) return made.key(pressed);
      else if (!scores.complete() || !yes) return scores.key(pressed);
      else return yes.key(pressed) || (pressed === "Backspace" && scores.key(pressed));
      return true;
    },
  };
}
