// The page of one session: a chat by useChat, or what an EventSource or fetch-event-source reads. It reports what a session tells
// to a collector on another origin, where that takes none of the connections that a browser gives the stream's.
import { createElement, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { DefaultChatTransport as Transport5 } from 'ai5';
import { DefaultChatTransport as Transport7 } from 'ai7';
import { useChat as useChat5 } from 'react5';
import { useChat as useChat7 } from 'react7';
import { clients as plain, eventSource } from '../sdks/events.mjs';
import { Session, lost, run, words } from '../sdks/session.mjs';
import { onData, textOf } from '../sdks/ui.mjs';

const query = Object.fromEntries(new URLSearchParams(location.search));
const chats = { 'useChat 5': [useChat5, Transport5], 'useChat 7': [useChat7, Transport7] };
const clients = { ...plain, EventSource: eventSource(EventSource) };

const refreshed = sessionStorage.getItem('refreshed') === query.name;
const joins = refreshed || query.joins === 'true';

let leaves = false; // whose streams fail before it has gone
let reported = Promise.resolve();
function tell(kind, value) {
  if (leaves) return;
  const body = JSON.stringify({ name: query.name, kind, value });
  reported = reported.then(() => fetch(query.collector, { method: 'POST', mode: 'no-cors', body })).catch(() => {});
}

class Page extends Session {
  refresh() {
    this.refreshAt = 0;
    leaves = true;
    sessionStorage.setItem('refreshed', query.name);
    location.reload();
  }
}

const session = new Page({
  base: location.origin, answer: query.answer, stopAt: Number(query.stopAt),
  refreshAt: refreshed ? 0 : Number(query.refreshAt), tell,
});
const done = (outcome) => tell('done', { ...outcome, text: session.text });

// Chat asks once the resumption that it begins with has found nothing.
function Chat({ sdk: [useChat, Transport] }) {
  const [nothing, setNothing] = useState(false); // is in the works
  const [transport] = useState(() => new Transport({
    headers: session.headers,
    async fetch(url, init) {
      const response = await session.fetch(url, init);
      if (session.nothing) setNothing(true);
      return response;
    },
  }));
  const chat = useChat({
    id: session.answer, transport, resume: true, onData: onData(session),
    onFinish({ isError, messages }) {
      if (session.nothing) return; // version 5 calls this for a 204, too
      session.show(textOf(messages)); // this may come before the page shows the last of it
      if (!isError) done({ status: 'ready' });
    },
    // Which comes before onFinish, and without that if a resumption fails.
    onError: (err) => setTimeout(() => (lost(err) ? comeBack(chat.resumeStream) : done({ error: words(err) }))),
  });
  useEffect(() => session.show(textOf(chat.messages)), [chat.messages]);
  useEffect(() => {
    if (!nothing) return;
    setNothing(false);
    if (joins || session.requests > 1) done({ status: 'nothing' });
    else chat.sendMessage({ text: 'why?' });
  }, [nothing]);
  return createElement('p', null, textOf(chat.messages));
}

// comeBack does what a browser does when somebody looks at the page again. If that makes the SDK ask for nothing, the app does.
function comeBack(resumeStream) {
  const { requests } = session;
  setTimeout(() => {
    document.dispatchEvent(new Event('visibilitychange'));
    setTimeout(() => {
      tell('back', session.requests > requests ? 'shown' : 'app');
      if (session.requests === requests) resumeStream();
    });
  }, 100);
}

tell('proto', performance.getEntriesByType('navigation')[0].nextHopProtocol);
if (refreshed) tell('refreshed');
const sdk = chats[query.client];
if (sdk) createRoot(document.getElementById('page')).render(createElement(Chat, { sdk }));
else run(clients[query.client], session, joins).then(done, (err) => tell('broken', words(err)));
