// Opens a stream and reports all that its EventSource tells, in order, to a collector on another origin: there the reports take
// none of the connections that a browser gives the stream's origin. What comes back after a loss is the browser's doing alone.
const query = new URLSearchParams(location.search);
const name = query.get('name');
let seq = 0;
let waiting = [];
let sending = false;

const source = new EventSource(`/streams/${query.get('channel')}?name=${name}`);
source.onopen = () => report('open');
source.onerror = () => report('error');
for (const type of ['message', 'cursor', 'gap']) source.addEventListener(type, received);
report('hello');

function received(e) {
  report(e.type, e.data, e.lastEventId);
}

function report(type, data = '', id = '') {
  waiting.push({ seq: seq++, type, data, id, state: source.readyState });
  if (!sending) send();
}

async function send() {
  sending = true;
  while (waiting.length) {
    const batch = waiting;
    waiting = [];
    await fetch(`${query.get('collector')}/report?name=${name}`, { method: 'POST', mode: 'no-cors', body: JSON.stringify(batch) });
  }
  sending = false;
}
