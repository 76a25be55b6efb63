// Opens a stream and reports all that its EventSource tells. What comes back after a loss is the browser's doing alone. The
// stream may be another origin's: ?site= names it.
const source = new EventSource(`${query.get('site') ?? ''}/streams/${query.get('channel')}?name=${name}`, {
  withCredentials: query.has('site'),
});
source.onopen = () => tell('open');
source.onerror = () => tell('error');
for (const type of ['message', 'cursor', 'gap']) source.addEventListener(type, received);
tell('hello');

function received(e) {
  tell(e.type, e.data, e.lastEventId);
}

function tell(type, data = '', id = '') {
  report({ type, data, id, state: source.readyState });
}
