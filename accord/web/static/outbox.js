// What was said and is not yet acknowledged, drafts, and what can be undone: kept in IndexedDB, one base per person.

const STORES = { outbox: { keyPath: "seq", autoIncrement: true }, history: { keyPath: "id" }, drafts: {}, returned: { keyPath: "id" } };
const PATIENCE = [1000, 2000, 4000, 8000, 15000];
const REFUSED = "refused "; // among the drafts, which it resembles: ids of questions have no blank

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Where the browser keeps things; falls back to memory where it keeps nothing (a private window may not). */
export async function openShelf(person) {
  try {
    const opening = indexedDB.open(`accord-${person}`, 1);
    opening.onupgradeneeded = () => {
      for (const [name, how] of Object.entries(STORES)) opening.result.createObjectStore(name, how);
    };
    const base = await done(opening);
    const at = (store, mode = "readonly") => base.transaction(store, mode, { durability: "strict" }).objectStore(store);
    return {
      lasting: true,
      put: (store, value, key) => done(at(store, "readwrite").put(value, key)),
      get: (store, key) => done(at(store).get(key)),
      all: (store, prefix) => done(at(store).getAll(prefix && IDBKeyRange.bound(prefix, `${prefix}\uffff`))),
      drop: (store, key) => done(at(store, "readwrite").delete(key)),
    };
  } catch {
    return memory();
  }
}

function memory() {
  const kept = Object.fromEntries(Object.keys(STORES).map((name) => [name, new Map()]));
  let last = 0;
  return {
    lasting: false,
    put: async (store, value, key) => {
      const name = key ?? (store === "outbox" ? (value.seq ??= ++last) : value.id);
      kept[store].set(name, value);
      return name;
    },
    get: async (store, key) => kept[store].get(key),
    all: async (store, prefix = "") => [...kept[store]].filter(([name]) => !prefix || String(name).startsWith(prefix)).map(([, one]) => one),
    drop: async (store, key) => void kept[store].delete(key),
  };
}

/**
 * What the base has not confirmed yet, in localStorage, which is written before the key's event ends: a page that is left
 * or loaded again at that instant takes its unfinished transactions with it.
 */
class Journal {
  constructor(person) {
    this.prefix = `accord-out-${person}-`;
  }

  /** "kept": an act on its way into the base; "gone": one on its way out. Returns what to call when the base has done it. */
  write(what, act) {
    const name = `${this.prefix}${what}-${act.kind}-${act.id}`;
    try {
      localStorage.setItem(name, JSON.stringify(act));
    } catch {
      return () => {}; // full or forbidden: the base alone keeps it, as it does an instant later anyway
    }
    return () => localStorage.removeItem(name);
  }

  /** The acts of an earlier page, with what its base did not come to. */
  async mend(shelf) {
    const names = Array.from({ length: localStorage.length }, (_, at) => localStorage.key(at)).filter((name) => name.startsWith(this.prefix));
    const noted = names.map((name) => ({ name, gone: name.startsWith(`${this.prefix}gone-`), act: JSON.parse(localStorage.getItem(name)) }));
    const same = (one, other) => one.id === other.id && one.kind === other.kind;
    const gone = noted.filter((one) => one.gone).map((one) => one.act);
    const left = [];
    for (const act of await shelf.all("outbox")) {
      if (gone.some((one) => same(one, act))) await shelf.drop("outbox", act.seq);
      else left.push(act);
    }
    for (const { act } of noted.filter((one) => !one.gone).sort((one, other) => one.act.since - other.act.since)) {
      if ([...left, ...gone].some((one) => same(one, act))) continue;
      left.push({ ...act, seq: await shelf.put("outbox", { ...act }) });
    }
    for (const { name } of noted) localStorage.removeItem(name);
    return left;
  }
}

