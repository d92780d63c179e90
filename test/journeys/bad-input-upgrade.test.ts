import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { eve, json, SocketLab } from '../harness/socket-lab.js';
import { CLOSE, frame, handshake, TEXT, WsWire } from '../harness/ws-wire.js';

let lab: SocketLab;

beforeAll(async () => {
  lab = await SocketLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('an upgrade', () => {
  it.each([
    '/',
    '/chat/x',
    '/chat//',
    '/CHAT',
    '/chats',
    '/rooms',
    '/healthz',
    '/%63hat',
    '/chat%00',
    '/../chat',
    '*',
    '/?/chat',
    `/${'a'.repeat(8_000)}`,
  ])('at another path is 404 in the envelope: %s', async (path) => {
    const wire = await WsWire.dial(lab.node);
    wire.write(handshake({ path }));
    const heard = await wire.rest();
    expect(heard).toMatch(/^HTTP\/1\.1 404 /);
    expect(JSON.parse(heard.slice(heard.indexOf('\r\n\r\n') + 4))).toEqual({
      meta: expect.objectContaining({ code: 404, reason: 'NOT_FOUND' }) as object,
      content: {},
    });
    wire.destroy();
  });

  it.each([
    ['no key', { headers: { 'Sec-WebSocket-Key': '' } }],
    ['an invalid key', { headers: { 'Sec-WebSocket-Key': 'x' } }],
    ['no version', { headers: { 'Sec-WebSocket-Version': '' } }],
    ['version 0', { headers: { 'Sec-WebSocket-Version': '0' } }],
    ['version garbage', { headers: { 'Sec-WebSocket-Version': '13abc' } }],
    ['an invalid subprotocol', { headers: { 'Sec-WebSocket-Protocol': '@,,' } }],
    ['another method', { method: 'POST', headers: { 'Content-Length': '0' } }],
  ])('with %s is refused with 4xx, and the connection ends', async (_what, wrong) => {
    const wire = await WsWire.dial(lab.node);
    wire.write(handshake(wrong));
    expect(await wire.rest()).toMatch(/^HTTP\/1\.1 4\d\d /);
    wire.destroy();
  });

  it.each([
    ['a query', { path: '/chat?room=1&__proto__=2&%zz' }],
    ['a slash at the end', { path: '/chat/' }],
    ['garbage for extensions', { headers: { 'Sec-WebSocket-Extensions': 'garbage; a=b, c' } }],
    ['compression', { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } }],
    ['garbage for authorization', { headers: { Authorization: 'Basic eHg6eHg=' } }],
    ['garbage for an origin', { headers: { Origin: 'null' } }],
    ['garbage for cookies', { headers: { Cookie: '=;;=\u00ff' } }],
  ])('with %s is accepted', async (_what, given) => {
    const wire = await WsWire.dial(lab.node);
    wire.write(handshake(given));
    const { status, headers } = await wire.answer();
    expect(status).toBe(101);
    expect(headers).not.toHaveProperty('sec-websocket-extensions');
    expect(await wire.words(1)).toEqual(['START?']);
    wire.destroy();
  });

  it('without the headers of an upgrade is 426 in the envelope', async () => {
    const answer = await request(lab.node, 'GET', '/chat');
    expect(answer).toMatchObject({ status: 426, meta: { reason: 'UPGRADE_REQUIRED' } });
    expect(answer.headers.get('Upgrade')).toBe('websocket');
  });

  it('that never ends keeps no other client out, and the server not running', async () => {
    const other = await lab.world.start({ SHUTDOWN_TIMEOUT_MS: '2000' });
    const part = handshake();
    const wires = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const wire = await WsWire.dial(other);
        wire.write(part.slice(0, (i * 7) % (part.length - 2)));
        return wire;
      }),
    );
    const client = await ChatClient.enter(other, eve, lab.room);
    await client.barrier();
    await client.close();
    await expect(withinPatience(other.close())).resolves.toBeUndefined();
    for (const wire of wires) wire.destroy();
  });

  it('that is refused leaves no connection behind, even if the client keeps its side open', async () => {
    const other = await lab.world.start();
    const wires = await Promise.all(
      [{ path: '/nowhere' }, { headers: { 'Sec-WebSocket-Key': '' } }].map(async (wrong) => {
        const wire = await WsWire.dial(other);
        wire.write(handshake(wrong));
        await wire.rest();
        return wire;
      }),
    );
    try {
      // The node closes when its last connection has ended.
      await expect(withinPatience(other.close())).resolves.toBeUndefined();
    } finally {
      for (const wire of wires) wire.destroy();
    }
  });

  it('that is accepted leaves no connection behind, even if the client does not answer a close frame', async () => {
    const other = await lab.world.start({ AUTH_TIMEOUT_MS: '300' });
    const wires = await Promise.all(Array.from({ length: 3 }, () => WsWire.open(other)));
    wires[0]?.write(json({ type: 'quit' }));
    wires[1]?.write(frame('{}', { masked: false }));
    for (const wire of wires) {
      // Each gets a close frame; none answers it.
      for (let next = await wire.next(); next?.opcode !== CLOSE; next = await wire.next()) {
        expect(next?.opcode).toBe(TEXT);
      }
    }
    try {
      await expect(withinPatience(other.close())).resolves.toBeUndefined();
    } finally {
      for (const wire of wires) wire.destroy();
    }
  });
});

async function withinPatience(done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('the server did not close'));
    }, PATIENCE_MS);
  });
  await Promise.race([done, late]);
  clearTimeout(timer);
}
