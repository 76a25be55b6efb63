// Runs sessions of the SDKs in Node, side by side: takes one a line on stdin, as JSON, and writes what each tells to stdout. Ends
// when stdin does.
import { createInterface } from 'node:readline';
import { EventSource } from 'eventsource';
import { clients as ai } from './ai.mjs';
import { clients as openai } from './openai.mjs';
import { clients as agents } from './agents.mjs';
import { eventSource } from './events.mjs';
import { Session, run, words } from './session.mjs';

const clients = { ...ai, ...openai, ...agents, 'npm eventsource': eventSource(EventSource) };

async function play({ name, client, joins, ...options }) {
  const tell = (kind, value) => process.stdout.write(JSON.stringify({ name, kind, value }) + '\n');
  try {
    let outcome = await run(clients[client], new Session({ ...options, tell }), joins);
    if (outcome.refreshed) {
      tell('refreshed');
      outcome = await run(clients[client], new Session({ ...options, refreshAt: 0, tell }), true);
    }
    tell('done', outcome);
  } catch (err) {
    tell('broken', words(err));
  }
}

// Some SDKs reject promises of their own that nobody can await, beside that which the app awaits.
process.on('unhandledRejection', (err) => console.error('unhandled:', err));

for await (const line of createInterface({ input: process.stdin })) play(JSON.parse(line));
process.exit();
