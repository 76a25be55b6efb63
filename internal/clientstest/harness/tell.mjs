// Gives a document's code what it calls, and tells what it does. Chunks are told because a client that has read the id of an event
// without its end is in a state of its own.
export function tell(report) {
  globalThis.apply = (text) => {
    report('apply', text);
    if (text === 'poison') throw new Error('applying what is not for this page');
  };
  globalThis.refetch = (gap) => report('refetch', JSON.stringify(gap));
  globalThis.token = 'secret';

  const { read } = ReadableStreamDefaultReader.prototype;
  ReadableStreamDefaultReader.prototype.read = async function () {
    const result = await read.call(this);
    if (result.value instanceof Uint8Array) report('read', new TextDecoder().decode(result.value));
    return result;
  };
}
