// Pictures, films and recorded episodes side by side, all on one clock.

import { el, key, raw } from "./dom.js";

const clock = { at: 0, playing: false, rate: 1, last: 0, ticking: false, clips: new Set() };

/** What a sample that is no text looks like. */
export function clip(sample) {
  const kind = sample.media.split("/")[0];
  if (kind === "image") return el("img", { src: sample.blob, alt: "Picture to judge", className: "clip" });
  if (kind === "video") return film(sample);
  return episode(sample);
}

function film(sample) {
  const node = el("video", { src: sample.blob, muted: true, preload: "auto", className: "clip", attr: { "aria-label": "Film to judge" } });
  join({ node, seconds: () => node.duration || 0, draw: (at) => { if (Math.abs(node.currentTime - at) > 0.02) node.currentTime = Math.min(at, node.duration || at); } });
  return node;
}

/** An episode of a toy world: a mark that moves on a line to its target, or the numbers as they are. */
function episode(sample) {
  const node = el("div", { className: "episode" }, el("p", { className: "soft", textContent: "Loading the episode." }));
  fetch(sample.blob, { credentials: "same-origin" }).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status))).then((kept) => {
    const states = kept.observation;
    if (kept.env === "control" && Array.isArray(states?.[0])) line(node, states, kept.action);
    else node.replaceChildren(raw(JSON.stringify(kept, null, 1)));
  }).catch(() => node.replaceChildren(el("p", { className: "complaint", textContent: "The episode could not be loaded." })));
  return node;
}

function line(node, states, actions) {
  const canvas = el("canvas", { width: 720, height: 150, className: "clip", attr: { role: "img", "aria-label": "A mark moves on a line; the ring is its target" } });
  const words = el("p", { className: "soft figures" });
  node.replaceChildren(canvas, words);
  const widest = Math.max(1.2, ...states.map((state) => Math.abs(state[0])), Math.abs(states[0][2]) + 0.1);
  const x = (value) => 360 + (value / widest) * 330;
  const draw = (at) => {
    const step = Math.min(states.length - 1, Math.floor(at * 10));
    const [where, speed, target] = states[step];
    const push = [actions[step]].flat()[0] ?? 0;
    const pen = canvas.getContext("2d");
    const ink = getComputedStyle(canvas).color;
    pen.clearRect(0, 0, 720, 150);
    Object.assign(pen, { strokeStyle: ink, fillStyle: ink, lineWidth: 2 });
    stroke(pen, [[30, 75], [690, 75]]);
    states.slice(0, step + 1).forEach((state, n) => { pen.globalAlpha = 0.15; dot(pen, x(state[0]), 75 - 50 * (n / states.length), 3); });
    pen.globalAlpha = 1;
    pen.beginPath();
    pen.arc(x(target), 75, 13, 0, 7);
    pen.stroke();
    dot(pen, x(where), 75, 8);
    stroke(pen, [[x(where), 100], [x(where) + push * 40, 100]]);
    words.textContent = `step ${step + 1} of ${states.length} · away ${Math.abs(where - target).toFixed(2)} · speed ${speed.toFixed(2)} · push ${Number(push).toFixed(2)}`;
  };
  join({ node, seconds: () => states.length / 10, draw });
}

function stroke(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
}

function dot(pen, x, y, size) {
  pen.beginPath();
  pen.arc(x, y, size, 0, 7);
  pen.fill();
}

// --- the one clock ---------------------------------------------------------------------------------------------

function join(one) {
  for (const other of clock.clips) if (!other.node.isConnected && other.shown) clock.clips.delete(other);
  if (!clock.clips.size) Object.assign(clock, { at: 0, playing: !matchMedia("(prefers-reduced-motion: reduce)").matches, rate: 1 });
  clock.told?.();
  clock.clips.add(one);
  one.draw(clock.at);
  if (!clock.ticking) requestAnimationFrame(tick);
  clock.ticking = true;
}

function tick(now) {
  const passed = Math.min(0.1, (now - clock.last) / 1000);
  clock.last = now;
  for (const one of clock.clips) {
    one.shown ||= one.node.isConnected;
    if (one.shown && !one.node.isConnected) clock.clips.delete(one);
  }
  clock.ticking = clock.clips.size > 0;
  if (!clock.ticking) return;
  if (clock.playing && passed > 0) {
    const end = Math.max(...[...clock.clips].map((one) => one.seconds()));
    clock.at += passed * clock.rate;
    if (clock.at > end + 0.8) clock.at = 0;
    for (const one of clock.clips) one.draw(Math.min(clock.at, one.seconds()));
  }
  requestAnimationFrame(tick);
}

/** Keys for clips: space plays and stops, comma and full stop step, [ and ] change the speed. */
export function clipKey(pressed) {
  if (!clock.clips.size) return false;
  const step = { ",": -0.1, ".": 0.1 }[pressed];
  if (pressed === " ") clock.playing = !clock.playing;
  else if (step) {
    clock.playing = false;
    clock.at = Math.max(0, clock.at + step);
    for (const one of clock.clips) one.draw(Math.min(clock.at, one.seconds()));
  } else if (pressed === "[") clock.rate = Math.max(0.5, clock.rate / 2);
  else if (pressed === "]") clock.rate = Math.min(4, clock.rate * 2);
  else return false;
  clock.told?.();
  return true;
}

/** The same by hand, for those who have no keyboard or whose keys are turned off. */
export function clipBar() {
  const says = (pressed, label, word) => el("button", { type: "button", onclick: () => clipKey(pressed), attr: { "aria-label": label } }, key(pressed === " " ? "space" : pressed), word);
  const play = says(" ", "Play or stop all clips", "");
  const word = el("span");
  const speed = el("output", { className: "soft" });
  play.append(" ", word);
  clock.told = () => {
    word.textContent = clock.playing ? "stop" : "play";
    speed.textContent = `${clock.rate} times the speed`;
  };
  clock.told();
  return el("div", { className: "row clipbar", role: "group", attr: { "aria-label": "Clips" } }, play,
    says(",", "One step back", " back"), says(".", "One step on", " on"), says("[", "Slower", " slower"), says("]", "Faster", " faster"), speed);
}
