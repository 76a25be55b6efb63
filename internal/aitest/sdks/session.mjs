// What an app does around an SDK: it shows the answer, tells of gaps, comes back after a lost connection, and stops an answer.

// How often an app comes back before it gives up: for longer than a machine that is busy keeps a connection from being made.
const mostTries = 300;

// How long an app waits before it comes back, in ms.
const pause = 100;

// Session is one answer on one device. It says what it shows by tell(kind, value).
export class Session {
  constructor({ base, answer, stopAt = 0, refreshAt = 0, tell }) {
    Object.assign(this, { base, answer, stopAt, refreshAt, tell, text: '', requests: 0, abort: new AbortController() });
    this.headers = { 'X-Answer': answer };
    this.fetch = async (url, init) => {
      this.requests++;
      const response = await fetch(url, init);
      this.nothing = response.status === 204; // nothing is in the works, or nothing is left of it
      this.tell('request', `${init?.method ?? 'GET'} ${new URL(url, this.base).pathname}: ${response.status}`);
      return response;
    };
  }

  // show is told all of the answer that the SDK has given so far.
  show(text) {
    if (text === this.text || this.abort.signal.aborted) return;
    this.text = text;
    this.telling ??= setTimeout(() => {
      this.telling = undefined;
      this.tell('text', this.text.length);
    }, 10); // long answers bring thousands at once
    if (this.stopAt && text.length >= this.stopAt) this.stop();
    if (this.refreshAt && text.length >= this.refreshAt) this.refresh();
  }

  gap(words) {
    this.tell('gap', words);
  }

  // stop has the app's worker stop: the end comes on the stream, to all devices.
  stop() {
    this.stopAt = 0;
    fetch(`${this.base}/stop/${this.answer}`, { method: 'POST', body: 'stop' })
      .then((answer) => { if (!answer.ok) this.tell('note', `stop: ${answer.status}`); });
  }

  // refresh ends this session; a fresh one goes on.
  refresh() {
    this.refreshAt = 0;
    this.refreshed = true;
    this.abort.abort();
  }
}

// What SDKs and browsers say of a lost connection.
const lostWords = [
  'terminated', 'fetch failed', 'failed to fetch', 'networkerror', 'network error', 'input stream', 'other side closed', 'socket',
  'premature close', 'connection error',
];

// lost tells errors of the connection from what a stream says.
export function lost(err) {
  for (let e = err; e; e = e.cause) {
    const text = `${e.name}: ${e.message}`.toLowerCase();
    if (lostWords.some((words) => text.includes(words))) return true;
  }
  return false;
}

export const words = (err) => `${err.constructor?.name ?? 'Error'}: ${err.message ?? err}`;

// run has a client get an answer, from the request on or, as a second device does, by joining. It resolves with how that ended.
export async function run(client, session, joins) {
  let how = joins ? client.join : client.start;
  for (let tries = 0; ; tries++) {
    try {
      const outcome = await how.call(client, session);
      return session.refreshed ? { refreshed: true } : { ...outcome, text: session.text };
    } catch (err) {
      if (session.refreshed) return { refreshed: true };
      if (!lost(err) || tries === mostTries) return { error: words(err), text: session.text };
      session.tell('back', 'app');
      await new Promise((done) => setTimeout(done, pause));
      how = client.join;
    }
  }
}
