import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ChatClient } from '../harness/chat-client.js';
import type { TestNode } from '../harness/node.js';
import { eve, json, SocketLab, token } from '../harness/socket-lab.js';
import { secondsFromNow, sign } from '../harness/tokens.js';
import { FIN, frame, PING, TEXT, WsWire } from '../harness/ws-wire.js';

let lab: SocketLab;

beforeAll(async () => {
  lab = await SocketLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('a token', () => {
  const bad = (): unknown[] => [
    '',
    'token',
    eve.token.slice(0, -10),
    eve.token.split('.').slice(0, 2).join('.'),
    `Bearer ${eve.token}`,
    ` ${eve.token}`,
    `${eve.token}\0`,
    '\0',
    '\ud800',
    sign({ ...eve, exp: secondsFromNow(-60) }),
    sign({ ...eve, exp: secondsFromNow(60) }, 'another secret'),
    sign({ ...eve, userUUID: 'eve' }),
    sign({}),
    'a'.repeat(8_000),
    undefined,
    null,
    1,
    true,
    [eve.token],
    { token: eve.token },
    { toString: eve.token },
  ];

  it('that is bad is BADAUTH with a reason, and may be followed by a good one', async () => {
    for (const content of bad()) {
      const client = await lab.clientIn('greeting');
      client.send({ type: 'token', content });
      const [refused] = await client.expect('BADAUTH');
      expect(refused).toMatchObject({ type: 'status', reason: expect.any(String) as string });
      client.send({ type: 'token', content: eve.token });
      await client.expect('READY');
      await client.close();
    }
  });

  it.each([
    ['three bad tokens', ['token', 'token', 'token']],
    ['three commands', ['select_room', 'message', 'nonsense']],
    ['tokens and commands', ['token', 'nonsense', 'token']],
  ])('is asked for twice; at the third refusal the socket closes: %s', async (_what, types) => {
    const client = await lab.clientIn('greeting');
    for (const type of types) client.send({ type, content: 'x', room_id: lab.room });
    // Too late: the session is closed.
    client.send({ type: 'token', content: eve.token });
    await client.expect(...types.map((type) => (type === 'token' ? 'BADAUTH' : 'TOKEN?')));
    expect(await client.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    expect(client.unread('status')).toEqual([]);
  });

  it('that is bad in the upgrade counts as a refusal', async () => {
    const client = await ChatClient.open(lab.node.chatUrl, {
      headers: { authorization: 'Bearer x' },
    });
    client.send({ type: 'nonsense' });
    client.send({ type: 'token', content: 'x' });
    await client.expect('START?', 'BADAUTH', 'TOKEN?', 'BADAUTH');
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('that is bad after READY is BADAUTH, changes nothing, and never closes', async () => {
    const client = await lab.clientIn('room');
    const contents = bad();
    for (const content of contents) client.send({ type: 'token', content });
    await client.expect(...contents.map(() => 'BADAUTH'));
    client.say('still me');
    expect((await client.take(1))[0]?.data).toMatchObject({ emitter: eve.userUUID });
    await client.close();
  });

  it('that expires closes with 4401, in a room as well as outside', async () => {
    // Accepted within the leeway of five seconds, of which two to three are left: enough for the
    // sockets to open on a busy machine.
    const expiring = sign({ ...eve, exp: secondsFromNow(-2) });
    const sockets = await Promise.all(
      [[], [{ type: 'select_room', room_id: lab.room }]].map(async (commands) => {
        const client = await ChatClient.open(lab.node.chatUrl);
        client.send({ type: 'token', content: expiring });
        for (const command of commands) client.send(command);
        await client.expect('START?', 'READY', ...commands.map(() => 'CONNECTED'));
        return client;
      }),
    );
    for (const client of sockets) {
      expect(await client.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    }
  });

  it('may have an end far in the future, or none', async () => {
    for (const claims of [{ exp: 1e15 }, { exp: Number.MAX_SAFE_INTEGER }, {}]) {
      const who = { ...eve, token: sign({ ...eve, ...claims }) };
      const client = await ChatClient.enter(lab.node, who, lab.room);
      await expect(client.barrier()).resolves.toBeUndefined();
      await client.close();
    }
  });

  it.each([
    ['fraction', 1.5],
    ['number beyond an integer', 1e12],
    ['number far below zero', -1e300],
    ['number of 400 digits', '9'.repeat(400)],
  ])('may have a level that is a %s', async (_what, levelOnEntity) => {
    const who = { ...eve, token: sign({ ...eve, levelOnEntity }) };
    const client = await ChatClient.enter(lab.node, who, lab.room);
    client.say('at some level');
    expect(await client.messages(1)).toEqual(['at some level']);
    await client.close();
  });
});

describe('a socket without a token in time', () => {
  let impatient: TestNode;

  beforeAll(async () => {
    impatient = await lab.world.start({ AUTH_TIMEOUT_MS: '1000' });
  });
  afterAll(() => impatient.close());

  it.each([
    ['says nothing', (): Buffer => Buffer.alloc(0)],
    ['has sent half a token', () => token().subarray(0, 50)],
    ['has sent a fragment', () => frame('{', { first: TEXT })],
    [
      'has sent pings',
      () => Buffer.concat(Array<Buffer>(20).fill(frame('', { first: FIN | PING }))),
    ],
    ['has been refused twice', () => Buffer.concat([json({}), json({})])],
    ['has sent a bad token', () => json({ type: 'token', content: 'x' })],
  ])('is closed with 4408 if it %s', async (_what, bytes) => {
    const wire = await WsWire.open(impatient);
    wire.write(bytes());
    expect(await wire.closeCode()).toBe(4408);
    wire.destroy();
  });

  it('is closed with 4408 if it sends its token byte by byte, slowly', async () => {
    const wire = await WsWire.open(impatient);
    const bytes = token();
    let at = 0;
    const drip = setInterval(() => wire.write(bytes.subarray(at, ++at)), 20);
    expect(await wire.closeCode()).toBe(4408);
    clearInterval(drip);
    wire.destroy();
  });

  it('is closed while one with a token stays open', async () => {
    const late = await WsWire.open(impatient);
    const client = await ChatClient.enter(impatient, eve, lab.room);
    // By then, a socket without a token would have been closed.
    expect(await late.closeCode()).toBe(4408);
    await client.barrier();
    await client.close();
    late.destroy();
  });
});
