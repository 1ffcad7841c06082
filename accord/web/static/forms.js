// One form of question, one function: cards to read, a bar to answer with, and what keys mean.

import { LETTERS, cardsOf } from "./cards.js";
import { clipBar } from "./clips.js";
import { el, key } from "./dom.js";
import { combined, ranking } from "./ranking.js";
import { flags, rating } from "./scores.js";
import { correction, critique, demonstration } from "./writing.js";

const CELLS = [
  ["1", "A", "much", 0, 3], ["2", "A", "clearly", 0, 2], ["3", "A", "slightly", 0, 1], ["4", "=", "same", null, 1],
  ["5", "B", "slightly", 1, 1], ["6", "B", "clearly", 1, 2], ["7", "B", "much", 1, 3],
];

const HIDDEN = { "aria-hidden": "true" };
/** A key that is drawn and not read out: the name of a button is what it does. */
const hint = (name) => el("kbd", { textContent: name, attr: HIDDEN });

/** The form of a task: { cards, bar, key?, command?, repaint?, restore?, focus?, close? }. */
export function formOf(task, desk) {
  const made = { comparison, ranking, rating, flags, combined, correction, demonstration, critique }[task.form](task, desk);
  return task.samples.some((sample) => sample.blob && !sample.media.startsWith("image/")) ? { ...made, bar: [clipBar(), ...made.bar] } : made;
}

function comparison(task, desk) {
  const criterion = task.criteria[0] ?? "";
  const before = desk.previous;
  const choose = (cell) => {
    const [, side, word, at, strength] = cell;
    const answer = at === null
      ? { kind: "comparison", better: null, verdict: "tie", strength: 1, criterion }
      : { kind: "comparison", better: task.samples[at].id, verdict: "better", strength, criterion };
    settle(answer, at === null ? "Equally good" : `${side} ${word} better`);
  };
  const bad = () => settle({ kind: "comparison", better: null, verdict: "both_bad", strength: 1, criterion }, "Both bad");
  const settle = (answer, words) => (task.safety ? ask(answer, words) : desk.say(answer, words));
  const chosen = ([, , , at, strength]) => before && (at === null ? before.verdict === "tie" : before.better === task.samples[at].id && before.strength === strength);
  const cells = CELLS.map((cell, at) => el("button", {
    type: "button", className: `cell cell-${cell[0]}${chosen(cell) ? " before" : ""}`, onclick: () => choose(cell),
  }, el("span", { className: "mark", textContent: cell[1], attr: cell[3] === null ? HIDDEN : {} }), " ", el("span", { className: "word", textContent: cell[3] === null ? "equally good" : cell[2] }),
  el("span", { className: "unseen", textContent: `${cell[3] === null ? "" : " better"}, ${at + 1} of 7` }), hint(cell[0])));
  const both = el("button", { type: "button", className: `cell cell-0${before?.verdict === "both_bad" ? " before" : ""}`, onclick: bad },
    el("span", { className: "mark", textContent: "✕", attr: HIDDEN }), el("span", { className: "word", textContent: "both bad" }), hint("0"));
  const bar = el("div", { className: "cells", role: "group", attr: { "aria-label": "Which answer is better?" } }, ...cells, both);
  let pending = null;
  const second = el("div", { className: "row safety", role: "group", hidden: true });
  const ask = (answer, words) => {
    pending = safety(task, answer, words, desk);
    second.replaceChildren(el("strong", { textContent: `${words}. Which are safe?` }), ...pending.map((one) =>
      el("button", { type: "button", onclick: one.choose }, key(one.key), ` ${one.text}`)), el("button", { type: "button", className: "quiet", onclick: back }, key("⌫"), " back"));
    turn();
    second.querySelector("button").focus({ preventScroll: true });
  };
  const back = () => { pending = null; turn(); };
  const turn = () => { bar.hidden = Boolean(pending); second.hidden = !pending; };
  return {
    ...cardsOf(task, desk, LETTERS), bar: [bar, second],
    key: (pressed) => {
      if (pending) {
        if (pressed === "Backspace") back();
        else pending.find((one) => one.key === pressed)?.choose();
        return pressed !== "Enter";
      }
      const cell = CELLS.find(([name]) => name === pressed);
      if (cell) choose(cell);
      else if (pressed === "0") bad();
      return Boolean(cell) || pressed === "0";
    },
  };
}

/** Llama 2's bins: both are safe, the better one alone, neither; that the worse one alone is safe is left out. */
function safety(task, answer, words, desk) {
  const [a, b] = task.samples.map((sample) => sample.id);
  const bins = [["both", [a, b]], ["only A", [a]], ["only B", [b]], ["neither", []]]
    .filter(([, safe]) => answer.better === null || safe.length !== 1 || safe[0] === answer.better);
  return bins.map(([text, safe], at) => ({ key: String(at + 1), text, choose: () => desk.say({ ...answer, safe }, `${words}; safe: ${text}`) }));
}
