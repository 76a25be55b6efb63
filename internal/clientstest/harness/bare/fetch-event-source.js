// What fetch-event-source does by itself.
import { fetchEventSource } from '@microsoft/fetch-event-source';

fetchEventSource('/events', {
  headers: { Authorization: 'Bearer ' + token },
  onmessage: (e) => apply(JSON.parse(e.data)),
}).then(stopped, stopped);
