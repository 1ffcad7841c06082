// What the server refused for good: shown with question and reason, to be copied, and cleared when the person says so.

import { byId, el, raw } from "./dom.js";

/** The question and what was said of it in words, kept with an act so that a refusal can be read without the server. */
export function about(task, words) {
  const asked = task.prompt.map((one) => `${one.role}: ${one.text}`).join("\n\n");
  return { project: task.project, question: task.question, prompt: asked.slice(0, 4000), words };
}

/** What a person wrote in an answer, in so far as it is text. */
function written(answer) {
  const texts = [answer?.content?.messages?.at(-1)?.content, answer?.text];
  return texts.filter(Boolean).join("\n\n");
}

function lines(one) {
  const { project = "", question = "", prompt = "", words = "" } = one.about ?? {};
  const act = one.kind === "undo" ? "Taking an answer back" : words || "An answer";
  return {
    head: `${act}${project ? ` · ${project}` : ""}`,
    why: `Not taken (${one.status})${one.reason ? `: ${one.reason}` : ""}`,
    parts: [["Question", prompt], ["What you wrote", written(one.body?.answer)], ["Comment", one.body?.note ?? ""]].filter(([, text]) => text),
    exact: one.body ? JSON.stringify({ question, ...one.body }) : "",
  };
}

/** All of it as text, with the answer as it was sent. */
function plain(refused) {
  return refused.map(lines).map((one) => [one.head, one.why, ...one.parts.map(([name, text]) => `${name}:\n${text}`), one.exact].filter(Boolean).join("\n\n")).join("\n\n---\n\n");
}

async function copy(text, dialog) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { value: text, readOnly: true }); // without https there is no clipboard but the selection
    dialog.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** The sign beside the counts, rewritten only when it says something else, so that a focus on its button stays. */
export function sign(box, words) {
  const pill = byId("unsent");
  const said = words.join(" · ");
  const count = box.refused.length;
  pill.hidden = !said && !count;
  if (pill.dataset.said === `${said}|${count}`) return;
  pill.dataset.said = `${said}|${count}`;
  const open = count ? el("button", { type: "button", id: "open-refused", textContent: `${count} not taken`, onclick: () => show(box) }) : null;
  pill.replaceChildren(...[said, said && open ? " · " : "", open].filter(Boolean));
}

/** The list; who closes it keeps it, who clears it has it no more. */
function show(box) {
  const dialog = byId("refused");
  const told = byId("refused-told");
  told.textContent = "";
  byId("refused-list").replaceChildren(...box.refused.map(lines).map((one) => el("article", { className: "card" }, el("h3", { textContent: one.head }),
    el("p", { textContent: one.why }), ...one.parts.flatMap(([name, text]) => [el("p", { className: "soft", textContent: name }), raw(text)]))));
  byId("refused-copy").onclick = async () => {
    told.textContent = (await copy(plain(box.refused), dialog)) ? "Copied." : "This browser does not let pages copy: select the text and copy it.";
  };
  byId("refused-clear").onclick = async () => {
    await box.clear();
    dialog.close();
  };
  dialog.showModal();
}
