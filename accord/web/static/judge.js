// The judging screen: tasks are leased ahead, a key answers and goes on, answers travel in the background.

import { byId, el, raw, sanitised } from "./dom.js";
import { clipKey } from "./clips.js";
import { help, pick, comment, wireDialogs } from "./dialogs.js";
import { formOf } from "./forms.js";
import { guideline, renew, rule, version } from "./guide.js";
import { meant, pressing } from "./keys.js";
import { Outbox, newId, openShelf } from "./outbox.js";
import { about, sign } from "./refused.js";
import { ask, deliver, write } from "./session.js";

const { project, person, ahead, least } = document.body.dataset;
const AHEAD = Number(ahead);
const CANCEL = 700;
const KEPT = 50;

const state = { tasks: [], form: null, since: 0, done: 0, open: 0, history: [], answered: new Set(), note: "", raw: false, dry: false, owed: false, why: "", marked: false };
let shelf;
let outbox;
let asking = null;

const current = () => state.tasks[0];
const beside = new BroadcastChannel(`accord-${person}`); // what is answered here is asked no more in another tab

// --- the server ------------------------------------------------------------------------------------------------

/** Lease ahead; what is held already is held longer. */
function refill() {
  asking ??= fill().finally(() => { asking = null; });
  return asking;
}

async function fill() {
  try {
    const count = Math.min(20, AHEAD + 1 + outbox.waiting.length);
    const answer = await write("POST", "/api/claims", { project, count, resume: true });
    if (answer.status === 401 || answer.status === 403) return tell(outbox, true);
    if (!answer.ok) return;
    const fresh = (await answer.json()).claims.filter((task) => !state.answered.has(task.id));
    const known = new Map(state.tasks.map((task) => [task.id, task]));
    for (const task of fresh) {
      if (known.has(task.id)) known.get(task.id).until = task.until;
      else {
        state.tasks.push(task);
        state.open -= 1;
      }
    }
    // Fresh leases wait behind the answered ones that the server has not seen yet.
    state.owed = fresh.length === 0 && outbox.waiting.length > 0;
    state.dry = fresh.length === 0 && !state.owed;
  } catch {
    // Offline: what was leased ahead is still here.
  }
  if (!state.form && current()) show();
  if (!current()) nothing();
}

async function desk() {
  try {
    const answer = await ask("GET", `/api/projects/${encodeURIComponent(project)}/desk`);
    if (!answer.ok) return;
    const found = await answer.json();
    const said = outbox.waiting.reduce((sum, one) => sum + (one.kind === "answer" ? 1 : -1), 0);
    Object.assign(state, { done: found.done + said, open: found.open });
    state.why = found.why;
    byId("open-lesson").hidden = !found.lesson;
    if (found.lesson && !localStorage.getItem(`accord-lesson-${person}`)) {
      localStorage.setItem(`accord-lesson-${person}`, "seen");
      return location.assign(found.lesson);
    }
    if (!current()) nothing();
    counts();
    rule(project, found, current());
  } catch {
    // Offline: the counts stay as they are.
  }
}

// --- showing ---------------------------------------------------------------------------------------------------

const turn = (one) => (state.raw ? raw(one.text) : sanitised(one.html));

function show(previous) {
  const task = current();
  if (!task) return nothing();
  state.form?.close?.();
  renew();
  state.note = previous?.note ?? "";
  byId("quiet").hidden = true;
  byId("bar").hidden = false;
  paint();
  state.marked = false;
  byId("prompt").classList.remove("whole");
  byId("open-diff").setAttribute("aria-pressed", "false");
  byId("open-diff").hidden = task.samples.length !== 2 || Boolean(task.samples[0].blob);
  state.form = formOf(task, { say, draft: (value) => keepDraft(task, value), turn: (one) => turn(one), previous: previous?.answer });
  byId("samples").replaceChildren(...state.form.cards);
  byId("samples").className = `samples ${task.form} of-${task.samples.length}`;
  byId("form").replaceChildren(...state.form.bar);
  byId("comment").classList.toggle("on", Boolean(state.note));
  state.since = performance.now();
  byId("read").scrollTop = 0;
  byId("samples").scrollTop = 0;
  const last = [...byId("prompt").querySelectorAll(".turn")].at(-1); // the last turn from its beginning
  byId("prompt").scrollTop = last ? last.offsetTop - byId("prompt").firstChild.offsetTop : 0;
  if (!state.form.focus?.()) byId("samples").focus({ preventScroll: true });
  shelf.get("drafts", task.question).then((kept) => {
    if (kept !== undefined && current() === task && !previous) state.form.restore?.(kept);
  }).catch(() => {});
  shelf.get("drafts", noted(task)).then((kept) => {
    if (kept === undefined || current() !== task || previous || state.note) return;
    state.note = kept;
    byId("comment").classList.add("on");
  }).catch(() => {});
}

