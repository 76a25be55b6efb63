// Anthropic's messages, AG-UI and LangGraph.
import Anthropic from '@anthropic-ai/sdk';
import { HttpAgent } from '@ag-ui/client';
import { Client } from '@langchain/langgraph-sdk';

// Who comes back asks again.
async function anthropic(session) {
  const sdk = new Anthropic({ baseURL: session.base, apiKey: 'none', fetch: session.fetch, defaultHeaders: session.headers });
  const stream = sdk.messages.stream(
    { model: 'm', max_tokens: 1000, messages: [{ role: 'user', content: 'why?' }] }, { signal: session.abort.signal },
  );
  stream.on('text', (_, all) => session.show(all));
  const message = await stream.finalMessage();
  return { status: message.stop_reason };
}

// Who comes back runs the agent again, with the same run id.
async function agui(session) {
  const agent = new HttpAgent({
    url: `${session.base}/agui`, headers: session.headers, threadId: session.answer, fetch: session.fetch,
  });
  session.abort.signal.addEventListener('abort', () => agent.abortRun());
  let status = 'none';
  let failed;
  await agent.runAgent({ runId: session.answer }, {
    onTextMessageContentEvent: ({ event, textMessageBuffer }) => session.show(textMessageBuffer + event.delta),
    onCustomEvent: ({ event }) => { if (event.name === 'gap') session.gap('onCustomEvent: gap'); },
    onRunFinishedEvent: () => { status = 'finished'; },
    onRunErrorEvent: ({ event }) => { failed = event.message; }, // which rejects nothing
  });
  if (failed) throw new Error(failed);
  return { status };
}

// It comes back by itself, to the response's Location.
const langgraph = {
  start: (session) => read(session, (sdk) => sdk.runs.stream(session.answer, 'agent', {
    input: {}, streamMode: 'messages', streamResumable: true, signal: session.abort.signal,
  })),
  join: (session) => read(session, (sdk) => sdk.runs.joinStream(session.answer, session.answer, { signal: session.abort.signal })),
};

async function read(session, stream) {
  const sdk = new Client({
    apiUrl: session.base, apiKey: null, defaultHeaders: session.headers, callerOptions: { fetch: session.fetch, maxRetries: 0 },
  });
  let status = 'none';
  let text = '';
  for await (const part of stream(sdk)) {
    if (part.event === 'messages') session.show(text += part.data[0].content);
    if (part.event === 'error') throw new Error(part.data.message); // handed over as any event
    if (part.event === 'end') status = 'end';
  }
  return { status };
}

export const clients = {
  '@anthropic-ai/sdk': { start: anthropic, join: anthropic },
  '@ag-ui/client': { start: agui, join: agui },
  '@langchain/langgraph-sdk': langgraph,
};
