// Measures the figures of docs/guides/llm-streaming.md: one answer, resumed through npm's resumable-stream and through the gateway, in
// the same run on the same Redis. It starts a redis-server, which has to be on PATH, and the caddy that it is given:
//
//   make build && cd internal/tools/resumable && npm ci && node compare.mjs ../../../caddy
//
// An answer is CHUNKS chunks, one each PACE ms. Who resumes comes when JOIN of them are out. What breaks does so when BREAK are out: the
// pub/sub connections, by CLIENT KILL TYPE pubsub, or Redis, which is killed and started again a second later.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { createClient } from 'redis';
import { createResumableStreamContext } from 'resumable-stream';

const CHUNKS = 200, PACE = 20, JOIN = 50, BREAK = 100, ROUNDS = 5;
const PATIENCE = 15_000; // ms until what has not come is an error
const chunk = (i) => JSON.stringify({ type: 'text-delta', id: '0', delta: `Token number ${i}, ` });
const event = (i) => `data: ${chunk(i)}\n\n`;
const GAP = '"data-gap"';
const ALL = text(Array.from({ length: CHUNKS }, (_, i) => event(i)).join(''));

// text joins the deltas of events.
function text(events) {
  return [...events.matchAll(/^data: (\{.*"text-delta".*\})$/gm)].map(([, json]) => JSON.parse(json).delta).join('');
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const [redisPort, sitePort] = [await freePort(), await freePort()];
const url = `redis://127.0.0.1:${redisPort}`;
const dir = mkdtempSync(join(tmpdir(), 'resumable-'));
const children = [];
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
process.on('exit', () => { children.forEach((child) => child.kill()); rmSync(dir, { recursive: true, force: true }); });

function start(program, ...args) {
  const child = spawn(program, args, { cwd: dir, stdio: 'ignore', env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir } });
  child.on('error', (err) => { throw err; });
  children.push(child);
  return child;
}

const startRedis = () => start('redis-server', '--port', String(redisPort), '--bind', '127.0.0.1', '--save', '');

const faults = {
  'pub/sub connections killed': () => admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']),
  'Redis restarted': async () => {
    redis.kill('SIGKILL');
    await once(redis, 'exit');
    setTimeout(1000).then(() => { redis = startRedis(); });
  },
};

async function until(what, done) {
  for (const end = Date.now() + PATIENCE; !await done();) {
    if (Date.now() > end) throw new Error(`waiting for ${what}`);
    await setTimeout(20);
  }
}

async function client() {
  const made = createClient({ url });
  made.on('error', () => {}); // it connects again by itself, which is what is measured
  return made.connect();
}

if (!process.argv[2]) throw new Error('which caddy? node compare.mjs ../../../caddy');
const caddy = resolve(process.argv[2]);
// What a library leaves to nobody would end this process, as it does by default.
process.on('unhandledRejection', (err) => console.log(`unhandled rejection: ${err.message}`));
let redis = startRedis();
const admin = await client();
writeFileSync(join(dir, 'Caddyfile'), `{
	admin off
	auto_https off
	default_bind 127.0.0.1
	redis_sse {
		redis ${url}
		keep answer:*
	}
}
http://localhost:${sitePort} {
	redis_sse /start/* answer:{path.1} {
		from start
		begin field type start
		end data [DONE]
		control comments
		gap_data \`{"type":"data-gap","data":{gap},"transient":true}\`
	}
	redis_sse /unfinished/* answer:{path.1} {
		from unfinished
		empty 204
		begin field type start
		end data [DONE]
		control comments
		gap_data \`{"type":"data-gap","data":{gap},"transient":true}\`
	}
}
`);

// counted returns how many PUBLISHes there are while something is done, without those with which the gateway watches Redis.
async function counted(what) {
  const monitor = await client();
  let n = 0;
  await monitor.monitor((line) => { if (/"publish"/i.test(line) && !line.includes('__redis_sse:')) n++; });
  await what();
  await admin.ping(); // seen after all of those
  await setTimeout(200);
  monitor.destroy();
  return n;
}

const connections = async () => (await admin.sendCommand(['CLIENT', 'LIST'])).trim().split('\n').length - 1; // without admin's

// read returns what a stream of strings or bytes has, up to its end or its first gap: there a page loads the answer from its app.
async function read(stream) {
  const decoder = new TextDecoder();
  let got = '';
  for await (const value of stream) {
    got += typeof value === 'string' ? value : decoder.decode(value, { stream: true });
    if (got.includes(GAP)) break;
  }
  return got;
}

