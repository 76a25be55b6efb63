// Reports all that a page has to tell, in order, to a collector on another origin: there the reports take none of the
// connections that a browser gives the stream's origin.
const query = new URLSearchParams(location.search);
const name = query.get('name');
let seq = 0;
let waiting = [];
let sending = false;

function report(entry) {
  waiting.push({ seq: seq++, ...entry });
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