function paint() {
  const task = current();
  const turns = task.prompt.map((one) => el("div", { className: `turn ${one.role}` },
    task.prompt.length > 1 || one.role !== "user" ? el("span", { className: "who", textContent: one.role }) : null, turn(one)));
  const what = task.criteria.length && !["rating", "combined"].includes(task.form) ? [el("p", { className: "criterion" }, "Judge by: ", el("strong", { textContent: task.criteria.join(", ") }))] : [];
  byId("prompt").replaceChildren(...turns, ...what);
}

function nothing() {
  state.form = null;
  byId("prompt").replaceChildren();
  byId("samples").replaceChildren();
  byId("form").replaceChildren();
  byId("quiet").hidden = false;
  byId("quiet").textContent = state.why ? `No questions for you here: ${state.why}.` : state.dry ? "Nothing is left for you here. New questions will appear by themselves." : "One moment.";
}

function counts() {
  const left = state.open >= 1000 ? "over 1000" : Math.max(0, state.open) + state.tasks.length;
  byId("counts").textContent = `${state.done} done · ${left} left`;
}

/** After so many answers there is a page on what they taught; the server knows when, and is asked once an answer. */
function learned() {
  if (!Number(least) || outbox.waiting.length || state.done < Number(least) || learned.at === state.done) return;
  learned.at = state.done;
  desk();
}

/** The pill: what has not arrived yet, and why. */
function tell(box, out = false) {
  const oldest = box.waiting[0];
  const late = oldest && Date.now() - oldest.since > 2500;
  const words = [];
  if (box.waiting.length && (late || box.failures)) words.push(`${box.waiting.length} unsent`);
  if (box.why) words.push(box.why);
  if (box.signIn || out) words.push("sign in again in another tab");
  if (!shelf.lasting) words.push("this browser keeps nothing: do not close the tab while something is unsent");
  sign(box, words);
  byId("undo").disabled = !state.history.length;
}

// --- answering -------------------------------------------------------------------------------------------------

/** What a form says: the answer goes to the outbox and the next task is on the screen before anything is sent. */
function say(answer, words, note = state.note) {
  const task = current();
  if (!task) return;
  const seconds = (performance.now() - state.since) / 1000;
  const id = newId();
  const body = { id, answer, seconds: Math.round(seconds * 1000) / 1000, note, made: Date.now() / 1000, guideline: version() };
  state.tasks.shift();
  state.answered.add(task.id);
  beside.postMessage(task.id);
  state.history.push({ id, task, answer, note: state.note });
  state.done += 1;
  state.form?.close?.();
  state.form = null;
  show();
  counts();
  byId("last").textContent = words;
  byId("aloud").textContent = `${words}. ${current() ? "Next question." : "Nothing is left."}`;
  outbox.add({ kind: "answer", id, claim: task.id, body, about: about(task, words) }, CANCEL);
  shelf.put("history", state.history.at(-1)).catch(() => {});
  clearTimeout(keepNote.timer);
  for (const name of [task.question, noted(task)]) shelf.drop("drafts", name).catch(() => {});
  shelf.drop("returned", task.id).catch(() => {});
  while (state.history.length > KEPT) shelf.drop("history", state.history.shift().id).catch(() => {});
  if (state.tasks.length < AHEAD) refill();
}

/** Back to what was answered last, whether it was sent or not. */
function undo() {
  const back = state.history.pop();
  if (!back) return;
  if (!outbox.recall(back.id)) outbox.add({ kind: "undo", id: back.id, about: about(back.task, "") });
  shelf.drop("history", back.id).catch(() => {});
  shelf.put("returned", back.task).catch(() => {});
  state.tasks.unshift(back.task);
  state.done -= 1;
  show(back);
  counts();
  byId("last").textContent = "Taken back";
  byId("aloud").textContent = "Taken back. The question is here again.";
  tell(outbox);
}

function keepDraft(task, value) {
  clearTimeout(keepDraft.timer);
  keepDraft.timer = setTimeout(() => shelf.put("drafts", value, task.question).catch(() => {}), 150);
}

async function pass(kind) {
  const task = current();
  if (!task) return;
  const why = await pick(kind);
  if (why !== null && current() === task) say(null, kind === "flag" ? "Flagged" : "Skipped", `${kind}: ${why}${state.note ? ` (${state.note})` : ""}`);
}

// --- keys and buttons ------------------------------------------------------------------------------------------

