// One form of question, one function: cards to read, a bar to answer with, and what keys mean.

import { el, key } from "./dom.js";
import { correction, critique, demonstration } from "./writing.js";

const LETTERS = "ABCDEFGHI";
const CELLS = [
  ["1", "A", "much", 0, 3], ["2", "A", "clearly", 0, 2], ["3", "A", "slightly", 0, 1], ["4", "=", "same", null, 1],
  ["5", "B", "slightly", 1, 1], ["6", "B", "clearly", 1, 2], ["7", "B", "much", 1, 3],
];

/** The form of a task: { cards, bar, key?, command?, repaint?, restore?, focus?, close? }. */
export function formOf(task, desk) {
  return { comparison, ranking, rating, correction, demonstration, critique }[task.form](task, desk);
}

/** Cards whose text can be shown as written and back, without building the card again. */
function cardsOf(task, desk, names, extra = () => null) {
  const bodies = task.samples.map((sample) => el("div", { className: "body" }, desk.turn(sample)));
  const cards = task.samples.map((sample, at) =>
    el("article", { className: `card answer side-${at}`, attr: { "aria-label": `Answer ${names[at]}` } },
      el("h2", { className: "letter", textContent: names[at] }), bodies[at], extra(sample, at)));
  return { cards, repaint: () => bodies.forEach((body, at) => body.replaceChildren(desk.turn(task.samples[at]))) };
}

function comparison(task, desk) {
  const criterion = task.criteria[0] ?? "";
  const before = desk.previous;
  const choose = (cell) => {
    const [, side, word, at, strength] = cell;
    const answer = at === null
      ? { kind: "comparison", better: null, verdict: "tie", strength: 1, criterion }
      : { kind: "comparison", better: task.samples[at].id, verdict: "better", strength, criterion };
    desk.say(answer, at === null ? "Equally good" : `${side} ${word} better`);
  };
  const bad = () => desk.say({ kind: "comparison", better: null, verdict: "both_bad", strength: 1, criterion }, "Both bad");
  const chosen = ([, , , at, strength]) => before && (at === null ? before.verdict === "tie" : before.better === task.samples[at].id && before.strength === strength);
  const cells = CELLS.map((cell, at) => el("button", {
    type: "button", className: `cell cell-${cell[0]}${chosen(cell) ? " before" : ""}`, onclick: () => choose(cell),
    attr: { "aria-label": `${cell[3] === null ? "Equally good" : `${cell[1]} ${cell[2]} better`}, ${at + 1} of 7` },
  }, el("span", { className: "mark", textContent: cell[1] }), el("span", { className: "word", textContent: cell[3] === null ? "equally good" : cell[2] }), key(cell[0])));
  const both = el("button", { type: "button", className: `cell cell-0${before?.verdict === "both_bad" ? " before" : ""}`, onclick: bad, attr: { "aria-label": "Both are bad" } },
    el("span", { className: "mark", textContent: "✕" }), el("span", { className: "word", textContent: "both bad" }), key("0"));
  const bar = el("div", { className: "cells", role: "group", attr: { "aria-label": "Which answer is better?" } }, ...cells, both);
  return {
    ...cardsOf(task, desk, LETTERS), bar: [bar],
    key: (pressed) => {
      const cell = CELLS.find(([name]) => name === pressed);
      if (cell) choose(cell);
      else if (pressed === "0") bad();
      return Boolean(cell) || pressed === "0";
    },
  };
}

