import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { CLOSE, FIN, frame, PING, WsWire } from '../harness/ws-wire.js';

let world: ChatWorld;
let node: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start({ AUTH_TIMEOUT_MS: '500' });
});
afterAll(() => world.close());

describe('a socket that is closed', () => {
  it.concurrent.each([
    ['by the server, on quit', frame('{"type":"quit"}')],
    ['by the server, on no JSON', frame('no')],
    ['by the server, on the third refusal', Buffer.concat(Array(3).fill(frame('{}')))],
    ['by the server, without a token in time', Buffer.alloc(0)],
    ['by ws, on an invalid frame', Buffer.from([0xff, 0xff])],
    ['by ws, on a frame that is too large', Buffer.from([0x81, 0xff, 0, 0, 0, 0, 9, 0, 0, 0])],
    ['by the client', frame('', { first: FIN | CLOSE })],
  ])('%s is cut off 2 s later if the client leaves its side open', async (_what, bytes) => {
    const wire = await WsWire.open(node);
    const startedAt = performance.now();
    wire.write(bytes);
    await wire.rest();
    // The patience of ws is 30 s.
    expect(performance.now() - startedAt).toBeLessThan(25_000);
    wire.destroy();
  });
});

describe('a ping', () => {
  let patient: TestNode;

  beforeAll(async () => {
    patient = await world.start();
  });

  it('is answered with its payload, after earlier answers', async () => {
    const client = await ChatClient.open(patient.chatUrl);
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

  it('is answered once, with the last payload, if many arrive together', async () => {
    const wire = await WsWire.open(patient);
    const pings = Array.from({ length: 200 }, (_, i) => frame(String(i), { first: FIN | PING }));
    wire.write(...pings, frame('{"type":"quit"}'));
    const heard = await wire.rest();
    expect(heard).toContain('\x03199');
    expect(heard.match(/\x8a/g)?.length ?? 0).toBeLessThan(20);
  });
});
