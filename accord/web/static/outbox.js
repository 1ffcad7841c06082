// What was said and is not yet acknowledged, drafts, and what can be undone: kept in IndexedDB, one base per person.

const STORES = { outbox: { keyPath: "seq", autoIncrement: true }, history: { keyPath: "id" }, drafts: {}, returned: { keyPath: "id" } };
const PATIENCE = [1000, 2000, 4000, 8000, 15000];

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
      all: (store) => done(at(store).getAll()),
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
    all: async (store) => [...kept[store].values()],
    drop: async (store, key) => void kept[store].delete(key),
  };
}

/** Sends what lies in the outbox, in order, again and again until the server has it. */
export class Outbox {
  constructor(shelf, send, told) {
    Object.assign(this, { shelf, send, told, waiting: [], flying: null, failures: 0, refused: [], timer: 0 });
  }

  /** What an earlier page left. */
  async load() {
    this.waiting = await this.shelf.all("outbox");
    this.pump();
  }

  /** Keep an act; it goes out after `delay` milliseconds, so that a quick undo leaves no trace. */
  async add(act, delay = 0) {
    const one = { ...act, since: Date.now(), due: Date.now() + delay };
    this.waiting.push(one);
    one.kept = this.shelf.put("outbox", { ...one }).then((seq) => { one.seq = seq; });
    this.told(this);
    await one.kept.catch(() => {});
    this.pump();
  }

  /** Take an answer back before it went. Whether that was still possible. */
  recall(id) {
    const at = this.waiting.findIndex((one) => one.id === id && one.kind === "answer");
    if (at < 0 || this.waiting[at] === this.flying) return false;
    const [one] = this.waiting.splice(at, 1);
    Promise.resolve(one.kept).then(() => this.shelf.drop("outbox", one.seq));
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
    try {
      status = await this.send(one);
    } catch {
      status = 0;
    }
    this.flying = null;
    const again = status === 0 || status === 401 || status === 408 || status === 429 || status >= 500;
    if (again) {
      this.failures += 1;
      this.signIn = status === 401;
      this.timer = setTimeout(() => this.pump(), PATIENCE[Math.min(this.failures, PATIENCE.length) - 1]);
    } else {
      this.failures = 0;
      this.signIn = false;
      this.waiting.shift();
      if (status >= 400) this.refused.push({ ...one, status });
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
