import { tell } from './tell.mjs';

let waiting = [];
let sending = false;

// What the test has the page do next, in answer to a report.
const commands = {
  '': () => {},
  reload: () => location.reload(),
  // As if another tab came before it.
  hide: () => {
    Object.defineProperty(document, 'hidden', { value: true });
    document.dispatchEvent(new Event('visibilitychange'));
    report('hidden');
  },
};

tell(report);
globalThis.stopped = () => report('stopped');
globalThis.signIn = stopped;
addEventListener('error', (e) => report('stopped', e.message));
addEventListener('unhandledrejection', (e) => report('stopped', String(e.reason)));

function report(kind, data = '') {
  waiting.push({ kind, data });
  if (!sending) send();
}

async function send() {
  sending = true;
  while (waiting.length) {
    const batch = waiting;
    waiting = [];
    const response = await fetch('/report', { method: 'POST', body: JSON.stringify(batch) });
    commands[await response.text()]();
  }
  sending = false;
}
