import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { HttpWire } from '../harness/http-wire.js';
import type { TestNode } from '../harness/node.js';

const HANDSHAKE =
  'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ AUTH_TIMEOUT_MS: '500' });
});
afterAll(() => world.close());

/** A frame of up to 125 bytes, masked with zeros. */
function frame(first: number, payload = ''): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([Buffer.from([first, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]);
}

describe('a socket that is closed', () => {
  it.each([
    ['by the server, on quit', frame(0x81, '{"type":"quit"}')],
    ['by the server, on no JSON', frame(0x81, 'no')],
    ['by the server, on the third refusal', Buffer.concat(Array(3).fill(frame(0x81, '{}')))],
    ['by the server, without a token in time', Buffer.alloc(0)],
    ['by ws, on a frame that is none', Buffer.from([0xff, 0xff])],
    ['by ws, on a frame that is too large', Buffer.from([0x81, 0xff, 0, 0, 0, 0, 9, 0, 0, 0])],
    ['by the client', frame(0x88)],
  ])('%s is cut 2 s later where the client leaves its side open', async (_what, bytes) => {
    const wire = await HttpWire.dial(node);
    wire.write(HANDSHAKE);
    expect((await wire.answer()).status).toBe(101);
    const startedAt = performance.now();
    wire.write(bytes);
    await wire.rest();
    // The patience of ws is 30 s.
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    wire.destroy();
  });
});

describe('a ping', () => {
  it('is answered with its payload, behind what was answered before it', async () => {
    const client = await ChatClient.open(node.chatUrl);
    const heard: string[] = [];
    client.socket.on('message', (data: Buffer) => heard.push(String(data)));
    const pong = new Promise<string>((resolve) => {
      client.socket.on('pong', (data) => {
        resolve(data.toString());
      });
    });
    await client.expect('START?');
    client.send({});
    client.socket.ping('still there?');
    expect(await pong).toBe('still there?');
    expect(heard.at(-1)).toContain('TOKEN?');
    client.terminate();
  });

  it('is answered once of many that came together, with the last payload', async () => {
    const wire = await HttpWire.dial(node);
    wire.write(HANDSHAKE);
    await wire.answer();
    const pings = Array.from({ length: 200 }, (_, i) => frame(0x89, String(i)));
    wire.write(...pings, frame(0x81, '{"type":"quit"}'));
    const heard = await wire.rest();
    expect(heard).toContain('\x03199');
    expect(heard.match(/\x8a/g)?.length ?? 0).toBeLessThan(20);
  });
});
