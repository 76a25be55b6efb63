// What the npm package does by itself. Once it stops, nothing keeps node alive.
import { EventSource } from 'eventsource';

const source = new EventSource('http://localhost:8088/events');
source.onmessage = (e) => apply(e.data);
