// Plays what a stream may answer to client/redis-sse.js, without a network: each request of the client takes the next of the answers,
// and time passes when a test says so.
import { listen } from '../../../../client/redis-sse.js';

const encoder = new TextEncoder();

// A stream that a test writes into. It tells what the client has taken of it.
export class Body {
  taken = 0;
  cancelled = false;
  #waiting = [];
  #ask = null;

  constructor() {
    this.stream = new ReadableStream({
      pull: (controller) => this.#pull(controller),
      cancel: () => { this.cancelled = true; },
    }, { highWaterMark: 0 });
  }

  async #pull(controller) {
    if (!this.#waiting.length) await new Promise((asked) => { this.#ask = asked; });
    this.#waiting.shift()(controller);
  }

  #next(what) {
    this.#waiting.push(what);
    this.#ask?.();
    this.#ask = null;
    return this;
  }

  write(...chunks) {
    for (const chunk of chunks) {
      const bytes = typeof chunk === 'string' ? encoder.encode(chunk) : chunk;
      this.#next((controller) => { this.taken++; controller.enqueue(bytes); });
    }
    return this;
  }

  end() { return this.#next((controller) => controller.close()); }
  fail() { return this.#next((controller) => controller.error(new TypeError('network error'))); }
}

export function answer(status = 200, headers = { 'Content-Type': 'text/event-stream' }, body = new Body()) {
  const none = [204, 304].includes(status);
  return Object.assign(new Response(none ? null : body.stream, { status, headers }), { played: body });
}

// What a browser makes of a redirect that it is not to follow.
export function redirect() {
  return { type: 'opaqueredirect', status: 0, headers: new Headers(), body: null };
}

// Lets all that can happen without time passing happen.
export async function settle() {
  for (let n = 0; n < 100; n++) await null;
  await new Promise((done) => setImmediate(done));
  for (let n = 0; n < 100; n++) await null;
}

// A clock that stands still until a test lets time pass, in the place of the real one's timers. (That of node:test is another one in each
// version of node.)
function stopClock(t) {
  let now = 0;
  let last = 0;
  const timers = new Map();
  t.mock.method(globalThis, 'setTimeout', (run, ms) => {
    timers.set(++last, { run, at: now + (ms > 2 ** 31 - 1 ? 1 : ms) }); // as real ones do
    return last;
  });
  t.mock.method(globalThis, 'clearTimeout', (timer) => timers.delete(timer));
  const tick = (ms) => {
    now += ms;
    for (const [timer, { run, at }] of timers) {
      if (at <= now && timers.delete(timer)) run();
    }
  };
  return { tick, timers };
}

// Runs the client against the answers. Each call of a callback is a line of `told`.
export async function play(t, answers, options = {}, url = 'http://localhost/events') {
  const { tick, timers } = stopClock(t);
  t.mock.method(Math, 'random', () => options.chance ?? 0);
  const requests = [];
  t.mock.method(globalThis, 'fetch', async (at, init) => {
    const next = answers.shift();
    requests.push({ at: new URL(at), init });
    init.signal.throwIfAborted();
    if (next === undefined) throw new TypeError('fetch failed');
    const response = typeof next === 'function' ? await next(init) : next;
    // As fetch does, which the body belongs to.
    if (response.played) init.signal.addEventListener('abort', () => response.played.fail());
    return response;
  });
  const told = [];
  const tell = (name) => (...args) => { told.push([name, ...args]); };
  const names = ['gap', 'fresh', 'open', 'lost', 'denied', 'end', 'other'];
  const all = Object.fromEntries(names.map((name) => [name, tell(name)]));
  all.on = { message: tell('message') };
  const stream = listen(url, { ...all, ...options });
  t.after(() => stream.close());
  await settle();
  return {
    stream, requests, told,
    names: () => told.map(([name]) => name),
    of: (name) => told.filter((line) => line[0] === name).map((line) => line.slice(1)),
    cursors: () => requests.map(({ at }) => at.searchParams.get('last_event_id')),
    waits: () => timers.size > 0, // which keeps a program running
    pass: async (ms) => { tick(ms); await settle(); },
  };
}

// The pages' events, which node does not have.
export function page(t) {
  const target = new EventTarget();
  const dispatch = async (type) => { target.dispatchEvent(new Event(type)); await settle(); };
  dispatch.listeners = 0;
  globalThis.addEventListener = (type, listener, options) => {
    target.addEventListener(type, listener, options);
    dispatch.listeners++;
    options.signal.addEventListener('abort', () => { dispatch.listeners--; });
  };
  t.after(() => { delete globalThis.addEventListener; });
  return dispatch;
}
