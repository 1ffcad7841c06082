// Keeps the figures fresh while somebody looks at them.

import { byId, parsed } from "./dom.js";

for (const node of document.querySelectorAll("[data-link]")) node.textContent = location.origin + node.dataset.link;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/manage", { credentials: "same-origin" });
    const fresh = answer.ok && parsed(await answer.text()).getElementById("figures");
    if (fresh && !byId("figures").contains(document.activeElement)) byId("figures").replaceWith(document.adoptNode(fresh));
  } catch {
    // The server is away; the next round may find it.
  }
}

// --- forms that are sent by REST -------------------------------------------------------------------------------

function fieldsOf(form) {
  if (form.dataset.answer) return { answer: JSON.parse(form.dataset.answer) };
  const found = {};
  for (const field of form.elements) {
    if (!field.name) continue;
    found[field.name] = field.type === "checkbox" ? field.checked : field.type === "number" ? Number(field.value) : field.value;
  }
  return found;
}

function complain(detail) {
  byId("complaint").textContent = typeof detail === "string" ? detail : (detail ?? []).map((one) => `${one.where.at(-1)}: ${one.what}`).join("; ") || "It was not taken.";
  byId("complaint").hidden = false;
  byId("complaint").scrollIntoView({ block: "center" });
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-path]");
  if (!form) return;
  event.preventDefault();
  const { method, path } = form.dataset;
  const headers = { "X-CSRF-Token": document.querySelector("meta[name=csrf]").content, "Content-Type": "application/json" };
  try {
    const answer = await fetch(path, { method, headers, body: method === "DELETE" ? undefined : JSON.stringify(fieldsOf(form)), credentials: "same-origin" });
    const said = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) return complain(said.detail);
    if (!said?.secret) return location.reload();
    byId("shown-once").hidden = false;
    byId("shown-once").querySelector("code").textContent = said.secret;
    byId("shown-once").scrollIntoView({ block: "center" });
  } catch {
    complain("The server cannot be reached.");
  }
});

if (byId("figures")) setInterval(refresh, 10_000);
