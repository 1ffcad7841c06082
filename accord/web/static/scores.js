// Forms that look at each answer by itself: scores by criterion, and yes or no.

import { LETTERS, cardsOf } from "./cards.js";
import { el, key } from "./dom.js";

/** A table of rows by answers, filled row by row; `options` are { key, text, value, word }. */
function grid(task, rows, options, start, head, changed, names) {
  const places = rows.flatMap((row) => task.samples.map((sample, at) => ({ row, id: sample.id, at })));
  let values = places.map(({ row, id }) => start?.[id]?.[row] ?? null);
  let here = Math.max(0, values.indexOf(null));
  const groups = places.map((place, at) => {
    const buttons = options.map((option) => el("button", {
      type: "button", textContent: option.text, onclick: () => give(at, option.value),
      attr: { "aria-label": `Answer ${names[place.at]}, ${place.row || "overall"}: ${option.word}` },
    }));
    return el("td", { attr: { "data-name": names[place.at] } }, el("div", { className: "scores" }, ...buttons));
  });
  const draw = () => groups.forEach((group, at) => {
    group.classList.toggle("here", at === here);
    [...group.querySelectorAll("button")].forEach((button, n) => button.setAttribute("aria-pressed", String(values[at] === options[n].value)));
  });
  const give = (at, value) => {
    values[at] = value;
    const open = values.indexOf(null);
    here = open < 0 ? places.length : at + 1 < places.length && values[at + 1] === null ? at + 1 : open;
    draw();
    groups[Math.min(here, places.length - 1)].scrollIntoView({ block: "nearest", inline: "nearest" });
    changed();
  };
  const top = el("tr", {}, el("th", { scope: "col" }, el("span", { className: "soft", textContent: head })), ...task.samples.map((_, at) => el("th", { scope: "col", textContent: names[at] })));
  const body = rows.map((row, n) => el("tr", {}, el("th", { scope: "row", textContent: row || "overall" }), ...groups.slice(n * task.samples.length, (n + 1) * task.samples.length)));
  draw();
  return {
    node: el("div", { className: "grid" }, el("table", { className: task.samples.length > 2 ? "rates many" : "rates" }, el("thead", {}, top), el("tbody", {}, ...body))),
    values: () => values,
    complete: () => !values.includes(null),
    restore: (kept) => { values = kept; here = values.includes(null) ? values.indexOf(null) : places.length; draw(); },
    found: () => {
      const found = {};
      places.forEach(({ row, id }, at) => { (found[id] ??= {})[row] = values[at]; });
      return found;
    },
    key: (pressed) => {
      const option = options.find((one) => one.key === pressed);
      if (option && here < places.length) give(here, option.value);
      else if (pressed === "Backspace") {
        here = Math.max(0, here - 1);
        values[here] = null;
        draw();
        changed();
      } else return Boolean(option);
      return true;
    },
  };
}

/** Scores on the scale of the question. */
export function scoring(task, before, changed, names = LETTERS) {
  const [low, high] = task.scale;
  const options = Array.from({ length: high - low + 1 }, (_, n) => ({ key: String(low + n), text: String(low + n), value: low + n, word: `${low + n} of ${high}` }));
  const made = grid(task, task.criteria.length ? task.criteria : [""], options, before, `${low} bad, ${high} good`, changed, names);
  return { ...made, answer: () => ({ kind: "rating", scores: made.found(), scale: [low, high] }) };
}

/** Yes or no to each flag of the question. */
export function asking(task, before, changed, names = LETTERS) {
  const options = [{ key: "y", text: "yes", value: true, word: "yes" }, { key: "n", text: "no", value: false, word: "no" }];
  const made = grid(task, task.flags, options, before, "y yes, n no", changed, names);
  return { ...made, answer: () => made.found() };
}

function only(task, desk, make, said, words) {
  const table = make(() => { check(); desk.draft(table.values()); });
  const send = el("button", { type: "button", className: "main", onclick: () => finish() }, "Send ", key("Enter"));
  const check = () => { send.disabled = !table.complete(); };
  const finish = () => { if (table.complete()) desk.say(said(table), words); };
  check();
  const { cards, repaint } = cardsOf(task, desk, LETTERS);
  return {
    cards, repaint,
    bar: [el("div", { className: "row" }, table.node, el("span", { className: "gap" }), send)],
    restore: (kept) => { table.restore(kept); check(); },
    key: (pressed) => (pressed === "Enter" ? (finish(), true) : table.key(pressed)),
  };
}

export const rating = (task, desk) => only(task, desk, (changed) => scoring(task, desk.previous?.scores, changed), (table) => table.answer(), "Rated");
export const flags = (task, desk) => only(task, desk, (changed) => asking(task, desk.previous?.flags, changed), (table) => ({ kind: "flags", flags: table.answer() }), "Flags set");
