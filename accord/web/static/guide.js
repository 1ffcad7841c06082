// The guideline beside the question: which version is shown, and when a new one opens.

import { byId, el, sanitised } from "./dom.js";

let held = null;
let waiting = null;

/** Version that is shown; empty for none. */
export const version = () => (held ? String(held) : "");

export function guideline(open = byId("guideline").hidden) {
  byId("guideline").hidden = !open;
  byId("open-guideline").setAttribute("aria-expanded", String(open));
}

/** What holds now, as the server says. A new version waits for the next question: the text that is being read stays. */
export function rule(project, found, reading) {
  if (held !== null && found.guideline !== held && reading) waiting = { project, found };
  else settle(project, found);
}

/** Between two questions. */
export function renew() {
  if (waiting) settle(waiting.project, waiting.found);
  waiting = null;
}

function settle(project, found) {
  if (found.guideline === held) return;
  held = found.guideline;
  byId("version").textContent = held ? `version ${held}` : "";
  byId("rule").replaceChildren(found.html ? sanitised(found.html) : el("p", { textContent: "No guideline has been written for this queue." }));
  const name = `accord-guideline-${project}`;
  if (held && localStorage.getItem(name) !== String(held)) guideline(true);
  if (held) localStorage.setItem(name, held);
}
