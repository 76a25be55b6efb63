import { Check } from './check.js';

const channels = ['chat:1', 'job:1'];
const awayFor = 5000;  // what "drop my connection" lasts
const rowsKept = 250;
const unknownQuestion = '… in the middle of an answer';
const $ = (id) => document.getElementById(id);

const checks = Object.fromEntries(channels.map((c) => [c, new Check()]));
let source;            // the EventSource
let lastId = '';       // where to go on; every event and every cursor moves it
let lostAt = 0;        // when the stream was lost, by the server's clock; 0 while it is open
let resumedAt = 0;     // what was published before that and arrives later was replayed
let replayed = 0;      // since resumedAt
let resumeNote;        // the row that counts them
let resumeText = '';
let clockOffset = 0;   // server's clock minus ours

const serverNow = () => Date.now() + clockOffset;

function connect() {
  // A new EventSource cannot set Last-Event-ID, so the id goes into the query. When the server or the network cuts the stream
  // instead, the browser reconnects by itself and does send the header.
  source = new EventSource('/events' + (lastId ? '?last_event_id=' + encodeURIComponent(lastId) : ''));
  setStatus('connecting');
  source.onopen = opened;
  source.onerror = failed;
  for (const channel of channels) source.addEventListener(channel, received);
  source.addEventListener('gap', gap);
  source.addEventListener('cursor', (e) => { lastId = e.lastEventId; });
}

function opened() {
  setStatus('open');
  if (!lostAt) return;
  resumedAt = serverNow();
  replayed = 0;
  resumeText = `back after ${((resumedAt - lostAt) / 1000).toFixed(1)} s with the last id`;
  resumeNote = note(resumeText);
  lostAt = 0;
}

function failed() {
  if (!lostAt) note('the stream ended; the browser comes back by itself');
  lostAt ||= serverNow();
  if (source.readyState === EventSource.CONNECTING) {
    setStatus('connecting');
    return;
  }
  // Any answer but 200 stops an EventSource for good: here, only that the demo itself is being restarted.
  setStatus('closed');
  setTimeout(connect, 2000);
}

function drop() {
  source.close();
  lostAt = serverNow();
  $('drop').disabled = true;
  note('you dropped the connection; the worker goes on publishing');
  const until = Date.now() + awayFor;
  const tick = setInterval(() => {
    const left = until - Date.now();
    setStatus('closed', left > 0 ? `closed, back in ${Math.ceil(left / 1000)} s` : '');
    if (left > 0) return;
    clearInterval(tick);
    $('drop').disabled = false;
    connect();
  }, 100);
}

async function restartRedis() {
  note('you stopped Redis; the worker goes on publishing, in vain');
  await press($('restart'), 'Redis is down …', '/demo/restart-redis', 'Redis is back');
}

async function reloadCaddy() {
  await press($('reload'), 'Reloading …', '/demo/reload-caddy', 'you reloaded Caddy; the old configuration ends its streams within 2 s');
}

// press asks the demo to do something to itself, and says how that went.
async function press(button, meanwhile, path, done) {
  const label = button.textContent;
  button.disabled = true;
  button.textContent = meanwhile;
  try {
    const answer = await fetch(path, { method: 'POST' });
    note(answer.ok ? done : (await answer.json()).error);
  } catch (err) {
    note(`asking for ${path}: ${err.message}`);
  }
  button.disabled = false;
  button.textContent = label;
}

async function publish(e) {
  e.preventDefault();
  const text = $('text').value;
  $('text').value = '';
  const answer = await fetch('/demo/publish?channel=chat:1', { method: 'POST', body: text }).catch((err) => err);
  if (!answer.ok) note('publishing by hand failed: Redis did not take it');
}

// received handles an event of a channel; the event's name is the channel.
function received(e) {
  lastId = e.lastEventId;
  const message = parse(e.data);
  if (!message) { // typed by hand
    row('hand', e.type, e.data, e.lastEventId, new Date());
    return;
  }
  const check = checks[e.type];
  const isReplay = resumedAt > 0 && message.t < resumedAt;
  const isDuplicate = message.run === check.run && message.n <= check.last;
  const hadGap = check.gapPending;
  const hole = check.see(message.run, message.n);

  const text = `#${message.n}  ` + describe(message);
  const li = row(isReplay ? 'replayed' : '', e.type, text, e.lastEventId, new Date(message.t));
  if (isReplay) {
    badge(li, 'replayed', 'published while you were away');
    resumeNote.textContent = `${resumeText}: ${++replayed} events replayed`;
  }
  if (isDuplicate) badge(li, 'duplicate');
  if (hole) badge(li, hadGap ? 'covered' : 'missing', `${hole} missing before this`, `${hole} missing`);
  if (e.type === 'chat:1') showToken(message); else showProgress(message);
  showChecks();
}