function source() {
  state.raw = !state.raw;
  byId("open-raw").setAttribute("aria-pressed", String(state.raw));
  if (!current()) return;
  paint();
  state.form.repaint?.();
}

/** Marks where two answers differ; the server knows how, and says no when they are too unlike. */
async function differ() {
  const task = current();
  if (!task || task.samples.length !== 2 || task.samples[0].blob) return;
  state.marked = !state.marked;
  byId("open-diff").setAttribute("aria-pressed", String(state.marked));
  if (!state.marked) return void state.form?.repaint?.();
  try {
    const answer = await ask("GET", `/api/claims/${task.id}/diff`);
    const found = answer.ok ? await answer.json() : { html: [] };
    if (current() !== task || !state.marked) return;
    if (found.html.length) state.form.bodies.forEach((body, at) => body.replaceChildren(sanitised(found.html[at], "raw")));
    byId("aloud").textContent = byId("last").textContent = found.html.length ? "Differences are marked" : "Too unlike to mark differences";
  } catch {
    byId("last").textContent = "Differences need the server";
  }
}

const noted = (task) => `note ${task.question}`; // where a comment not yet sent lies among the drafts

function keepNote(task, text) {
  clearTimeout(keepNote.timer);
  keepNote.timer = setTimeout(() => (text ? shelf.put("drafts", text, noted(task)) : shelf.drop("drafts", noted(task))).catch(() => {}), 150);
}

async function remark() {
  const task = current();
  state.note = await comment(state.note, (text) => task && keepNote(task, text));
  byId("comment").classList.toggle("on", Boolean(state.note));
}

/** The prompt as high as it needs to be, and back. */
const whole = () => byId("prompt").classList.toggle("whole");

const ACTS = { z: undo, p: whole, g: () => guideline(), m: source, d: differ, c: remark, s: () => pass("skip"), f: () => pass("flag"), "?": () => help(current()?.form) };

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return void (current() && state.form?.command?.(event));
  const typing = event.target.closest?.("textarea, input, select, dialog[open]");
  if (typing || pressing(event) || localStorage.getItem("accord-keys") === "off") return;
  const pressed = meant(event);
  const act = ACTS[pressed];
  if (event.repeat && (act || /^[0-9]$/.test(pressed))) return event.preventDefault();
  if (act) {
    event.preventDefault();
    act();
  } else if (current() && (clipKey(pressed) || state.form?.key?.(pressed))) event.preventDefault();
});

const BUTTONS = { undo, "open-diff": differ, skip: ACTS.s, flag: ACTS.f, comment: remark, "open-raw": source, "open-guideline": () => guideline(), "close-guideline": () => guideline(false), "open-help": ACTS["?"] };
for (const [id, act] of Object.entries(BUTTONS)) byId(id).addEventListener("click", () => act());

byId("leave").addEventListener("click", () => {
  for (const task of state.tasks) ask("DELETE", `/api/claims/${task.id}`, undefined, true).catch(() => {});
});

beside.addEventListener("message", ({ data }) => {
  const read = current()?.id === data;
  state.answered.add(data);
  state.tasks = state.tasks.filter((task) => task.id !== data);
  if (!read) return;
  show();
  counts();
  byId("last").textContent = "Answered in another tab";
  if (state.tasks.length < AHEAD) refill();
});

// --- begin -----------------------------------------------------------------------------------------------------

async function begin() {
  wireDialogs();
  shelf = await openShelf(person);
  outbox = new Outbox(shelf, deliver, tell, person);
  await outbox.load();
  state.history = (await shelf.all("history")).filter((one) => one.task.project === project).sort((a, b) => (a.id < b.id ? -1 : 1));
  for (const one of outbox.waiting) if (one.kind === "answer") state.answered.add(one.claim);
  state.tasks = (await shelf.all("returned")).filter((task) => task.project === project && !state.answered.has(task.id));
  if (current()) show();
  tell(outbox);
  await refill();
  await desk();
  counts();
  addEventListener("pagehide", () => outbox.leave((act) => ask("PUT", `/api/claims/${act.claim}/answer`, act.body, true).catch(() => {})));
  addEventListener("online", () => { outbox.failures = 0; outbox.pump(); refill(); });
  setInterval(() => { tell(outbox); learned(); if (state.owed && !document.hidden) refill(); }, 1000);
  setInterval(() => { if (!document.hidden && !current()) refill().then(desk); }, 10_000);
  setInterval(() => { if (!document.hidden) refill(); }, 240_000);
  setInterval(() => { if (!document.hidden && current()) desk(); }, Number(document.body.dataset.look) * 1000);
  document.body.dataset.ready = "yes";
}

begin();
