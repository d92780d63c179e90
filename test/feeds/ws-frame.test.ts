import fc from 'fast-check';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createHash } from 'node:crypto';
import { PING_FRAME, encodeFrame } from '../../src/feeds/ws-frame.js';

/** GUID of the handshake (RFC 6455 section 1.3). */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The texts that a WebSocket client reads from bytes after the handshake. */
async function readBy(bytes: Buffer, count: number): Promise<{ texts: string[]; pings: number }> {
  const server = createServer((stream) => {
    stream.once('data', (request: Buffer) => {
      const key = /sec-websocket-key: (\S+)/i.exec(request.toString())?.[1] ?? '';
      const accept = createHash('sha1')
        .update(key + GUID)
        .digest('base64');
      stream.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
          `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      stream.write(bytes);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = new WebSocket(`ws://127.0.0.1:${port}`);
  const read = { texts: [] as string[], pings: 0 };
  socket.on('ping', () => {
    read.pings += 1;
  });
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (data: Buffer) => {
      if (read.texts.push(data.toString()) === count) resolve();
    });
  });
  socket.terminate();
  server.close();
  return read;
}

describe('encodeFrame', () => {
  it('makes text frames of any length, which a client reads one after another', async () => {
    const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];
    const texts = lengths.map((length) => 'x'.repeat(length));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'binary' })), async (more) => {
        const all = [...texts, ...more.map((text) => text.toWellFormed())];
        const bytes = Buffer.concat([PING_FRAME, ...all.map(encodeFrame)]);
        expect(await readBy(bytes, all.length)).toEqual({ texts: all, pings: 1 });
      }),
      { numRuns: 20 },
    );
  });
});
