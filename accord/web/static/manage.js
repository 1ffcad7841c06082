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

setInterval(refresh, 10_000);
