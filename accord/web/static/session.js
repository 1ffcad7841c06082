// The word that our writes carry, and how it is renewed when somebody has signed in again beside this page.

import { parsed } from "./dom.js";

const { person } = document.body.dataset;
let word = document.body.dataset.csrf;

/** A request that carries the word of the session. */
export function ask(method, path, body, keepalive = false) {
  const headers = { "X-CSRF-Token": word, ...(body ? { "Content-Type": "application/json" } : {}) };
  return fetch(path, { method, headers, body: body && JSON.stringify(body), credentials: "same-origin", keepalive });
}

/** The same for a write that was refused only because the session is a new one: once more with the new word. */
export async function write(method, path, body) {
  const reply = await ask(method, path, body);
  return reply.status === 403 && (await renew()) ? ask(method, path, body) : reply;
}

/** An act of the outbox on its way: the status, and why where the server did not take it. Throws where none was reached. */
export async function deliver(act) {
  const path = act.kind === "answer" ? `/api/claims/${act.claim}/answer` : `/api/feedback/${act.id}/undo`;
  const reply = await write(act.kind === "answer" ? "PUT" : "POST", path, act.body);
  const said = reply.ok ? "" : (await reply.json().catch(() => ({}))).detail ?? "";
  return { status: reply.status, reason: Array.isArray(said) ? said.map((one) => one.what).join("; ") : String(said) };
}

/** Whether this person is in by another session than before: then its word is ours from now on. */
async function renew() {
  const reply = await fetch("/me", { credentials: "same-origin" });
  const head = reply.ok && !reply.redirected ? parsed(await reply.text()).head : null;
  const said = (name) => head?.querySelector(`meta[name=${name}]`)?.content;
  if (said("person") !== person || said("csrf") === word) return false;
  word = said("csrf");
  return true;
}