/** Sends what lies in the outbox, in order, again and again until the server has it. */
export class Outbox {
  constructor(shelf, send, told, person) {
    const journal = new Journal(person);
    Object.assign(this, { shelf, send, told, journal, waiting: [], flying: null, failures: 0, why: "", refused: [], timer: 0 });
  }

  /** What an earlier page left. It may have gone out as that page was left, so it is no longer simply taken back. */
  async load() {
    this.waiting = (await this.journal.mend(this.shelf)).map((one) => ({ ...one, due: 0, out: true }));
    this.refused = await this.shelf.all("drafts", REFUSED).catch(() => []);
    this.pump();
  }

  /** What was refused for good, kept until the person has done with it. */
  refuse(one, status, reason) {
    const { kept, ...act } = one;
    const found = { ...act, status, reason, name: `${REFUSED}${one.kind}-${one.id}` };
    this.refused.push(found);
    return this.shelf.put("drafts", found, found.name).catch(() => {});
  }

  /** The person has done with what was refused. */
  async clear() {
    for (const one of this.refused.splice(0)) await this.shelf.drop("drafts", one.name).catch(() => {});
    this.told(this);
  }

  /** The page is being left: send at once, in a way that outlives it. What arrives twice counts once. */
  leave(send) {
    for (const one of this.waiting) {
      if (one.kind !== "answer" || one === this.flying) continue;
      one.out = true;
      send(one);
    }
  }

  /** Keep an act; it goes out after `delay` milliseconds, so that a quick undo leaves no trace. */
  async add(act, delay = 0) {
    const one = { ...act, since: Date.now(), due: Date.now() + delay };
    const settled = this.journal.write("kept", one);
    this.waiting.push(one);
    one.kept = this.shelf.put("outbox", { ...one }).then((seq) => { one.seq = seq; settled(); });
    this.told(this);
    await one.kept.catch(() => {});
    this.pump();
  }

  /** Take an answer back before it went. Whether that was still possible. */
  recall(id) {
    const at = this.waiting.findIndex((one) => one.id === id && one.kind === "answer");
    if (at < 0 || this.waiting[at] === this.flying || this.waiting[at].out) return false;
    const [one] = this.waiting.splice(at, 1);
    const settled = this.journal.write("gone", one);
    Promise.resolve(one.kept).then(() => this.shelf.drop("outbox", one.seq)).then(settled).catch(() => {});
    this.told(this);
    return true;
  }

  pump() {
    clearTimeout(this.timer);
    if (this.flying || !this.waiting.length) return;
    const wait = this.waiting[0].due - Date.now();
    if (wait > 0) this.timer = setTimeout(() => this.pump(), wait);
    else this.fly(this.waiting[0]);
  }

  async fly(one) {
    this.flying = one;
    let status = 0;
    let reason = "";
    this.why = "";
    try {
      ({ status, reason } = await this.send(one));
    } catch {
      status = 0;
    }
    if (status === 503) this.why = reason;
    this.flying = null;
    const out = status === 401 || status === 403; // nobody is in, or somebody else: what was said waits for its person
    const again = out || status === 0 || status === 408 || status === 429 || status >= 500;
    if (again) {
      this.failures += 1;
      this.signIn = out;
      this.timer = setTimeout(() => this.pump(), PATIENCE[Math.min(this.failures, PATIENCE.length) - 1]);
    } else {
      this.failures = 0;
      this.signIn = false;
      this.waiting.shift();
      if (status >= 400) await this.refuse(one, status, reason);
      await Promise.resolve(one.kept).then(() => this.shelf.drop("outbox", one.seq)).catch(() => {});
      this.pump();
    }
    this.told(this);
  }
}

/** A UUID version 7, also where the page came without https. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const now = BigInt(Date.now());
  for (let i = 0; i < 6; i++) bytes[i] = Number((now >> BigInt(40 - 8 * i)) & 255n);
  bytes[6] = (bytes[6] & 15) | 112;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20].reduceRight((text, at) => `${text.slice(0, at)}-${text.slice(at)}`, hex);
}
