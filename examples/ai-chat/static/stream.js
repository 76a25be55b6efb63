// The stream of one chat, as Caddy serves it (Caddyfile).

// Caddy sends something every 15 s. After two and a half of those the connection is dead, though nobody has closed it.
const SILENCE = 38_000; // ms
const PAUSE = 3_000; // ms until another try where an EventSource makes none by itself

// listen opens the stream and keeps it open. `on` has opened(), message(object), ended(), gap(object), lost(), and refused() for an
// answer that makes an EventSource give up. It returns what ends it.
export function listen(path, on) {
  let source = null, cursor = "", timer = 0, over = false;

  function open() {
    const url = new URL(path, location.href);
    // An EventSource that comes back by itself sends its own; another one has to be told.
    if (cursor) url.searchParams.set("last_event_id", cursor);
    source?.close();
    source = new EventSource(url);
    source.onopen = () => { alive(); on.opened(); };
    take("message", (data) => data === "[DONE]" ? end() : on.message(JSON.parse(data)));
    take("gap", (data) => on.gap(JSON.parse(data)));
    take("cursor", () => {});
    source.onerror = () => {
      on.lost();
      if (source.readyState !== EventSource.CLOSED) return alive(); // it comes back by itself
      on.refused();
      if (!over) again(PAUSE);
    };
    alive();
  }

  function take(type, use) {
    source.addEventListener(type, (e) => {
      cursor = e.lastEventId;
      alive();
      use(e.data);
    });
  }

  // An answer has ended, and so has the stream. A new one, without a cursor, waits for what comes after that end.
  function end() {
    cursor = "";
    on.ended();
    if (!over) open();
  }

  function alive() { again(SILENCE, on.lost); }

  function again(ms, before = () => {}) {
    clearTimeout(timer);
    timer = setTimeout(() => { before(); open(); }, ms);
  }

  open();
  return () => {
    over = true;
    clearTimeout(timer);
    source.close();
  };
}
