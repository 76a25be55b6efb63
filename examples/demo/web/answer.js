// An answer that survives a reload of the page. Each has a channel of its own, Caddy keeps it from its first word on, and its stream
// begins "from start". So its name is all that has to be stored. Where the browser comes back by itself it sends its last id, and
// gets only what it missed.
const stored = 'answer';
const $ = (id) => document.getElementById(id);
let source;

// ask has a new answer written.
export async function ask() {
  const reply = await (await fetch('/demo/ask', { method: 'POST' })).json();
  if (reply.error) throw new Error(reply.error);
  sessionStorage.setItem(stored, reply.answer);
  open(reply.answer);
}

// showAnswer goes on with the stored one, if it is of this run of the demo.
export function showAnswer(run) {
  const id = sessionStorage.getItem(stored);
  if (id?.startsWith(run + '-')) open(id);
}

function open(id) {
  source?.close();
  $('answering').dataset.state = 'writing';
  $('asked').textContent = '…';
  $('reply').textContent = '';
  $('elsewhere').hidden = false;
  $('elsewhere').lastElementChild.textContent = `curl -${location.protocol === 'https:' ? 'k' : ''}N ${location.origin}/answers/${id}`;
  source = new EventSource('/answers/' + id);
  source.onmessage = (e) => append(JSON.parse(e.data));
  source.addEventListener('gap', () => append({ token: '[gap] ' })); // Redis was away
}

function append({ question, token, done }) {
  if (question) $('asked').textContent = question;
  if (token) $('reply').append(token);
  if (!done) return;
  source.close(); // else the browser would come back for more
  $('answering').dataset.state = 'done';
}
