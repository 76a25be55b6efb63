// Asks a site, perhaps of another origin, for what ?asks= lists, one after the other, and reports what a page gets to see of
// each answer.
async function run() {
  for (const ask of JSON.parse(query.get('asks'))) report({ type: 'answer', data: JSON.stringify(await answerTo(ask)) });
}

async function answerTo({ path, init, until }) {
  try {
    const response = await fetch(`${query.get('site')}${path}?name=${name}`, init);
    const { status, type, headers } = response;
    return { status, type, headers: Object.fromEntries(headers), body: await read(response, until) };
  } catch (err) {
    return { error: String(err) };
  }
}

// read reads all of a response, or, of a stream, up to a text.
async function read(response, until) {
  if (!until || !response.ok) return response.text();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes(until)) {
    const { value, done } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text;
}

run();