function ranking(task, desk) {
  let places = (desk.previous?.order ?? []).map((tied) => tied.map((id) => task.samples.findIndex((sample) => sample.id === id)));
  let tie = false;
  const tray = el("output", { className: "tray", attr: { "aria-live": "polite" } });
  const send = el("button", { type: "button", className: "main", onclick: () => finish() }, "Send ", key("Enter"));
  const badges = task.samples.map(() => el("span", { className: "place" }));
  const made = cardsOf(task, desk, "123456789", (sample, at) =>
    el("button", { type: "button", className: "take", onclick: () => take(at), attr: { "aria-label": `Place answer ${at + 1} next` } }, badges[at]));
  const taken = () => places.flat();
  const draw = () => {
    const words = places.map((tied) => tied.map((at) => at + 1).join(" = ")).join("  >  ");
    tray.textContent = (words || "Type the numbers, best first") + (tie ? "  =  …" : "");
    badges.forEach((badge, at) => {
      const place = places.findIndex((tied) => tied.includes(at));
      badge.textContent = place < 0 ? "not placed" : `place ${place + 1}`;
      badge.classList.toggle("placed", place >= 0);
    });
    send.disabled = taken().length < task.samples.length;
  };
  const changed = () => { draw(); desk.draft(places); };
  const take = (at) => {
    if (at < 0 || at >= task.samples.length || taken().includes(at)) return;
    if (tie && places.length) places.at(-1).push(at);
    else places.push([at]);
    tie = false;
    changed();
  };
  const back = () => {
    if (tie) tie = false;
    else if (places.length && places.at(-1).length > 1) places.at(-1).pop();
    else places.pop();
    changed();
  };
  const finish = () => {
    if (send.disabled) return;
    const order = places.map((tied) => tied.map((at) => task.samples[at].id));
    desk.say({ kind: "ranking", order, criterion: task.criteria[0] ?? "" }, `Ranked ${places.map((tied) => tied.map((at) => at + 1).join("=")).join(" ")}`);
  };
  draw();
  return {
    ...made,
    bar: [el("div", { className: "row" }, tray, el("span", { className: "gap" }),
      el("button", { type: "button", onclick: () => { tie = places.length > 0; draw(); } }, "Tie ", key("=")),
      el("button", { type: "button", onclick: back }, "Back ", key("⌫")), send)],
    restore: (kept) => { places = kept; draw(); },
    key: (pressed) => {
      if (/^[1-9]$/.test(pressed)) take(Number(pressed) - 1);
      else if (pressed === "=") { tie = places.length > 0; draw(); }
      else if (pressed === "Backspace") back();
      else if (pressed === "Enter") finish();
      else return false;
      return true;
    },
  };
}

function rating(task, desk) {
  const criteria = task.criteria.length ? task.criteria : [""];
  const places = criteria.flatMap((criterion) => task.samples.map((sample, at) => ({ criterion, id: sample.id, at })));
  let scores = places.map(({ criterion, id }) => desk.previous?.scores[id]?.[criterion] ?? null);
  let here = 0;
  const groups = places.map((place, at) => {
    const buttons = [1, 2, 3, 4, 5].map((score) => el("button", {
      type: "button", textContent: String(score), onclick: () => give(at, score),
      attr: { "aria-label": `Answer ${LETTERS[place.at]}, ${place.criterion || "overall"}: ${score} of 5` },
    }));
    return el("td", {}, el("div", { className: "scores" }, ...buttons));
  });
  const send = el("button", { type: "button", className: "main", onclick: () => finish() }, "Send ", key("Enter"));
  const draw = () => {
    groups.forEach((group, at) => {
      group.classList.toggle("here", at === here);
      [...group.querySelectorAll("button")].forEach((button, score) => button.setAttribute("aria-pressed", String(scores[at] === score + 1)));
    });
    send.disabled = scores.includes(null);
  };
  const give = (at, score) => {
    scores[at] = score;
    const open = scores.indexOf(null);
    here = open < 0 ? places.length : at + 1 < places.length && scores[at + 1] === null ? at + 1 : open;
    draw();
    desk.draft(scores);
  };
  const finish = () => {
    if (send.disabled) return;
    const found = {};
    places.forEach(({ criterion, id }, at) => { (found[id] ??= {})[criterion] = scores[at]; });
    desk.say({ kind: "rating", scores: found, scale: [1, 5] }, "Rated");
  };
  const head = el("tr", {}, el("th", { scope: "col" }, el("span", { className: "soft", textContent: "1 bad, 5 good" })), ...task.samples.map((_, at) => el("th", { scope: "col", textContent: LETTERS[at] })));
  const body = criteria.map((criterion, row) => el("tr", {}, el("th", { scope: "row", textContent: criterion || "overall" }),
    ...groups.slice(row * task.samples.length, (row + 1) * task.samples.length)));
  draw();
  return {
    ...cardsOf(task, desk, LETTERS),
    bar: [el("div", { className: "row" }, el("table", { className: "rates" }, el("thead", {}, head), el("tbody", {}, ...body)), el("span", { className: "gap" }), send)],
    restore: (kept) => { scores = kept; here = Math.max(0, scores.indexOf(null)); draw(); },
    key: (pressed) => {
      if (/^[1-5]$/.test(pressed) && here < places.length) give(here, Number(pressed));
      else if (pressed === "Backspace") {
        here = Math.max(0, here - 1);
        scores[here] = null;
        draw();
      } else if (pressed === "Enter") finish();
      else return false;
      return true;
    },
  };
}

