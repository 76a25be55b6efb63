// What client/redis-sse.js does at each answer, and when.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, page, play, redirect, settle } from './play.mjs';

const cursor = (id) => `event: cursor\nid: ${id}\ndata: {}\n\n`;
const message = (id, data) => `id: ${id}\ndata: ${data}\n\n`;

test('a stream without a cursor is fresh, one with a cursor is not', async (t) => {
  const first = answer();
  const second = answer();
  const p = await play(t, [first, second]);
  assert.deepEqual(p.names(), ['open', 'fresh']);
  first.played.write(cursor('a')).end();
  await settle();
  await p.pass(2000);
  assert.deepEqual(p.names(), ['open', 'fresh', 'lost', 'open']);
  assert.deepEqual(p.cursors(), [null, 'a']);
});

test('one that is lost before its first event is fresh again', async (t) => {
  const first = answer();
  const p = await play(t, [first, answer()]);
  first.played.write('event: cursor\nid: a\ndata: {}\n').fail();
  await settle();
  await p.pass(2000);
  assert.deepEqual(p.names(), ['open', 'fresh', 'lost', 'open', 'fresh']);
  assert.deepEqual(p.cursors(), [null, null]);
});

test('events go to the handlers of their names, others to other, cursors to nobody', async (t) => {
  const a = answer();
  const told = [];
  const on = Object.fromEntries(['message', 'notice:all'].map((name) => [name, (...args) => told.push([name, ...args])]));
  const p = await play(t, [a], { on, other: (...args) => told.push(['other', ...args]) });
  a.played.write(cursor('a'), message('b', 'one'), 'event: notice:all\nid: c\ndata: two\ndata: lines\n\n');
  a.played.write('event: toString\nid: d\ndata: 3\n\n', 'event: __proto__\nid: e\ndata: 4\n\n', cursor('f'));
  await settle();
  assert.deepEqual(told, [
    ['message', 'one', { type: 'message', data: 'one', id: 'b' }],
    ['notice:all', 'two\nlines', { type: 'notice:all', data: 'two\nlines', id: 'c' }],
    ['other', '3', { type: 'toString', data: '3', id: 'd' }],
    ['other', '4', { type: '__proto__', data: '4', id: 'e' }],
  ]);
  assert.deepEqual(p.names(), ['open', 'fresh']);
});

test('a gap is told as what it says', async (t) => {
  const a = answer();
  const gap = { channel: 'news', reason: 'evicted', after: null, missed: 3 };
  const p = await play(t, [a]);
  a.played.write(`event: gap\nid: a\ndata: ${JSON.stringify(gap)}\n\n`);
  await settle();
  assert.deepEqual(p.of('gap'), [[gap]]);
});

test('a gap that nothing is given for is an event as any: its handler is not ignored', async (t) => {
  const a = answer();
  const seen = [];
  await play(t, [a], { gap: undefined, on: { gap: (data) => seen.push(data) } });
  a.played.write('event: gap\nid: a\ndata: {}\n\n');
  await settle();
  assert.deepEqual(seen, ['{}']);
});

test('gaps and cursors may have other names', async (t) => {
  const a = answer();
  const p = await play(t, [a], { gapEvent: 'missing', cursorEvent: 'place' });
  a.played.write('event: place\nid: a\ndata: {}\n\n', 'event: missing\nid: b\ndata: {"missed":1}\n\n', 'event: gap\ndata: 1\n\n');
  await settle();
  assert.deepEqual(p.names(), ['open', 'fresh', 'gap', 'other']);
  assert.deepEqual(p.of('gap'), [[{ missed: 1 }]]);
});

test('payloads are what parse makes of them', async (t) => {
  const a = answer();
  const p = await play(t, [a], { parse: JSON.parse });
  a.played.write(message('a', '{"done":0.5}'));
  await settle();
  assert.deepEqual(p.of('message'), [[{ done: 0.5 }, { type: 'message', data: '{"done":0.5}', id: 'a' }]]);
});

test('what a handler throws at, or parse, is told and left behind', async (t) => {
  const errors = [];
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (err) => errors.push(err.constructor.name));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    for (const each of others) process.on('uncaughtException', each);
  });
  const first = answer();
  const got = [];
  const on = { message: (text) => { got.push(text); if (text === 1) throw new RangeError('poison'); } };
  const p = await play(t, [first, answer()], { parse: JSON.parse, on });
  first.played.write(message('a', '1') + message('b', 'no json') + message('c', '2')).fail();
  await settle();
  await p.pass(2000);
  assert.deepEqual(got, [1, 2]);
  assert.deepEqual(errors, ['RangeError', 'SyntaxError']);
  assert.deepEqual(p.cursors(), [null, 'c']);
});

