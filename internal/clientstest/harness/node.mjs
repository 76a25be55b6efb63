import { writeSync } from 'node:fs';
import { tell } from './tell.mjs';

tell((kind, data) => writeSync(1, JSON.stringify({ kind, data }) + '\n'));
