// Reasons, comments and the list of keys, as native dialogs: the keyboard stays inside, Escape goes back.

import { byId, el, key } from "./dom.js";

const REASONS = {
  skip: ["I know too little about this", "Not in a language that I read", "Too long to judge well", "I would rather not read this"],
  flag: ["Harmful or illegal", "Names or private data of a person", "Broken or empty", "The question makes no sense"],
};
const ALWAYS = [["z", "undo, as often as you like"], ["s", "skip, with a reason"], ["f", "flag, with a reason"], ["c", "comment, kept with the answer"], ["m", "text as it was written"], ["p", "the whole prompt, and back"], ["d", "where two answers differ"], ["space , . [ ]", "clips: play, step, speed"], ["g", "guideline"], ["?", "this list"]];
const OF_FORM = {
  comparison: [["1", "A is much better"], ["2", "A is clearly better"], ["3", "A is slightly better"], ["4", "equally good"], ["5", "B is slightly better"], ["6", "B is clearly better"], ["7", "B is much better"], ["0", "both are bad"]],
  ranking: [["1–9", "next place, best first"], ["=", "tied with the one before"], ["⌫", "take the last one back"], ["Enter", "send"]],
  rating: [["1–5", "score, row by row (as far as the scale goes)"], ["⌫", "one back"], ["Enter", "send"]],
  flags: [["y", "yes"], ["n", "no"], ["⌫", "one back"], ["Enter", "send"]],
  combined: [["1–7", "score, row by row, then y or n"], ["Enter", "go on to the ranking"], ["1–9", "next place, best first"], ["=", "tied with the one before"], ["⌫", "one back"], ["Enter", "send"]],
  correction: [["Ctrl Enter", "send"]],
  demonstration: [["Ctrl Enter", "send"]],
  critique: [["1–4", "mark the selected text"], ["Ctrl Enter", "send"]],
};

export function wireDialogs() {
  byId("reasons-close").addEventListener("click", () => byId("reasons").close());
  byId("keys-on").checked = localStorage.getItem("accord-keys") !== "off";
  byId("keys-on").addEventListener("change", (event) => localStorage.setItem("accord-keys", event.target.checked ? "on" : "off"));
  byId("note-text").addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("note").close();
  });
}

/** A reason, or null when the person went back. */
export function pick(kind) {
  const dialog = byId("reasons");
  const text = byId("reason-text");
  byId("reasons-title").textContent = kind === "flag" ? "What is wrong with it?" : "Why skip it?";
  text.value = "";
  return new Promise((resolve) => {
    let why = null;
    const choose = (reason) => { why = reason; dialog.close(); };
    byId("reason-list").replaceChildren(...REASONS[kind].map((reason, at) =>
      el("button", { type: "button", onclick: () => choose(reason) }, key(String(at + 1)), ` ${reason}`)));
    const keys = (event) => {
      const reason = REASONS[kind][Number(event.key) - 1];
      event.stopPropagation(); // the page behind must not take the key for an answer
      if (reason && event.target !== text) { event.preventDefault(); choose(reason); }
    };
    const sent = (event) => { event.preventDefault(); choose(text.value.trim() || "no reason given"); };
    dialog.addEventListener("keydown", keys);
    dialog.querySelector("form").addEventListener("submit", sent);
    dialog.addEventListener("close", () => {
      dialog.removeEventListener("keydown", keys);
      dialog.querySelector("form").removeEventListener("submit", sent);
      resolve(why);
    }, { once: true });
    dialog.showModal();
    byId("reason-list").firstChild.focus();
  });
}

/** The comment as it stands when the dialog closes; `keep` hears of each change. */
export function comment(before, keep) {
  const dialog = byId("note");
  byId("note-text").value = before;
  byId("note-text").oninput = () => keep(byId("note-text").value);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(byId("note-text").value), { once: true });
    dialog.showModal();
    byId("note-text").focus();
  });
}

export function help(form) {
  const rows = [...(OF_FORM[form] ?? []), ...ALWAYS];
  byId("help-list").replaceChildren(el("dl", { className: "keys" }, ...rows.flatMap(([name, what]) => [el("dt", {}, key(name)), el("dd", { textContent: what })])));
  byId("help").showModal();
}