test('the cursor is kept before the handler is called', async (t) => {
  const kept = new Map([['redis-sse http://localhost/events?x=1', 'old']]);
  const store = { getItem: (key) => kept.get(key), setItem: (key, value) => kept.set(key, value) };
  const a = answer();
  const at = [];
  const on = { message: (_, { id }) => at.push([id, ...kept.values()]) };
  const p = await play(t, [a], { store, on }, 'http://localhost/events?x=1');
  a.played.write(message('b', '1') + message('c', '2'));
  await settle();
  assert.deepEqual(p.cursors(), ['old']);
  assert.equal(p.requests[0].at.searchParams.get('x'), '1');
  assert.deepEqual(at, [['b', 'b'], ['c', 'c']]);
  assert.deepEqual(p.names(), ['open'], 'with a cursor it is not fresh');
});

test('a storage that is forbidden, or full, hurts nobody', async (t) => {
  const forbidden = () => { throw new Error('forbidden'); };
  const a = answer();
  const p = await play(t, [a, answer()], { store: { getItem: forbidden, setItem: forbidden } });
  a.played.write(message('a', '1')).end();
  await settle();
  await p.pass(2000);
  assert.deepEqual(p.names(), ['open', 'fresh', 'message', 'lost', 'open']);
  assert.deepEqual(p.cursors(), [null, 'a']);
});

test('true is the session storage, also where there is none', async (t) => {
  const a = answer();
  const p = await play(t, [a], { store: true });
  a.played.write(message('a', '1'));
  await settle();
  assert.deepEqual(p.of('message').length, 1);
});

test('attempts come later each time, and never later than in 45 s', async (t) => {
  const p = await play(t, []);
  for (const wait of [2000, 4000, 8000, 16000, 30000, 30000, 30000]) {
    assert.equal(p.of('lost').at(-1)[0], wait);
    const before = p.requests.length;
    await p.pass(wait - 1);
    assert.equal(p.requests.length, before, `no request before ${wait} ms`);
    await p.pass(1);
    assert.equal(p.requests.length, before + 1);
  }
  for (let n = 0; n < 2000; n++) await p.pass(30000); // 2 to the power of it is no number any more
  assert.equal(p.of('lost').at(-1)[0], 30000);
});

test('chance adds half of it at most', async (t) => {
  const p = await play(t, [], { chance: 0.999 });
  assert.equal(p.of('lost')[0][0], 2000 * (1 + 0.999 / 2));
});

test('a stream that was open is the end of the backoff', async (t) => {
  const a = answer();
  const p = await play(t, [undefined, undefined, a, undefined]);
  await p.pass(2000);
  await p.pass(4000);
  a.played.end();
  await settle();
  assert.deepEqual(p.of('lost').map(([wait]) => wait), [2000, 4000, 2000]);
});

test('what retry tells is the time from then on', async (t) => {
  const a = answer();
  const p = await play(t, [a]);
  a.played.write('retry: 40000\n', 'retry: 1e9\n', 'retry:\n', 'retry: -1\n').end();
  await settle();
  await p.pass(40000);
  assert.deepEqual(p.of('lost').map(([wait]) => wait), [40000, 40000]);
});

test('no retry has it come back without a pause, or makes a timer too long, which is over at once', async (t) => {
  const short = answer();
  const long = answer();
  const p = await play(t, [short, long]);
  short.played.write('retry: 0\n').end();
  await settle();
  await p.pass(100);
  long.played.write('retry: 99999999999999999999\n').end();
  await settle();
  assert.deepEqual(p.of('lost').map(([wait]) => wait), [100, 2 ** 31 - 1]);
});

test('Retry-After is waited for', async (t) => {
  const p = await play(t, ['20', '1', 'soon', '-5', '99999999999'].map((after) => answer(503, { 'Retry-After': after })));
  for (const wait of [20_000, 4000, 8000, 16_000]) await p.pass(wait);
  assert.deepEqual(p.of('lost').map(([wait]) => wait), [20_000, 4000, 8000, 16_000, 2 ** 31 - 1]);
});

