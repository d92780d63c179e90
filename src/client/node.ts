/** The client library in Node: as in a browser, with the WebSocket of `ws` if the platform has none (Node 20). */
import { WebSocket } from 'ws';
import { defaults } from './platform.js';

defaults.WebSocket ??= WebSocket;

export * from './index.js';
