// Talking with a model: two answers stream side by side, a key chooses, and the chosen one goes on.

import { byId, el, raw, sanitised } from "./dom.js";
import { comment, help, pick, wireDialogs } from "./dialogs.js";
import { formOf } from "./forms.js";
import { guideline, rule, version } from "./guide.js";
import { meant, pressing } from "./keys.js";
import { Outbox, newId, openShelf } from "./outbox.js";
import { about, sign } from "./refused.js";
import { ask, deliver, write } from "./session.js";

const { person } = document.body.dataset;
const CANCEL = 700;
const KEPT = "talk"; // the conversation, as a draft: it outlives a closed tab

/** turns: { said, claim, on, id, answer, note }, of which the last may wait for its choice (no `id`). */
const state = { turns: [], form: null, since: 0, busy: false, note: "", raw: false };
let outbox;
let shelf;

const open = () => state.turns.find((one) => !one.id);
const gone = () => state.turns.filter((one) => one.on);

function tell(box) {
  const late = box.waiting.length && (box.failures || Date.now() - box.waiting[0].since > 2500);
  sign(box, late ? [`${box.waiting.length} unsent`, box.why, box.signIn ? "sign in again in another tab" : ""].filter(Boolean) : []);
}

function say(word) {
  byId("aloud").textContent = byId("last").textContent = word;
}

// --- the conversation ------------------------------------------------------------------------------------------

const look = (one) => (state.raw ? raw(one.text) : sanitised(one.html));
const speech = (role, node) => el("div", { className: `turn ${role}` }, el("span", { className: "who", textContent: role }), node);
const words = (said) => el("div", { className: "prose said", textContent: said, dir: "auto" });

function paint(said) {
  const turns = gone().flatMap((one) => [speech("user", words(one.said)), speech("assistant", look(one.on))]);
  byId("prompt").replaceChildren(...turns, ...(said ? [speech("user", words(said))] : []));
  byId("prompt").scrollTop = byId("prompt").scrollHeight;
  byId("undo").disabled = state.busy || !state.turns.length;
  for (const id of ["comment", "skip", "flag"]) byId(id).disabled = !state.form;
}

function keep() {
  shelf.put("drafts", { turns: state.turns, said: byId("said").value }, KEPT).catch(() => {});
}

async function turn(said) {
  state.busy = true;
  byId("say").hidden = true;
  paint(said);
  const bodies = ["A", "B"].map(() => el("div", { className: "body" }));
  byId("samples").replaceChildren(...["A", "B"].map((letter, at) => el("article", { className: `card answer side-${at}`, attr: { "aria-label": `Answer ${letter}`, "aria-busy": "true" } }, el("h2", { className: "letter", textContent: letter }), bodies[at])));
  try {
    const before = gone().at(-1);
    const answer = await write("POST", "/api/chat", { said, after: before?.claim.question ?? null, chosen: before?.on.id ?? null });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    let claim = null;
    await each(answer.body, (line) => {
      if (line.error) throw new Error(line.error);
      if (line.claim) claim = line.claim;
      else bodies[line.side].replaceChildren(sanitised(line.html));
    });
    if (!claim) throw new Error("the answer broke off; say it again");
    state.turns.push({ said, claim });
    state.busy = false;
    judge();
  } catch (error) {
    state.busy = false;
    byId("said").value = said;
    mine();
    byId("samples").replaceChildren(el("p", { className: "complaint", role: "alert", textContent: String(error.message || error) }));
  }
}

/** Each line of a stream, as JSON. */
async function each(stream, hear) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) hear(JSON.parse(line));
  }
}

/** Both answers are there: they are judged like any other pair. */
function judge(previous) {
  const one = open();
  state.note = one.note = previous?.note ?? one.note ?? "";
  state.since = performance.now();
  state.form = formOf(one.claim, { say: choose, draft: () => {}, turn: look, previous: previous?.answer });
  byId("say").hidden = true;
  byId("samples").replaceChildren(...state.form.cards);
  byId("form").replaceChildren(...state.form.bar);
  byId("comment").classList.toggle("on", Boolean(state.note));
  paint(one.said);
  byId("samples").focus({ preventScroll: true });
  say(previous ? "Taken back. Which is better?" : "Two answers are here. Which is better?");
  keep();
}

const asked = (one, text) => about({ project: "chat", question: one.claim.question, prompt: [{ role: "user", text: one.said }] }, text);

