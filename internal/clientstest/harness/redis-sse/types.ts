// What the types of caddy-redis-sse allow, and what they do not.
import { listen, type Gap, type StreamEvent } from 'caddy-redis-sse';

interface Progress { done: number }
interface Notice { text: string }

// Payloads by name of event.
const stream = listen<{ message: Progress; 'notice:all': Notice }>('/events', {
  parse: JSON.parse,
  on: {
    message: (progress) => progress.done.toFixed(2),
    'notice:all': (notice, event) => notice.text + event.type + event.id + event.data,
  },
  other(payload, event: StreamEvent) { const either: Progress | Notice = payload; return [either, event]; },
  gap(gap: Gap) { const missed: number | null = gap.missed; return missed; },
  fresh() {},
  open(response) { response.headers.get('x'); },
  lost(wait, why) { if (why instanceof Response) wait.toFixed(why.status); },
  denied(response) { location.assign(response.url || '/login'); },
  end() {},
});
stream.close();

// Text, whatever the events are called.
listen('/events', { on: { message: (text) => text.trim(), 'job:1': (text) => text.trim() } });
listen<{ message: string; done: string }>(new URL('https://example.com/events'), { on: { done: (text) => text.trim() } });
listen('/events');

listen('/events', { store: true, init: { credentials: 'include' }, silence: 30_000, limit: 1e6, gapEvent: 'a', cursorEvent: 'b' });
listen('/events', {
  store: { getItem: () => null, setItem() {} },
  init: async () => ({ headers: { Authorization: 'Bearer ' + (await Promise.resolve('token')) } }),
});
listen('/events', { store: sessionStorage });

// @ts-expect-error a payload that is not text has to be parsed
listen<{ message: Progress }>('/events', { on: { message: (progress) => progress.done } });
// @ts-expect-error there is no such event
listen<{ message: Progress }>('/events', { parse: JSON.parse, on: { massage() {} } });
// @ts-expect-error its payload has no such key
listen<{ message: Progress }>('/events', { parse: JSON.parse, on: { message: (progress) => progress.dine } });
// @ts-expect-error without a type for it, a payload is text
listen('/events', { on: { message: (payload: number) => payload } });
// @ts-expect-error no such option
listen('/events', { refetch() {} });
// @ts-expect-error no such reason
listen('/events', { gap: (gap) => gap.reason === 'lost' });
