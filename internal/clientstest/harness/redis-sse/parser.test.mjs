// What client/redis-sse.js reads of streams drawn at random and cut anywhere, beside the HTML standard's words and beside
// eventsource-parser. A failure names its seed: SEED=<n> node --test parser.test.mjs plays that one alone,
// STREAMS=<n> more of them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createParser } from 'eventsource-parser';
import { listen } from '../../../../client/redis-sse.js';

const streams = Number(process.env.STREAMS ?? 4000);

// Numbers by chance, the same ones for each seed (mulberry32).
function chance(seed) {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return Math.floor((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const bytes = (text) => [...new TextEncoder().encode(text)];
const ends = ['\n', '\r', '\r\n'].map(bytes);
const names = ['data', 'data', 'data', 'data', 'data', 'data', 'event', 'event', 'id', 'id', 'retry', '', 'Data', 'datas', 'data ', ' data', 'x'].map(bytes);
const separators = [':', ': ', ': ', ':  ', '', ' :', '::'].map(bytes);
const values = [
  ...['', 'a', 'news', 'message', 'cursor', '7', '1500', '0', '1.5', '-2', '0x9', '٣', 'a:b', ' a ', 'a\0b', '\0'],
  ...['grüße', '世界', '🎉', '\u2028', '\u0085', '\ufeff', '\v', '\f', '{"a":[1]}'],
].map(bytes);
const broken = [[0xff], [0xe2, 0x82], [0xf0, 0x9f], [0xc0, 0x80], [0xed, 0xa0, 0x80]]; // not UTF-8
const mark = [0xef, 0xbb, 0xbf];

function draw(random) {
  const one = (list) => list[random(list.length)];
  const all = [];
  for (let marks = one([0, 0, 0, 1, 1, 2]); marks > 0; marks--) all.push(...mark);
  const same = random(2) ? one(ends) : null; // one kind of line end, or all mixed
  for (let lines = random(40); lines > 0; lines--) {
    if (random(3)) {
      all.push(...one(names), ...one(separators));
      for (let n = random(3); n > 0; n--) all.push(...(random(12) ? one(values) : one(broken)));
    }
    all.push(...(same ?? one(ends)));
  }
  if (!random(3)) all.push(...one(names), ...one(values)); // a line without an end
  return Uint8Array.from(all);
}

function cut(all, random) {
  const chunks = [];
  const most = 1 + random(12);
  for (let at = 0; at < all.length;) {
    const size = random(most + 1);
    chunks.push(all.slice(at, at + size)); // also empty ones
    at += size;
  }
  return chunks;
}

// "Parsing an event stream" and "Interpreting an event stream", word for word, of a whole stream.
function standard(all) {
  let text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(all);
  if (text[0] === '\ufeff') text = text.slice(1);
  const events = [];
  let [data, type, id, last, retry] = ['', '', '', '', 2000];
  while (text) {
    const end = /\r\n|\n|\r/.exec(text);
    if (!end) break; // "Once the end of the file is reached, any pending data must be discarded."
    const line = text.slice(0, end.index);
    text = text.slice(end.index + end[0].length);
    if (line === '') {
      last = id;
      if (data !== '') {
        if (data.endsWith('\n')) data = data.slice(0, -1);
        events.push({ type: type || 'message', data, id: last });
      }
      data = type = '';
      continue;
    }
    if (line.startsWith(':')) continue;
    let [field, value] = [line, ''];
    if (line.includes(':')) {
      field = line.slice(0, line.indexOf(':'));
      value = line.slice(line.indexOf(':') + 1);
      if (value.startsWith(' ')) value = value.slice(1);
    }
    if (field === 'event') type = value;
    if (field === 'data') data += `${value}\n`;
    if (field === 'id' && !value.includes('\0')) id = value;
    if (field === 'retry' && value && [...value].every((digit) => digit >= '0' && digit <= '9')) retry = Number(value);
  }
  return { events, last, retry };
}

function parser(all) {
  const events = [];
  let retry = 2000;
  const p = createParser({
    onEvent: ({ event, data }) => events.push({ type: event ?? 'message', data }),
    onRetry: (ms) => { retry = ms; },
  });
  const text = new TextDecoder().decode(all); // it leaves the byte order mark to others
  p.feed(text);
  if (text.endsWith('\r')) p.feed('\n'); // it waits for that, and the stream may end
  return { events, retry };
}

async function client(chunks) {
  globalThis.fetch = async () => {
    const body = new ReadableStream({
      pull: (controller) => (chunks.length ? controller.enqueue(chunks.shift()) : controller.close()),
    });
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
  };
  const events = [];
  let last = '';
  const wait = await new Promise((done) => {
    const stream = listen('http://localhost/events', {
      other: (_, { type, data, id }) => events.push({ type, data, id }),
      store: { getItem: () => null, setItem: (_, id) => { last = id; } },
      gap: undefined,
      cursorEvent: '\n', // which no event can have
      lost: (ms, why) => { stream.close(); done(why ?? ms); },
    });
  });
  return { events, last, wait };
}

test('a stream is read as the standard says, wherever it is cut', async (t) => {
  t.mock.method(Math, 'random', () => 0);
  const { fetch } = globalThis;
  t.after(() => { globalThis.fetch = fetch; });
  const only = process.env.SEED;
  let seen = 0;
  for (let seed = Number(only ?? 0); seed < (only ? Number(only) + 1 : streams); seed++) {
    const random = chance(seed);
    const all = draw(random);
    const want = standard(all);
    const got = await client(cut(all, random));
    const told = `seed ${seed}: ${JSON.stringify(new TextDecoder().decode(all))}`;
    assert.deepEqual(got.events, want.events, told);
    assert.equal(got.last, want.last, told);
    assert.equal(got.wait, Math.max(want.retry, 100), told);
    const other = parser(all);
    assert.deepEqual(got.events.map(({ type, data }) => ({ type, data })), other.events, `eventsource-parser, ${told}`);
    assert.equal(got.wait, Math.max(other.retry, 100), `eventsource-parser, ${told}`);
    seen += got.events.length;
  }
  assert.ok(only || seen > streams, `there were ${seen} events in ${streams} streams`);
});

test('a long line takes time in proportion', async () => {
  const chunks = Array.from({ length: 20_000 }, () => new Uint8Array(100).fill(0x78)); // 2 MB
  const got = await client([...bytes('data: ')].map((b) => Uint8Array.of(b)).concat(chunks, [Uint8Array.of(10, 10)]));
  assert.equal(got.events[0].data.length, 2_000_000);
});
