import { ask, showAnswer } from './answer.js';
import { Check } from './check.js';

const channels = ['chat:1', 'job:1'];
const awayFor = 5000;  // what "drop my connection" lasts
const quietFor = 3000; // without a word for so long, when a heartbeat comes every 2 s, something is late
const deadAfter = 5000; // and after so long the connection counts as dead
const rowsKept = 250;
const unknownQuestion = '… in the middle of an answer';
const $ = (id) => document.getElementById(id);

const checks = Object.fromEntries(channels.map((c) => [c, new Check()]));
let source;            // the EventSource
let lastId = '';       // where to go on; every event and every cursor moves it
let lostAt = 0;        // when the stream was lost, by the server's clock; 0 while it is open
let resumedAt = 0;     // what was published before that and arrives later was replayed
let replayed = 0;      // since resumedAt
let resumeNote;        // says how many
let resumeText = '';
let clockOffset = 0;   // server's clock minus ours
let run;               // of the demo: another one knows nothing of an answer of ours
let heardAt = 0;       // when the last event came, by our clock, or else when the stream was asked for

const serverNow = () => Date.now() + clockOffset;

function connect() {
  // A new EventSource cannot set Last-Event-ID, so the id goes into the query. When the server or the network cuts the stream
  // instead, the browser reconnects by itself and does send the header.
  source = new EventSource('/events' + (lastId ? '?last_event_id=' + encodeURIComponent(lastId) : ''));
  setStatus('connecting');
  heardAt = Date.now();
  source.onopen = opened;
  source.onerror = failed;
  for (const channel of channels) source.addEventListener(channel, received);
  source.addEventListener('gap', gap);
  source.addEventListener('cursor', heard); // the heartbeat
}

// heard is for every event: it moves the place to go on from, and shows that the connection lives.
function heard(e) {
  lastId = e.lastEventId;
  heardAt = Date.now();
}

// watch does what neither browser nor server can: to them a network that is lost looks like a server with nothing to say. But Caddy
// sends heartbeats, so silence means that the connection is dead.
function watch() {
  if (source.readyState === EventSource.CLOSED) return; // dropped, or waiting to connect
  const silence = Date.now() - heardAt;
  if (silence >= deadAfter) {
    if (!lostAt) note(`not a word for ${deadAfter / 1000} s, not even a heartbeat: the page gives the connection up and opens a new one`);
    lostAt ||= serverNow() - silence;
    source.close();
    connect();
  } else if (source.readyState === EventSource.OPEN) {
    const quiet = silence >= quietFor;
    setStatus(quiet ? 'connecting' : 'open', quiet ? 'no heartbeat' : '');
  }
}

function opened() {
  heardAt = Date.now();
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

async function loseNetwork() {
  note('you lost your network: nothing gets through for 10 s, and nobody is told');
  await press($('lose'), 'No network …', '/demo/lose-network', ''); // that it is back, the stream tells
}

async function reloadCaddy() {
  note('you reloaded Caddy; the old configuration ends its streams within 2 s');
  await press($('reload'), 'Reloading …', '/demo/reload-caddy', ''); // that it is done, the stream tells
}

// press asks the demo to do something to itself, and says how that went.
async function press(button, meanwhile, path, done) {
  const label = button.textContent;
  button.disabled = true;
  button.textContent = meanwhile;
  try {
    const answer = await fetch(path, { method: 'POST' });
    const said = answer.ok ? done : (await answer.json()).error;
    if (said) note(said);
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
  heard(e);
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
    resumeNote(`${resumeText}: ${++replayed} events replayed`);
  }
  if (isDuplicate) badge(li, 'duplicate');
  if (hole) badge(li, hadGap ? 'covered' : 'missing', `${hole} missing before this`, `${hole} missing`);
  if (e.type === 'chat:1') showToken(message); else showProgress(message);
  showChecks();
}

// gap is the server's word that something is missing at this place in the stream.
function gap(e) {
  heard(e);
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

// For the eye only, ids are opaque: the first eight characters of an id are the time, and then the end of a number moves.
const shorten = (id) => id.replace(/^(.{8}).{4}(.{4}).{12}$/, '$1…$2');

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
  const all = (key) => channels.reduce((sum, channel) => sum + checks[channel][key], 0);
  $('sum').textContent = `${all('missing')} missing, ${all('duplicates')} duplicates`;
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

// note says what happened, in the log and below the buttons, where it stays until the next one. It returns what changes its text.
function note(text) {
  const span = element('span', 'text', text);
  $('events').prepend(element('li', 'note', span));
  const news = element('span', '', text);
  $('news').firstElementChild.replaceWith(news);
  return (text) => { span.textContent = news.textContent = text; };
}

function element(tag, className, ...children) {
  const e = document.createElement(tag);
  e.className = className;
  e.append(...children);
  return e;
}

async function showState() {
  try {
    const asked = Date.now();
    const state = await (await fetch('/demo/state')).json();
    if (Date.now() - asked < 1000) clockOffset = state.now - Date.now(); // one that was long on its way says little of now
    for (const key of ['published', 'unreceived', 'failed', 'redis']) $(key).textContent = state[key];
    $('restart').hidden = !state.embedded;
    if (run !== state.run) showAnswer(run = state.run);
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
  $('caddyfile').textContent = await (await fetch('/demo/shown-config')).text();
}

$('drop').onclick = drop;
$('restart').onclick = restartRedis;
$('reload').onclick = reloadCaddy;
$('lose').onclick = loseNetwork;
$('ask').onclick = () => ask().catch((err) => note(`asking: ${err.message}`));
$('again').onclick = () => location.reload();
$('publish').onsubmit = publish;
$('question').textContent = unknownQuestion;
showChecks();
showHow();
await Promise.race([showState(), new Promise((r) => setTimeout(r, 500))]);
connect();
setInterval(watch, 250);