// gap is the server's word that something is missing at this place in the stream.
function gap(e) {
  lastId = e.lastEventId;
  const { channel, pattern, reason, missed } = JSON.parse(e.data);
  for (const c of channels) if (!channel || c === channel) checks[c].gap();
  const text = `lost here: ${missed === null ? '' : missed + ', '}${reason}`;
  badge(row('gap', channel ?? pattern, text, e.lastEventId, new Date(serverNow())), 'gap');
  if (channel === 'chat:1') {
    $('question').textContent = unknownQuestion; // what comes next may belong to another one
    $('answer').append(Object.assign(document.createElement('mark'), { textContent: 'gap' }), ' ');
  }
  showChecks();
}

function parse(data) {
  try {
    const message = JSON.parse(data);
    return Number.isInteger(message?.n) ? message : null;
  } catch {
    return null;
  }
}

const describe = (m) => m.question ?? m.token ?? `${m.progress} %`;

// An id is <ms>-<seq>-<epoch>-<anchor>. What moves is the time and the end of the number.
const shorten = (id) => id.replace(/^(\d+)-\d*(\d{4})-.*/, '$1-…$2');

function showToken(message) {
  if (message.question) {
    $('question').textContent = message.question;
    $('answer').textContent = '';
    return;
  }
  $('answer').append(message.token);
}

function showProgress(message) {
  $('bar').value = message.progress;
  $('percent').textContent = message.progress + ' %';
}

function showChecks() {
  $('checks').replaceChildren(...channels.map((channel) => {
    const c = checks[channel];
    const verdict = c.missing ? 'LOST SILENTLY' : c.duplicates ? 'came twice' : c.received ? 'nothing lost silently' : 'waiting';
    const text = `received ${c.received}, in order, ${c.missing} missing, ${c.duplicates} duplicates` +
      (c.gaps ? `; missing covered by ${c.gaps === 1 ? 'a gap' : `${c.gaps} gaps`}: ${c.covered}` : '');
    return element('div', c.ok ? 'check' : 'check bad',
      element('b', '', channel), element('span', 'verdict', verdict), element('p', '', text));
  }));
}

function setStatus(state, text) {
  $('pill').dataset.state = state;
  $('pill').textContent = text || state;
}

function row(kind, channel, text, id, time) {
  const li = element('li', kind,
    element('time', '', time.toLocaleTimeString([], { hour12: false }) + '.' + String(time.getMilliseconds()).padStart(3, '0')),
    element('span', 'channel ' + (channel ?? '').split(':')[0], channel),
    element('span', 'text', text),
    element('span', 'badges'),
    Object.assign(element('code', 'id', shorten(id)), { title: 'id: ' + id }));
  $('events').prepend(li);
  while ($('events').children.length > rowsKept) $('events').lastChild.remove();
  return li;
}

function badge(li, kind, title = '', text = kind) {
  li.querySelector('.badges').append(Object.assign(element('span', 'badge ' + kind, text), { title }));
}

function note(text) {
  const span = element('span', 'text', text);
  $('events').prepend(element('li', 'note', span));
  return span;
}

function element(tag, className, ...children) {
  const e = document.createElement(tag);
  e.className = className;
  e.append(...children);
  return e;
}

async function showState() {
  try {
    const state = await (await fetch('/demo/state')).json();
    clockOffset = state.now - Date.now();
    for (const key of ['published', 'unreceived', 'failed', 'redis']) $(key).textContent = state[key];
    $('restart').hidden = !state.embedded;
    showProtocol(state);
  } catch { /* the demo is being restarted; the pill says so */ }
  setTimeout(showState, 1000);
}

// The stream shares the page's connection settings; its own entry exists only after it has ended.
function showProtocol(state) {
  const entries = performance.getEntriesByType('resource').filter((e) => new URL(e.name).pathname === '/events');
  const protocol = [...entries.reverse(), ...performance.getEntriesByType('navigation')].map((e) => e.nextHopProtocol).find(Boolean);
  const names = { 'http/1.1': 'HTTP/1.1', h2: 'HTTP/2', h3: 'HTTP/3' };
  $('protocol').textContent = names[protocol] ?? protocol ?? 'HTTP';
  const other = location.protocol === 'http:' ? state.https : state.http;
  $('other').href = other;
  $('other').textContent = other.replace(/^(https?).*/, 'try it over $1');
}

async function showHow() {
  const k = location.protocol === 'https:' ? 'k' : '';
  $('curl').textContent =
    `curl -${k}N ${location.origin}/events\n` +
    `curl ${k && '-k '}-d hello '${location.origin}/demo/publish?channel=chat:1'`;
  $('caddyfile').textContent = await (await fetch('/demo/Caddyfile')).text();
}

$('drop').onclick = drop;
$('restart').onclick = restartRedis;
$('reload').onclick = reloadCaddy;
$('publish').onsubmit = publish;
$('question').textContent = unknownQuestion;
showChecks();
showHow();
await Promise.race([showState(), new Promise((r) => setTimeout(r, 500))]);
connect();