test('Retry-After may be a date', async (t) => {
  const at = (ms) => answer(503, { 'Retry-After': new Date(Date.now() + ms).toUTCString() });
  const p = await play(t, [at(3_600_000), at(-3_600_000)]);
  await p.pass(3_600_000);
  const [[wait], [next]] = p.of('lost');
  assert.ok(wait > 3_000_000 && wait <= 3_600_000, `it waits ${wait} ms`);
  assert.equal(next, 4000);
});

test('after other answers it comes back, and tells which', async (t) => {
  const html = answer(200, { 'Content-Type': 'text/html' });
  const p = await play(t, [answer(502, {}), answer(400), answer(404, {}), answer(500, {}), html, answer(200, {}), answer()]);
  for (const wait of [2000, 4000, 8000, 16_000, 30_000, 30_000]) await p.pass(wait);
  assert.deepEqual(p.of('lost').map(([, why]) => why.status), [502, 400, 404, 500, 200, 200]);
  assert.deepEqual(p.names().slice(-2), ['open', 'fresh']);
  assert.equal(p.requests[5].init.signal.aborted, true, 'what is left of an answer is given up');
});

test('where it is denied it stays closed', async (t) => {
  for (const [n, denied] of [answer(401), answer(403), answer(302, { Location: '/login' }), answer(308), redirect()].entries()) {
    await t.test(`${n}`, async (t) => {
      const p = await play(t, [denied, answer()]);
      assert.equal(p.waits(), false);
      await p.pass(3_600_000);
      assert.deepEqual(p.told, [['denied', denied]]);
      assert.equal(p.requests.length, 1);
      assert.equal(p.requests[0].init.redirect, 'manual');
    });
  }
});

test('a 204 is the end, once, whatever came before', async (t) => {
  const a = answer();
  const p = await play(t, [a, answer(204), answer()]);
  a.played.write(message('a', '1') + message('b-e', '[DONE]')).end();
  await settle();
  await p.pass(3_600_000);
  assert.equal(p.waits(), false);
  await p.pass(3_600_000);
  assert.deepEqual(p.names(), ['open', 'fresh', 'message', 'message', 'lost', 'end']);
  assert.deepEqual(p.cursors(), [null, 'b-e']);
});

test('close ends all, also in the middle of a chunk', async (t) => {
  const a = answer();
  const kept = [];
  const got = [];
  const p = await play(t, [a, answer()], {
    store: { getItem: () => null, setItem: (_, value) => kept.push(value) },
    on: { message: (text) => { got.push(text); p.stream.close(); } },
  });
  a.played.write(message('a', '1') + message('b', '2'));
  await settle();
  assert.deepEqual([p.requests[0].init.signal.aborted, p.waits()], [true, false]);
  await p.pass(3_600_000);
  assert.deepEqual([got, kept], [['1'], ['a']]);
  assert.deepEqual(p.names(), ['open', 'fresh']);
  assert.equal(p.requests.length, 1);
  p.stream.close();
});

test('close while nothing is there, and while it waits', async (t) => {
  await t.test('before the answer', async (t) => {
    let come;
    const p = await play(t, [() => new Promise((answered) => { come = answered; })]);
    p.stream.close();
    come(answer());
    await settle();
    assert.deepEqual(p.told, []);
  });
  await t.test('in a wait', async (t) => {
    const p = await play(t, []);
    assert.equal(p.waits(), true);
    p.stream.close();
    await settle();
    assert.equal(p.waits(), false);
    await p.pass(3_600_000);
    assert.deepEqual([p.names(), p.requests.length], [['lost'], 1]);
  });
  await t.test('when it is told of a loss', async (t) => {
    let p; // is there at the second one
    p = await play(t, [], { lost: () => p?.stream.close() });
    await p.pass(2000);
    await p.pass(3_600_000);
    assert.equal(p.requests.length, 2);
  });
  await t.test('when it is told that it is open', async (t) => {
    let p;
    p = await play(t, [undefined, answer()], { open: () => p.stream.close() });
    await p.pass(2000);
    await p.pass(3_600_000);
    assert.deepEqual(p.names(), ['lost']);
    assert.equal(p.requests[1].init.signal.aborted, true);
  });
});

