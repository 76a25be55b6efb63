// Readers of plain events: an EventSource, the browser's or npm's, and fetch-event-source.
import { fetchEventSource } from '@microsoft/fetch-event-source';

// apply shows a message. It returns "done" for the last one, the error if it tells of one, else nothing.
function apply(session, data) {
  if (data === '[DONE]') return 'done';
  const { delta, error } = JSON.parse(data);
  if (error) return error;
  session.show(session.text + delta);
  return '';
}

const urlOf = (session) => `${session.base}/es?channel=es:${session.answer}`;

// The app asks for the answer, then listens.
const ask = (session) => fetch(`${session.base}/ask`, { method: 'POST', headers: session.headers });

// The last message does not make it close: that is done by the 204 with which it is answered when it comes back.
export const eventSource = (EventSource) => ({
  async start(session) {
    await ask(session);
    return this.join(session);
  },
  join: (session) => new Promise((resolve) => {
    let status = 'none';
    const source = new EventSource(urlOf(session), { fetch: session.fetch });
    const close = (outcome) => {
      source.close();
      resolve(outcome);
    };
    session.abort.signal.addEventListener('abort', () => close({ refreshed: true }));
    source.addEventListener('gap', (e) => session.gap(`gap: ${JSON.parse(e.data).reason}`));
    source.onmessage = (e) => {
      const last = apply(session, e.data);
      if (last === 'done') status = 'done';
      else if (last) close({ error: last });
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) close({ status });
    };
  }),
});

const fetchClient = {
  async start(session) {
    await ask(session);
    return this.join(session);
  },
  async join(session) {
    let status = 'none';
    let failed;
    class Over extends Error {}
    try {
      await fetchEventSource(urlOf(session), {
        openWhenHidden: true, signal: session.abort.signal, fetch: session.fetch,
        async onopen(response) {
          if (response.status === 204) throw new Over(); // the end has been there
        },
        onmessage(e) {
          if (e.event === 'gap') session.gap(`gap: ${JSON.parse(e.data).reason}`);
          if (e.event) return; // a cursor
          const last = apply(session, e.data);
          if (last === 'done') status = 'done';
          else failed = last;
          if (failed) throw new Over();
        },
        onerror(err) {
          if (err instanceof Over) throw err; // for good; else it comes back
        },
      });
    } catch (err) {
      if (!(err instanceof Over)) throw err;
    }
    return failed ? { error: failed } : { status };
  },
};

export const clients = { 'fetch-event-source': fetchClient };