// ours has a worker publish, and pages that ask the gateway.
function ours(worker) {
  const page = async (id, from) => {
    const response = await fetch(`http://localhost:${sitePort}/${from}/${id}`);
    return response.status === 204 ? null : read(response.body);
  };
  return {
    async produce(id, at) {
      const tell = (part) => worker.publish(`answer:${id}`, part).catch(() => {}); // while Redis is away: the gateway tells of that
      await tell('{"type":"start"}');
      for (let i = 0; i < CHUNKS; i++) {
        await at(i);
        await tell(chunk(i));
        await setTimeout(PACE);
      }
      await tell('[DONE]');
    },
    resume: (id) => page(id, 'start'),
    late: async (id) => ({ start: await page(id, 'start'), unfinished: await page(id, 'unfinished') }),
  };
}

// theirs has a process that makes the answer in a request, and another one in which it is resumed, with two connections each.
function theirs(first, second) {
  return {
    async produce(id, at) {
      let i = 0;
      const make = () => new ReadableStream({
        async pull(controller) {
          if (i === CHUNKS) return controller.close();
          await at(i);
          controller.enqueue(event(i++));
          await setTimeout(PACE);
        },
      });
      await read(await first.createNewResumableStream(id, make));
      await setTimeout(500); // for what is still under way
    },
    resume: async (id) => read(await second.resumeExistingStream(id)),
    late: (id) => second.resumeExistingStream(id),
  };
}

// run has an answer made, resumed by some, and perhaps a connection broken.
async function run(side, id, resumers, fault = () => {}) {
  const reading = [];
  const made = side.produce(id, async (i) => {
    if (i === JOIN) for (let n = 0; n < resumers; n++) reading.push(within(side.resume(id)).catch((err) => `error: ${err.message}`));
    if (i === BREAK) await fault();
  });
  await within(made).catch((err) => console.log(`${id}: the answer's own stream: ${err.message}`));
  return Promise.all(reading);
}

async function measure(name, side) {
  for (const resumers of [0, 1, 10]) {
    let got;
    const publishes = await counted(async () => { got = await run(side, `${name}-${resumers}`, resumers); });
    const whole = got.filter((events) => text(events) === ALL).length;
    console.log(`${name}: ${resumers} resume: ${publishes} PUBLISHes, ${whole} of them have all ${ALL.length} characters`);
  }
  console.log(`${name}: ${await connections()} connections to Redis`);
  console.log(`${name}: who comes when the answer is finished gets`, summary(await side.late(`${name}-10`)));
  for (const [what, fault] of Object.entries(faults)) {
    for (let n = 0; n < ROUNDS; n++) {
      const [got] = await run(side, `${name}-${what}-${n}`.replaceAll(/\W/g, '-'), 1, fault);
      console.log(`${name}: ${what}: ${text(got).length} of ${ALL.length} characters, then ${endOf(got)}`);
    }
  }
}

// within is an error if something has not come in time.
const within = (what) => Promise.race([what, setTimeout(PATIENCE, null, { ref: false }).then(() => { throw new Error('has not ended'); })]);

function endOf(got) {
  if (got.startsWith('error')) return got;
  return got.includes(GAP) ? 'a gap, at which a page loads the answer from its app' : 'the end, as of a whole answer';
}

function summary(late) {
  if (late === null) return 'null';
  const of = (events) => (events === null ? 204 : `${text(events).length} characters`);
  return `${of(late.start)} (from start), ${of(late.unfinished)} (from unfinished, empty 204)`;
}

const versionOf = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
console.log(`resumable-stream ${versionOf('resumable-stream')}, redis ${versionOf('redis')}, node ${process.version},`,
  /redis_version:\S+/.exec(await admin.info('server'))[0]);

const clients = await Promise.all(Array.from({ length: 4 }, client));
const context = (publisher, subscriber) => createResumableStreamContext({ waitUntil: () => {}, publisher, subscriber });
await measure('resumable-stream', theirs(context(clients[0], clients[1]), context(clients[2], clients[3])));
clients.forEach((made) => made.destroy());

start(caddy, 'run');
await until('the gateway', async () => (await fetch(`http://localhost:${sitePort}/unfinished/none`).catch(() => ({}))).status === 204);
await measure('gateway', ours(await client()));
process.exit();
