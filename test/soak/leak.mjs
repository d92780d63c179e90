/*
 * Imported into a node to show that the soak can fail: each connection leaves a timer, which holds it, and 100 KB.
 */
import { subscribe } from 'node:diagnostics_channel';

subscribe('net.server.socket', ({ socket }) => {
  const held = { socket, bytes: Array.from({ length: 12_800 }, (_, index) => index + 0.5) };
  setInterval(() => held, 3_600_000);
});
