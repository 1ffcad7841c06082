// Forms in which the person writes: a better text, an answer from nothing, words about marked places.

import { el, key, raw } from "./dom.js";

const LABELS = ["good", "bad", "unsafe", "unsupported"];
const wanted = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey);
const said = (text) => ({ kind: "text", messages: [{ role: "assistant", content: text }] });

function field(label, start, changed) {
  const area = el("textarea", { value: start, spellcheck: true, dir: "auto", maxLength: 200000, oninput: () => changed(), attr: { "aria-label": label } });
  return { area, card: el("article", { className: "card answer write" }, el("h2", { className: "letter small", textContent: label }), area) };
}

function bar(send, hint) {
  const button = el("button", { type: "button", className: "main", onclick: send }, "Send ", key("Ctrl Enter"));
  return { button, bar: [el("div", { className: "row" }, hint, el("span", { className: "gap" }), button)] };
}

export function correction(task, desk) {
  let at = Math.max(0, task.samples.findIndex((sample) => sample.id === desk.previous?.sample));
  const body = el("div", { className: "body" }, desk.turn(task.samples[at]));
  const { area, card } = field("Your better version", desk.previous?.content.messages.at(-1).content ?? task.samples[at].text, () => changed());
  const hint = el("span", { className: "soft", textContent: "Change the text on the right until it is as it should have been." });
  const finish = () => { if (!foot.button.disabled) desk.say({ kind: "correction", sample: task.samples[at].id, content: said(area.value) }, "Corrected"); };
  const foot = bar(finish, hint);
  const check = () => { foot.button.disabled = area.value === task.samples[at].text || !area.value.trim(); };
  const changed = () => { check(); desk.draft({ at, text: area.value }); };
  const choose = (next) => { at = next; area.value = task.samples[at].text; body.replaceChildren(desk.turn(task.samples[at])); changed(); };
  const tabs = task.samples.length > 1 ? task.samples.map((_, n) => el("button", { type: "button", onclick: () => choose(n) }, `Start from ${n + 1}`)) : [];
  check();
  return {
    cards: [el("article", { className: "card answer" }, el("h2", { className: "letter small" }, "As it was ", ...tabs), body), card],
    bar: foot.bar, focus: () => { area.focus({ preventScroll: true }); return true; },
    repaint: () => body.replaceChildren(desk.turn(task.samples[at])),
    restore: (kept) => { at = kept.at; area.value = kept.text; body.replaceChildren(desk.turn(task.samples[at])); check(); },
    command: (event) => { if (wanted(event)) finish(); },
  };
}

export function demonstration(task, desk) {
  const { area, card } = field("Your answer", desk.previous?.content.messages.at(-1).content ?? "", () => changed());
  const finish = () => { if (!foot.button.disabled) desk.say({ kind: "written", content: said(area.value) }, "Written"); };
  const foot = bar(finish, el("span", { className: "soft", textContent: "Write the answer that should be given." }));
  const check = () => { foot.button.disabled = !area.value.trim(); };
  const changed = () => { check(); desk.draft(area.value); };
  check();
  return {
    cards: [card], bar: foot.bar, focus: () => { area.focus({ preventScroll: true }); return true; },
    restore: (kept) => { area.value = kept; check(); }, command: (event) => { if (wanted(event)) finish(); },
  };
}

export function critique(task, desk) {
  const sample = task.samples[0];
  const text = raw(sample.text);
  let spans = desk.previous?.spans ?? [];
  const { area, card } = field("What is right or wrong with it", desk.previous?.text ?? "", () => changed());
  const list = el("ul", { className: "spans" });
  card.append(list);
  const finish = () => { if (!foot.button.disabled) desk.say({ kind: "critique", sample: sample.id, text: area.value, spans }, "Said"); };
  const marks = el("span", {}, "Select a place, then ", ...LABELS.map((label, at) => el("button", {
    type: "button", onmousedown: (event) => event.preventDefault(), onclick: () => mark(label) }, key(String(at + 1)), ` ${label}`)));
  const foot = bar(finish, marks);
  const points = (units) => [...sample.text.slice(0, units)].length;
  const draw = () => {
    list.replaceChildren(...spans.map((span, at) => el("li", {}, el("span", { className: `label ${span.label}`, textContent: span.label }),
      ` ${[...sample.text.slice(units(sample.last))].slice(span.start, span.end).join("").slice(0, 80)} `,
      el("button", { type: "button", className: "quiet", textContent: "remove", onclick: () => { spans = spans.filter((_, n) => n !== at); changed(); } }))));
    foot.button.disabled = !area.value.trim() && !spans.length;
    if (globalThis.Highlight) {
      for (const label of LABELS) {
        const ranges = spans.filter((span) => span.label === label).map((span) => {
          const range = new Range();
          range.setStart(text.firstChild, units(span.start + sample.last));
          range.setEnd(text.firstChild, units(span.end + sample.last));
          return range;
        });
        CSS.highlights.set(`span-${label}`, new Highlight(...ranges));
      }
    }
  };
  const units = (count) => [...sample.text].slice(0, count).join("").length;
  const mark = (label) => {
    const chosen = getSelection();
    if (!chosen.rangeCount || chosen.isCollapsed || chosen.anchorNode !== text.firstChild || chosen.focusNode !== text.firstChild) return false;
    const range = chosen.getRangeAt(0);
    const [start, end] = [points(range.startOffset) - sample.last, points(range.endOffset) - sample.last];
    if (start < 0) return false;
    spans = [...spans, { start, end, label }];
    chosen.removeAllRanges();
    changed();
    return true;
  };
  const changed = () => { draw(); desk.draft({ spans, text: area.value }); };
  draw();
  return {
    cards: [el("article", { className: "card answer" }, el("h2", { className: "letter small", textContent: "The answer, as written" }), el("div", { className: "body" }, text)), card],
    bar: foot.bar, restore: (kept) => { spans = kept.spans; area.value = kept.text; draw(); },
    close: () => { if (globalThis.Highlight) for (const label of LABELS) CSS.highlights.delete(`span-${label}`); },
    key: (pressed) => /^[1-4]$/.test(pressed) && mark(LABELS[Number(pressed) - 1]),
    command: (event) => { if (wanted(event)) finish(); },
  };
}
