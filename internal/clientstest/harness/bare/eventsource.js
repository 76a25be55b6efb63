// What an EventSource does by itself.
const source = new EventSource('/events');
source.onmessage = (e) => apply(e.data);
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) stopped();
};
