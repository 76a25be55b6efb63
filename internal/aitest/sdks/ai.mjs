// The AI SDK without a framework: Chat over a DefaultChatTransport. Its useChat is in page/page.mjs.
import * as ai5 from 'ai5';
import * as ai6 from 'ai6';
import * as ai7 from 'ai7';
import { onData, textOf } from './ui.mjs';

// State is what a framework keeps for a chat.
class State {
  status = 'ready';
  error = undefined;
  #messages = [];
  constructor(changed) { this.changed = changed; }
  get messages() { return this.#messages; }
  set messages(messages) { this.#messages = messages; this.changed(); }
  pushMessage = (message) => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (at, message) => { this.messages = this.messages.with(at, message); };
  snapshot = (value) => structuredClone(value);
}

function chatOf({ AbstractChat, DefaultChatTransport }, session) {
  class Chat extends AbstractChat {
    constructor(init) { super({ ...init, state: new State(() => session.show(textOf(this.messages))) }); }
  }
  const transport = new DefaultChatTransport({ api: `${session.base}/api/chat`, fetch: session.fetch, headers: session.headers });
  const chat = new Chat({ id: session.answer, transport, onData: onData(session) });
  session.abort.signal.addEventListener('abort', () => chat.stop());
  return chat;
}

// settled is what an app sees once the SDK has done with a request, which rejects nothing. That a resumption has found nothing it only
// sees by the response.
function settled({ chat, nothing }) {
  if (chat.status === 'error') throw chat.error;
  return { status: nothing ? 'nothing' : chat.status };
}

const client = (sdk) => ({
  async start(session) {
    session.chat = chatOf(sdk, session);
    await session.chat.sendMessage({ text: 'why?' });
    return settled(session);
  },
  async join(session) {
    session.chat ??= chatOf(sdk, session);
    await session.chat.resumeStream();
    return settled(session);
  },
});

export const clients = { 'ai 5': client(ai5), 'ai 6': client(ai6), 'ai 7': client(ai7) };
