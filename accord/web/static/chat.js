// Talking with a model: two answers stream side by side, a key chooses, and the chosen one goes on.

import { byId, el, raw, sanitised } from "./dom.js";
import { formOf } from "./forms.js";
import { meant, pressing } from "./keys.js";
import { Outbox, newId, openShelf } from "./outbox.js";
import { ask, write } from "./session.js";

const { person } = document.body.dataset;
const state = { claim: null, form: null, after: null, chosen: null, since: 0, busy: false };
let outbox;

async function send(act) {
  const path = act.kind === "answer" ? `/api/claims/${act.claim}/answer` : `/api/feedback/${act.id}/undo`;
  return (await write(act.kind === "answer" ? "PUT" : "POST", path, act.body)).status;
}

function tell(box) {
  const late = box.waiting.length && (box.failures || Date.now() - box.waiting[0].since > 2500);
  byId("unsent").hidden = !late;
  byId("unsent").textContent = late ? `${box.waiting.length} unsent` : "";
}

function speak(role, node) {
  byId("prompt").append(el("div", { className: `turn ${role}` }, el("span", { className: "who", textContent: role }), node));
  byId("prompt").scrollTop = byId("prompt").scrollHeight;
}

function say(word) {
  byId("aloud").textContent = word;
}

async function turn(said) {
  state.busy = true;
  byId("say").hidden = true;
  speak("user", el("div", { className: "prose raw", textContent: said, dir: "auto" }));
  const bodies = ["A", "B"].map(() => el("div", { className: "body" }, raw("")));
  byId("samples").replaceChildren(...["A", "B"].map((letter, at) => el("article", { className: `card answer side-${at}`, attr: { "aria-label": `Answer ${letter}`, "aria-busy": "true" } }, el("h2", { className: "letter", textContent: letter }), bodies[at])));
  try {
    const answer = await write("POST", "/api/chat", { said, after: state.after, chosen: state.chosen });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    await each(answer.body, (line) => {
      if (line.error) throw new Error(line.error);
      if (line.claim) judge(line.claim);
      else bodies[line.side].firstChild.textContent = line.text;
    });
    if (!state.claim) throw new Error("the answer broke off; say it again");
  } catch (error) {
    byId("prompt").lastChild.remove();
    byId("samples").replaceChildren(el("p", { className: "complaint", role: "alert", textContent: String(error.message || error) }));
    byId("said").value = said;
    mine();
  }
  state.busy = false;
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
function judge(claim) {
  Object.assign(state, { claim, since: performance.now() });
  state.form = formOf(claim, { say: choose, draft: () => {}, turn: (one) => sanitised(one.html), previous: null });
  byId("samples").replaceChildren(...state.form.cards);
  byId("form").replaceChildren(...state.form.bar);
  byId("samples").focus({ preventScroll: true });
  say("Two answers are here. Which is better?");
}

function choose(answer, words) {
  const { claim } = state;
  const id = newId();
  outbox.add({ kind: "answer", id, claim: claim.id, body: { id, answer, seconds: (performance.now() - state.since) / 1000, made: Date.now() / 1000 } });
  const on = answer.verdict === "both_bad" ? null : claim.samples.find((one) => one.id === answer.better) ?? claim.samples[0];
  if (on) {
    Object.assign(state, { after: claim.question, chosen: on.id });
    speak("assistant", sanitised(on.html));
  } else {
    byId("said").value = byId("prompt").lastChild.querySelector(".raw").textContent;
    byId("prompt").lastChild.remove();
  }
  byId("samples").replaceChildren();
  say(on ? `${words}. It goes on.` : "Both bad. Neither goes on; say it again, or in another way.");
  state.claim = null;
  mine();
}

function mine() {
  state.form = null;
  byId("form").replaceChildren();
  byId("say").hidden = false;
  byId("said").focus();
}

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const said = byId("said").value.trim();
  if (!said || state.busy) return;
  byId("said").value = "";
  turn(said);
});
byId("said").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("say").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest?.("textarea, input") || pressing(event)) return;
  if (state.claim && localStorage.getItem("accord-keys") !== "off" && state.form?.key?.(meant(event))) event.preventDefault();
});
byId("fresh").addEventListener("click", () => {
  if (state.busy) return;
  if (state.claim) ask("DELETE", `/api/claims/${state.claim.id}`, undefined, true).catch(() => {});
  Object.assign(state, { claim: null, after: null, chosen: null });
  byId("prompt").replaceChildren();
  byId("samples").replaceChildren();
  mine();
});

outbox = new Outbox(await openShelf(person), send, tell, person);
await outbox.load();
mine();
document.body.dataset.ready = "yes";
