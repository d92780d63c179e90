import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { readInTurns } from '../../src/chat/reading.js';
import { CONTINUATION, FIN, frame, handshake, PING, PONG, TEXT } from '../harness/ws-wire.js';

/** The smallest frames of 2 KiB from an earlier read, and of 2 KiB from a read of the same turn. */
const MOST_A_TURN = 700;

let http: Server;
let client: Socket;
let socket: WebSocket;

beforeEach(async () => {
  const server = new WebSocketServer({ noServer: true, autoPong: false });
  http = createServer();
  http.on('upgrade', (request, stream, head) => {
    server.handleUpgrade(request, stream, head, (opened) => {
      socket = opened;
      socket.on('error', () => undefined);
      readInTurns(socket);
      server.emit('connection', socket);
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  client = connect((http.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => undefined).resume();
  const opened = once(server, 'connection');
  client.write(handshake());
  await opened;
});
afterEach(() => {
  client.destroy();
  http.close();
});

/** Calls `onTurn` once a turn of the event loop, until the returned function is called. */
function watchTurns(onTurn: () => void): () => void {
  let immediate = setImmediate(function again() {
    onTurn();
    immediate = setImmediate(again);
  });
  return () => {
    clearImmediate(immediate);
  };
}

describe('the bytes of a socket', () => {
  it.each([
    ['pongs', FIN | PONG, 'pong'],
    ['pings', FIN | PING, 'ping'],
  ])(
    'are parsed a few a turn if they are %s, and none is left out',
    async (_what, first, event) => {
      const count = 50_000;
      let heard = 0;
      let inTurn = 0;
      let most = 0;
      socket.on(event, () => {
        heard += 1;
        inTurn += 1;
        most = Math.max(most, inTurn);
      });
      const stop = watchTurns(() => {
        inTurn = 0;
      });
      client.write(
        Buffer.concat([...Array<Buffer>(count).fill(frame('', { first })), frame('end')]),
      );
      await once(socket, 'message');
      stop();
      expect(heard).toBe(count);
      expect(most).toBeLessThan(MOST_A_TURN);
    },
  );

  it('are parsed a few a turn if they are fragments, and the message is whole', async () => {
    const count = 16_000;
    let turns = 0;
    const stop = watchTurns(() => {
      turns += 1;
    });
    client.write(
      Buffer.concat([
        frame('<', { first: TEXT }),
        ...Array.from({ length: count / 2 }, () => frame('', { first: CONTINUATION })),
        ...Array.from({ length: count / 2 - 2 }, (_, i) =>
          frame(String(i % 10), { first: CONTINUATION }),
        ),
        frame('>', { first: FIN | CONTINUATION }),
      ]),
    );
    const [data] = (await once(socket, 'message')) as [Buffer];
    stop();
    expect(data.toString()).toMatch(/^<\d+>$/);
    expect(data).toHaveLength(count / 2);
    expect(turns).toBeGreaterThan(count / MOST_A_TURN);
  });

  it('are parsed at once if they are messages', async () => {
    const heard: string[] = [];
    let turns = 0;
    const stop = watchTurns(() => {
      turns += 1;
    });
    const all = new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        if (heard.push(data.toString()) === 2_000) resolve();
      });
    });
    const words = Array.from({ length: 2_000 }, (_, i) => `message ${i} ${'.'.repeat(i % 300)}`);
    client.write(Buffer.concat(words.map((word) => frame(word))));
    await all;
    stop();
    expect(heard).toEqual(words);
    // 360 KB came in pieces of 64 KiB or less; in parts of 2 KiB they took 180 turns.
    expect(turns).toBeLessThan(100);
  });

  it('give the same frames however they are cut', async () => {
    const heard: string[] = [];
    for (const event of ['message', 'ping', 'pong']) {
      socket.on(event, (data: Buffer) => heard.push(`${event} ${data.toString()}`));
    }
    const frames: Buffer[] = [];
    const expected: string[] = [];
    for (let i = 0; i < 300; i += 1) {
      const text = `${i} `.repeat((i * 37) % 400);
      if (i % 3 === 0) {
        frames.push(frame(text));
        expected.push(`message ${text}`);
      } else if (i % 3 === 1) {
        frames.push(frame(`${i}`, { first: FIN | PING }), frame(`${i}`, { first: FIN | PONG }));
        expected.push(`ping ${i}`, `pong ${i}`);
      } else {
        frames.push(
          frame(text, { first: TEXT }),
          frame('between', { first: FIN | PONG }),
          frame('', { first: CONTINUATION }),
        );
        frames.push(frame(text, { first: FIN | CONTINUATION }));
        expected.push('pong between', `message ${text}${text}`);
      }
    }
    const bytes = Buffer.concat(frames);
    for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 5_000) {
      client.write(bytes.subarray(at, at + size));
    }
    client.write(frame('end'));
    await new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        if (data.toString() === 'end') resolve();
      });
    });
    expect(heard.slice(0, -1)).toEqual(expected);
  });

  it('are ignored after a close or an error', async () => {
    const heard: string[] = [];
    socket.on('message', (data: Buffer) => heard.push(data.toString()));
    client.write(
      Buffer.concat([
        frame('before'),
        // The opcode 3 is reserved.
        frame('', { first: FIN | 0x3 }),
        ...Array.from({ length: 5_000 }, () => frame('behind')),
      ]),
    );
    const [error] = (await once(socket, 'error')) as [Error];
    expect(error.message).toContain('opcode');
    client.destroy();
    await once(socket, 'close');
    expect(heard).toEqual(['before']);
  });
});
