// OpenAI's SDK: the documented loop over chat completions, and responses.stream(). A page would talk to its own site as baseURL.
import OpenAI6 from 'openai6';
import OpenAI7 from 'openai7';

const sdkOf = (OpenAI, session) => new OpenAI({
  baseURL: `${session.base}/v1`, apiKey: 'none', fetch: session.fetch, defaultHeaders: session.headers,
});

// Chat completions know no resumption: who comes back asks again, and the app knows that the answer is in the works.
function completions(OpenAI) {
  async function start(session) {
    const stream = await sdkOf(OpenAI, session).chat.completions.create(
      { model: 'm', messages: [{ role: 'user', content: 'why?' }], stream: true }, { signal: session.abort.signal },
    );
    let text = '';
    let status = 'none';
    for await (const chunk of stream) {
      text += chunk.choices[0].delta.content ?? '';
      status = chunk.choices[0].finish_reason ?? status;
      session.show(text);
    }
    return { status };
  }
  return { start, join: start };
}

function responses(OpenAI) {
  async function read(session, stream) {
    let status = 'none';
    for await (const event of stream) {
      session.seen = event.sequence_number;
      if (event.type === 'response.output_text.delta') session.show(session.text + event.delta);
      if (event.type === 'error') throw new Error(event.message); // the SDK hands it over as any event
      if (event.response) status = event.response.status;
    }
    return { status };
  }
  return {
    start: (session) => read(session, sdkOf(OpenAI, session).responses.stream(
      { model: 'm', input: 'why?', background: true }, { signal: session.abort.signal },
    )),
    join: (session) => read(session, sdkOf(OpenAI, session).responses.stream(
      { response_id: session.answer, starting_after: session.seen ?? null }, { signal: session.abort.signal },
    )),
  };
}

export const clients = {
  'openai 6, chat completions': completions(OpenAI6),
  'openai 7, chat completions': completions(OpenAI7),
  'openai 6, Responses': responses(OpenAI6),
  'openai 7, Responses': responses(OpenAI7),
};