test('silence is a loss, a comment is not silence', async (t) => {
  const a = answer();
  const p = await play(t, [a, answer()]);
  for (let n = 0; n < 3; n++) {
    await p.pass(64_999);
    a.played.write(': still here\n');
    await settle();
  }
  assert.deepEqual(p.names(), ['open', 'fresh']);
  await p.pass(65_000);
  assert.deepEqual(p.names(), ['open', 'fresh', 'lost']);
  assert.equal(p.requests[0].init.signal.aborted, true);
});

test('an answer that does not come is a loss, too', async (t) => {
  const never = ({ signal }) => new Promise((_, failed) => signal.addEventListener('abort', () => failed(signal.reason)));
  const p = await play(t, [never]);
  await p.pass(65_000);
  assert.deepEqual(p.of('lost').map(([, why]) => why.message), ['silent for 65000 ms']);
});

test('silence may be endless', async (t) => {
  const p = await play(t, [answer()], { silence: Infinity });
  await p.pass(86_400_000);
  assert.deepEqual(p.names(), ['open', 'fresh']);
});

test('an event has an end, or is an error', async (t) => {
  for (const [name, chunk, times] of [
    ['a line', 'x'.repeat(1000), 11], ['lines', `data: ${'x'.repeat(994)}\n`, 11], ['blank data', 'data\n'.repeat(1000), 11],
  ]) {
    await t.test(name, async (t) => {
      const a = answer();
      const p = await play(t, [a], { limit: 10_000 });
      for (let n = 0; n < times; n++) a.played.write(chunk);
      await settle();
      assert.deepEqual(p.of('lost').map(([, why]) => why.message), ['an event has over 10000 characters']);
      assert.equal(p.requests[0].init.signal.aborted, true);
    });
  }
  await t.test('many small ones are none', async (t) => {
    const a = answer();
    const p = await play(t, [a], { limit: 1000 });
    a.played.write(message('a', 'x'.repeat(100)).repeat(1000));
    await settle();
    assert.deepEqual([p.of('message').length, p.of('lost').length], [1000, 0]);
  });
});

test('nothing is read before what was read has been handled', async (t) => {
  const a = answer();
  const taken = [];
  await play(t, [a], { on: { message: () => taken.push(a.played.taken) } });
  for (let n = 0; n < 5; n++) a.played.write(message(n, n));
  await settle();
  assert.deepEqual(taken, [1, 2, 3, 4, 5]);
});

test('what is asked for is as given, anew for each attempt', async (t) => {
  let n = 0;
  const init = async () => ({ method: 'POST', headers: { Authorization: `Bearer ${++n}` }, redirect: 'follow', signal: null });
  const p = await play(t, [answer(503, {}), answer()], { init });
  await p.pass(2000);
  assert.deepEqual(p.requests.map((r) => r.init.headers.Authorization), ['Bearer 1', 'Bearer 2']);
  for (const { init } of p.requests) {
    assert.deepEqual([init.method, init.redirect, init.cache], ['POST', 'manual', 'no-store']);
    assert.ok(init.signal instanceof AbortSignal, 'close must reach it');
  }
});

test('a token that cannot be had is a loss', async (t) => {
  const p = await play(t, [answer()], { init: () => { throw new Error('no token'); } });
  assert.deepEqual(p.of('lost').map(([, why]) => why.message), ['no token']);
});

test('a page in the back/forward cache has no stream, and goes on behind it', async (t) => {
  const dispatch = page(t);
  const a = answer();
  const p = await play(t, [a, answer()]);
  a.played.write(message('a', '1'));
  await settle();
  await dispatch('pagehide');
  assert.equal(p.requests[0].init.signal.aborted, true);
  await p.pass(86_400_000);
  assert.equal(p.requests.length, 1);
  await dispatch('pageshow');
  assert.deepEqual(p.cursors(), [null, 'a']);
  assert.deepEqual(p.names(), ['open', 'fresh', 'message', 'open'], 'that is no loss');
  p.stream.close();
  assert.equal(dispatch.listeners, 0);
  assert.equal(p.requests.length, 2);
});

test('it does not wait when the browser is online again', async (t) => {
  const dispatch = page(t);
  const p = await play(t, [undefined, answer()]);
  await dispatch('online');
  assert.deepEqual(p.names(), ['lost', 'open', 'fresh']);
});

test('a URL that is none is the caller\'s error', async (t) => {
  await assert.rejects(play(t, [], {}, 'http://'), TypeError);
});