function choose(answer, text, note = state.note) {
  const one = open();
  const seconds = Math.round(performance.now() - state.since) / 1000;
  const on = !answer || answer.verdict === "both_bad" ? null : one.claim.samples.find((sample) => sample.id === answer.better) ?? one.claim.samples[0];
  Object.assign(one, { id: newId(), answer, note: state.note, on });
  outbox.add({ kind: "answer", id: one.id, claim: one.claim.id, body: { id: one.id, answer, seconds, note, made: Date.now() / 1000, guideline: version() }, about: asked(one, text) }, CANCEL);
  if (!on) byId("said").value = one.said;
  mine();
  say(on ? `${text}. It goes on.` : `${text}. Neither goes on; say it again, or in another way.`);
}

function mine() {
  state.form = null;
  byId("form").replaceChildren();
  byId("samples").replaceChildren();
  byId("say").hidden = false;
  paint();
  byId("said").focus();
  keep();
}

/** One step back, as far as the conversation goes: a choice, or what was said and not yet judged. */
function undo() {
  if (state.busy || !state.turns.length) return;
  const one = open();
  if (one) {
    state.turns.pop();
    ask("DELETE", `/api/claims/${one.claim.id}`, undefined, true).catch(() => {});
    byId("said").value = one.said;
    mine();
    return say("Taken back. Say it in another way.");
  }
  const last = state.turns.at(-1);
  if (!outbox.recall(last.id)) outbox.add({ kind: "undo", id: last.id, about: asked(last, "") });
  const before = { answer: last.answer, note: last.note };
  for (const name of ["id", "answer", "note", "on"]) delete last[name];
  judge(before);
}

async function pass(kind) {
  if (!state.form) return;
  const why = await pick(kind);
  if (why !== null && state.form) choose(null, kind === "flag" ? "Flagged" : "Skipped", `${kind}: ${why}${state.note ? ` (${state.note})` : ""}`);
}

async function remark() {
  if (!state.form) return;
  const one = open();
  const note = (text) => { one.note = text; clearTimeout(keep.timer); keep.timer = setTimeout(keep, 200); };
  state.note = await comment(state.note, note);
  byId("comment").classList.toggle("on", Boolean(state.note));
}

function source() {
  state.raw = !state.raw;
  byId("open-raw").setAttribute("aria-pressed", String(state.raw));
  paint(open()?.said);
  state.form?.repaint?.();
}

function fresh() {
  if (state.busy) return;
  const one = open();
  if (one) ask("DELETE", `/api/claims/${one.claim.id}`, undefined, true).catch(() => {});
  state.turns = [];
  mine();
}

// --- keys and buttons ------------------------------------------------------------------------------------------

const ACTS = { z: undo, g: () => guideline(), m: source, c: remark, s: () => pass("skip"), f: () => pass("flag"), "?": () => help("comparison") };
const BUTTONS = { undo, fresh, comment: remark, skip: ACTS.s, flag: ACTS.f, "open-raw": source, "open-guideline": ACTS.g, "close-guideline": () => guideline(false), "open-help": ACTS["?"] };
for (const [id, act] of Object.entries(BUTTONS)) byId(id).addEventListener("click", () => act());

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = byId("said").value.trim();
  if (!said || state.busy) return;
  byId("said").value = "";
  turn(said);
});
byId("said").addEventListener("input", () => { clearTimeout(keep.timer); keep.timer = setTimeout(keep, 200); });
byId("said").addEventListener("keydown", (event) => {
  if (event.key === "z" && event.ctrlKey && !event.target.value) { event.preventDefault(); return undo(); }
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("say").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest?.("textarea, input, dialog[open]") || pressing(event)) return;
  if (localStorage.getItem("accord-keys") === "off") return;
  const pressed = meant(event);
  if (ACTS[pressed]) {
    event.preventDefault();
    ACTS[pressed]();
  } else if (state.form?.key?.(pressed)) event.preventDefault();
});

async function guide() {
  const answer = await ask("GET", "/api/projects/chat/desk").catch(() => null);
  if (answer?.ok) rule("chat", await answer.json(), Boolean(state.form));
}

wireDialogs();
shelf = await openShelf(person);
outbox = new Outbox(shelf, deliver, tell, person);
await outbox.load();
const before = await shelf.get("drafts", KEPT).catch(() => undefined);
state.turns = before?.turns ?? [];
if (open()) judge();
else {
  byId("said").value = before?.said ?? "";
  mine();
}
await guide();
addEventListener("pagehide", () => outbox.leave((act) => ask("PUT", `/api/claims/${act.claim}/answer`, act.body, true).catch(() => {})));
setInterval(() => tell(outbox), 1000);
document.body.dataset.ready = "yes";
