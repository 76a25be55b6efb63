// What fetch-event-source does by itself.
import { fetchEventSource } from '@microsoft/fetch-event-source';

fetchEventSource('/events', {
  headers: { Authorization: 'Bearer ' + token },
  onmessage: (e) => apply(e.data),
}).then(stopped, stopped);
