// Listens by client/redis-sse.js and reports all that it tells. ?json=1 has payloads parsed, ?store=1 keeps the cursor over reloads,
// ?on= names an event besides messages, and ?site= another origin. Messages may tell the page what to do itself.
import { listen } from '/redis-sse.js';

// A page that is about to go, whose stream Firefox ends before it, tells no more: its reports could be lost.
let leaving = false;

seq = Number(sessionStorage.getItem('seq')); // a page that is loaded again goes on counting its reports
const orders = {
  reload: () => location.reload(),
  away: async () => { // as if the visitor had gone to another page and came back, when the collector answers
    dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
    await fetch(`${query.get('collector')}/back`, { mode: 'no-cors' });
    leaving = false;
    dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
  },
};

const tell = (entry) => {
  if (!leaving) report(entry);
};

const received = (kind) => (payload, { id, data, type }) => {
  const text = query.has('json') ? JSON.stringify({ payload, type }) : payload;
  tell({ type: kind, data: text, id });
  if (orders[data]) leave(orders[data]);
};

// Leaves the page once all it has to report is told.
async function leave(go) {
  leaving = true;
  while (sending) await new Promise((done) => setTimeout(done, 10));
  sessionStorage.setItem('seq', seq);
  go();
}

// A page tells that it is fresh once it has its first cursor: one that is cut before comes back without.
let fresh = 0;
const kept = query.has('store') ? sessionStorage : undefined;
const store = {
  getItem: (key) => kept?.getItem(key),
  setItem: (key, cursor) => {
    kept?.setItem(key, cursor);
    for (; fresh; fresh--) tell({ type: 'fresh' });
  },
};

addEventListener('error', (e) => tell({ type: 'failed', data: e.message }));
tell({ type: 'hello' });
listen(`${query.get('site') ?? ''}/streams/${query.get('channel')}?name=${name}`, {
  on: { message: received('message'), [query.get('on')]: received(query.get('on')) },
  other: received('other'),
  gap: (gap) => tell({ type: 'gap', data: JSON.stringify(gap) }),
  fresh: () => fresh++,
  open: () => tell({ type: 'open' }),
  lost: (wait, why) => tell({ type: 'error', data: String(why?.status ?? why) }),
  denied: ({ status }) => tell({ type: 'denied', data: String(status) }),
  end: () => tell({ type: 'end' }),
  parse: query.has('json') ? JSON.parse : undefined,
  store,
  init: query.has('site') ? { credentials: 'include' } : undefined,
});
