/*! caddy-redis-sse, Apache-2.0. To read: src/redis-sse.js. What can be given: redis-sse.d.ts */
export function listen(url, options = {}) {
  const { on = {}, init, parse = (data) => data, gapEvent = "gap", cursorEvent = "cursor" } = options;
  const { silence = 65_000, limit = 2 ** 25 } = options;
  const longest = 2 ** 31 - 1; // that a timer can wait; a longer one is over at once
  const base = new URL(url, globalThis.location?.href);
  const life = new AbortController(); // ends with close
  let retry = 2000; // until the stream tells another one
  let failures = 0; // since a stream was open
  let attempt, timer, wake, asleep;

  // What a callback throws is told as of any listener, and the stream goes on. Once it is closed nothing is called.
  const guard = (run) => {
    try {
      if (!life.signal.aborted) run();
    } catch (err) {
      queueMicrotask(() => { throw err; });
    }
  };
  const call = (name, ...args) => guard(() => options[name]?.(...args));

  // A storage may be full, or forbidden: then a reload has an older cursor, or none.
  const stored = (...cursor) => {
    try {
      const store = options.store === true ? sessionStorage : options.store;
      const key = `redis-sse ${base}`;
      return cursor.length ? store?.setItem(key, ...cursor) : store?.getItem(key);
    } catch {}
  };
  let cursor = stored() || "";

  const close = (why, response) => {
    call(why, response);
    life.abort();
    attempt.abort();
    wake?.();
  };

  // The cursor is kept first: what a handler throws at would come again, for ever.
  const dispatch = (type, data, id) => guard(() => {
    if (id !== cursor) stored(cursor = id);
    if (!data) return;
    data = data.slice(0, -1);
    if (type === gapEvent && options.gap) options.gap(JSON.parse(data));
    else if (type !== cursorEvent) (Object.hasOwn(on, type) ? on[type] : options.other)?.(parse(data), { type, data, id });
  });

  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => attempt.abort(new Error(`silent for ${silence} ms`)), Math.min(silence, longest));
  };

  // Reads as the HTML standard has it: "Interpreting an event stream". An event without its end is none.
  const read = async (reader) => {
    const decoder = new TextDecoder();
    let [line, data, type, id, cr] = ["", "", "", cursor];
    for (;;) {
      alive();
      const { value, done } = await reader.read();
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      if (!text) continue;
      const lines = text.slice(cr && text[0] === "\n").split(/\r\n?|\n/);
      cr = text.endsWith("\r"); // a LF that follows is of the same line end
      lines[0] = line + lines[0];
      line = lines.pop();
      for (const each of lines) {
        const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(each);
        if (!each) {
          dispatch(type || "message", data, id);
          data = type = "";
        } else if (name === "data") data += value + "\n";
        else if (name === "event") type = value;
        else if (name === "id" && !value.includes("\0")) id = value;
        else if (name === "retry" && /^\d+$/.test(value)) retry = Math.max(100, value);
      }
      if (line.length + data.length > limit) throw new Error(`an event has over ${limit} characters`);
    }
  };

  // Returns when the stream has ended, and throws what came instead of one.
  const open = async () => {
    const { signal } = attempt = new AbortController();
    alive();
    const at = new URL(base);
    if (cursor) at.searchParams.set("last_event_id", cursor);
    const given = typeof init === "function" ? await init() : init;
    const response = await fetch(at, { cache: "no-store", ...given, redirect: "manual", signal });
    const { status, headers, body } = response;
    if (status === 204) return close("end");
    if (/^(0|3..|401|403)$/.test(status)) return close("denied", response); // 0: a browser tells no more of a redirect
    if (status !== 200 || !/^text\/event-stream/i.test(headers.get("content-type"))) throw response;
    failures = 0;
    call("open", response);
    if (!cursor) call("fresh");
    await read(body.getReader());
  };

  const run = async () => {
    while (!life.signal.aborted) {
      const why = await open().catch((err) => err);
      attempt.abort(); // what is left of the answer
      clearTimeout(timer);
      if (life.signal.aborted) return;
      const after = why?.headers?.get("retry-after");
      const told = after * 1000 || Date.parse(after) - Date.now() || 0;
      const backoff = Math.min(retry * 2 ** failures++, Math.max(retry, 30_000)) * (1 + Math.random() / 2);
      const wait = Math.min(Math.max(told, backoff), longest);
      const pause = new Promise((done) => {
        wake = done;
        if (!asleep) timer = setTimeout(done, wait);
      });
      if (!asleep) call("lost", wait, why);
      await pause;
      clearTimeout(timer);
    }
  };

  // A page in the back/forward cache has no stream: nothing would read it, and browsers drop pages that are sent too much.
  for (const type of ["pagehide", "pageshow", "online"]) {
    globalThis.addEventListener?.(type, () => {
      asleep = type === "pagehide";
      if (asleep) attempt.abort();
      else wake?.();
    }, { signal: life.signal });
  }
  run();
  return { close: () => close() };
}
