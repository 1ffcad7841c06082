// Nodes without strings of HTML; the one policy by which HTML that the server has sanitised comes in.

const policy = globalThis.trustedTypes
  ? trustedTypes.createPolicy("accord", { createHTML: (html) => html })
  : { createHTML: (html) => html };

/** A node with properties, attributes (as `attr`), listeners (`onclick`) and children. */
export function el(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "attr") for (const [key, one] of Object.entries(value)) node.setAttribute(key, one);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** HTML that `accord/web/render.py` made. Nothing else may be given here. */
export function sanitised(html, className = "prose") {
  const node = el("div", { className });
  node.innerHTML = policy.createHTML(html);
  return node;
}

/** A page of this server, parsed. */
export function parsed(text) {
  return new DOMParser().parseFromString(policy.createHTML(text), "text/html");
}

export const byId = (id) => document.getElementById(id);

/** Text as it was written. */
export const raw = (text) => el("pre", { className: "raw", dir: "auto", textContent: text });

/** A key as it is drawn. */
export const key = (text) => el("kbd", { textContent: text });
