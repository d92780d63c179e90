import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, secondsFromNow, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
const ana = person({ levelOnEntity: 999 });
const ben = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
});
afterAll(() => world.close());

async function roomWith(member: Person, permissions: string): Promise<number> {
  const room = await createRoom(node, ana);
  await putRule(node, ana, room, { userUUID: member.userUUID, permissions });
  return room;
}

function tokenOf(who: Person): object {
  return { type: 'token', content: who.token };
}

describe('a session before its token', () => {
  it('is asked to start, and becomes READY with a valid token', async () => {
    const client = await ChatClient.open(node.chatUrl);
    expect(await client.next()).toEqual({ type: 'query', data: 'START?' });
    client.send(tokenOf(ana));
    expect(await client.next()).toEqual({ type: 'status', data: 'READY' });
    await client.close();
  });

  it.each([
    { command: { type: 'select_room', room_id: 1 } },
    { command: { type: 'message', content: 'hi' } },
    { command: { type: 'whatever' } },
    { command: {} },
  ])('is asked for the token on $command', async ({ command }) => {
    const client = await ChatClient.open(node.chatUrl);
    client.send(command);
    await client.expect('START?', 'TOKEN?');
    await client.close();
  });

  it('is closed with 4401 after the third BADAUTH or TOKEN?', async () => {
    const client = await ChatClient.open(node.chatUrl);
    client.send({ type: 'token', content: 'x.y.z' });
    client.send({ type: 'message', content: 'hi' });
    client.send({ type: 'token' });
    await client.expect('START?', 'BADAUTH', 'TOKEN?', 'BADAUTH');
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('is authenticated by the Authorization header of the upgrade', async () => {
    const client = await ChatClient.open(node.chatUrl, {
      headers: { Authorization: `Bearer ${ana.token}` },
    });
    await client.expect('START?', 'READY');
    await client.close();
  });

  it('may send a token after a bad Authorization header', async () => {
    const client = await ChatClient.open(node.chatUrl, {
      headers: { Authorization: 'Bearer nonsense' },
    });
    await client.expect('START?', 'BADAUTH');
    client.send(tokenOf(ana));
    await client.expect('READY');
    await client.close();
  });

  it('may quit', async () => {
    const client = await ChatClient.open(node.chatUrl);
    client.send({ type: 'quit' });
    expect(await client.closed()).toMatchObject({ code: 1000 });
  });
});

describe('a session that is READY', () => {
  it('handles a token, a room and a message sent in one burst', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.open(node.chatUrl);
    client.send(tokenOf(ben));
    client.send({ type: 'select_room', room_id: String(room) });
    client.send({ type: 'message', content: 'all at once' });
    await client.expect('START?', 'READY', 'CONNECTED');
    expect(await client.messages(1)).toEqual(['all at once']);
    await client.close();
  });

  it('yields to others after each token that it sends, good or bad', async () => {
    const client = await ChatClient.enter(node, ben);
    const tokens = Array.from({ length: 100 }, (_, n) => (n % 2 === 0 ? ben.token : 'x.y.z'));
    const verify = vi.spyOn(jwt, 'verify');
    const seen = verify.mock.calls;
    /** The number of tokens that were verified in one turn of the event loop, which the node shares with the test. */
    const perTurn: number[] = [];
    let before = 0;
    let turn = setImmediate(function count() {
      perTurn.push(seen.length - before);
      before = seen.length;
      turn = setImmediate(count);
    });

    for (const content of tokens) client.send({ type: 'token', content });
    const answers = await client.take(tokens.length);
    await new Promise(setImmediate);

    clearImmediate(turn);
    verify.mockRestore();
    expect(answers.filter(({ data }) => data === 'READY')).toHaveLength(tokens.length / 2);
    expect(perTurn.reduce((sum, count) => sum + count, 0)).toBe(tokens.length);
    // A token from this turn's read, and one that had waited for its turn.
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(2);
    await client.close();
  });

  it('gets the message with its number, emitter, instant and ref', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.say('hi', { ref: 'r-1' });
    const echo = await client.next();
    expect(echo).toEqual({
      type: 'message',
      data: {
        room_id: room,
        seq: expect.any(Number),
        emitter: ben.userUUID,
        content: 'hi',
        createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        ref: 'r-1',
      },
    });
    const seq = numberOf(echo);
    expect(await client.next()).toEqual({
      type: 'status',
      data: 'SENT',
      ref: 'r-1',
      room_id: room,
      seq,
    });
    await client.close();
  });

  it('may call its content msg', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.send({ type: 'message', msg: 'old client' });
    expect(await client.messages(1)).toEqual(['old client']);
    await client.close();
  });

  it('is asked to select a room before it sends', async () => {
    const client = await ChatClient.enter(node, ben);
    client.say('hi');
    expect(await client.next()).toEqual({ type: 'query', data: 'SELECTROOM?' });
    await client.close();
  });

  it('gets COMMAND? for an unknown command', async () => {
    const client = await ChatClient.enter(node, ben);
    client.send({ type: 'dance' });
    expect(await client.next()).toEqual({ type: 'query', data: 'COMMAND?' });
    await client.close();
  });

  it('gets NOTAUTHORIZED for others’ rooms, missing rooms and malformed ids', async () => {
    const theirs = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ben);
    for (const room_id of [theirs, 2_000_000_000, 'x', -1, null, undefined, {}, '1e3']) {
      client.send({ type: 'select_room', room_id });
      await client.expect('NOTAUTHORIZED');
    }
    await client.close();
  });

  it('gets each message once after it selects the same room again', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.send({ type: 'select_room', room_id: room });
    await client.expect('CONNECTED');
    client.say('once');
    expect(await client.messages(1)).toEqual(['once']);
    await client.barrier();
    await client.close();
  });

  it('leaves its room for the next one, even if that is refused', async () => {
    const [first, second] = [await roomWith(ben, 'rw'), await roomWith(ben, 'rw')];
    const client = await ChatClient.enter(node, ben, first);
    const other = await ChatClient.enter(node, ana, first);
    client.say('in the first');
    client.send({ type: 'select_room', room_id: second });
    expect(await client.messages(1)).toEqual(['in the first']);
    await client.expect('CONNECTED');
    expect(await other.messages(1)).toEqual(['in the first']);
    other.say('not for ben');
    expect(await other.messages(1)).toEqual(['not for ben']);
    await client.barrier();
    client.send({ type: 'select_room', room_id: 'nonsense' });
    client.say('where am I?');
    await client.expect('NOTAUTHORIZED', 'SELECTROOM?');
    await Promise.all([client.close(), other.close()]);
  });

  it('may read with r, and may not send without w', async () => {
    const room = await roomWith(ben, 'r');
    const [subscriber, speaker] = [
      await ChatClient.enter(node, ben, room),
      await ChatClient.enter(node, ana, room),
    ];
    subscriber.say('may I?');
    await subscriber.expect('NOTAUTHORIZED');
    speaker.say('news');
    expect(await subscriber.messages(1)).toEqual(['news']);
    await Promise.all([subscriber.close(), speaker.close()]);
  });

  it('gets answers in the order of its commands', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.say('one');
    client.say('');
    client.say('two');
    client.send({ type: 'dance' });
    client.say('three');
    client.send({ type: 'quit' });
    expect(await client.messages(1)).toEqual(['one']);
    await client.expect('INVALID');
    expect(await client.messages(1)).toEqual(['two']);
    await client.expect('COMMAND?');
    expect(await client.messages(1)).toEqual(['three']);
    expect(await client.closed()).toMatchObject({ code: 1000 });
  });

  it('gets INVALID with a reason for content that is empty, too long or no text', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    const refused = ['', 'x'.repeat(8_001), 7, null, ['a'], 'nul \0', 'half \ud800'];
    for (const content of refused) {
      client.send({ type: 'message', content });
      const [frame] = await client.expect('INVALID');
      expect(frame?.['reason']).toMatch(/^content /);
    }
    client.say('\u{1f600}'.repeat(8_000));
    expect((await client.messages(1))[0]).toHaveLength(16_000);
    await client.close();
  });

  it('has its messages stored even if it hangs up at once', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    const words = Array.from({ length: 1_000 }, (_, i) => `word ${i}`);
    for (const word of words) client.say(word);
    await client.close();
    const reader = await ChatClient.enter(node, ben);
    reader.send({ type: 'select_room', room_id: room, after: 0 });
    await reader.expect('CONNECTED');
    expect(await reader.messages(words.length)).toEqual(words);
    await reader.close();
  });

  it('gets INVALID for a malformed ref or `after`, with the ref if that is valid', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.send({ type: 'message', content: '', ref: 'r-1' });
    expect((await client.expect('INVALID'))[0]).toMatchObject({ ref: 'r-1', room_id: room });
    client.send({ type: 'message', content: 'hi', ref: 7 });
    expect((await client.expect('INVALID'))[0]).toMatchObject({ reason: 'ref must be a string' });
    client.send({ type: 'select_room', room_id: room, after: 'x' });
    expect((await client.expect('INVALID'))[0]).toMatchObject({ reason: expect.any(String) });
    await client.close();
  });

  it('gets the same number again for a ref that is stored', async () => {
    const room = await roomWith(ben, 'rw');
    const client = await ChatClient.enter(node, ben, room);
    client.say('once', { ref: 'same' });
    client.say('once', { ref: 'same' });
    const frames = await client.take(3);
    expect(frames.map((frame) => frame.type)).toEqual(['message', 'status', 'status']);
    expect(frames[1]).toEqual(frames[2]);
    await client.barrier();
    await client.close();
  });

  it('gets REF_USED for another content under its ref, with the number of the first', async () => {
    const room = await roomWith(ben, 'rw');
    const [phone, laptop] = [
      await ChatClient.enter(node, ben, room),
      await ChatClient.enter(node, ben, room),
    ];
    phone.say('from the phone', { ref: '1' });
    const [first, sent] = await phone.take(2);
    expect(sent).toMatchObject({ data: 'SENT', ref: '1' });
    await laptop.messages(1);

    laptop.say('from the laptop', { ref: '1' });

    // As text: version 1 keeps the order of its keys.
    const refused = {
      type: 'status',
      data: 'INVALID',
      room_id: room,
      ref: '1',
      seq: numberOf(first),
      reason: 'REF_USED',
    };
    expect(JSON.stringify(await laptop.next())).toBe(JSON.stringify(refused));
    laptop.say('from the laptop', { ref: '1-laptop' });
    expect(await phone.messages(1)).toEqual(['from the laptop']);
    await Promise.all([phone.close(), laptop.close()]);
  });

  it('is closed with 4400 after BADJSON', async () => {
    for (const frame of ['nonsense', '[1]', '"text"', 'null', '']) {
      const client = await ChatClient.enter(node, ben);
      client.raw(frame);
      await client.expect('BADJSON');
      expect(await client.closed()).toMatchObject({ code: 4400 });
    }
  });

  it('gets missed messages, then live ones, if it comes back with `after`', async () => {
    const room = await roomWith(ben, 'rw');
    const speaker = await ChatClient.enter(node, ana, room);
    const seen = await ChatClient.enter(node, ben, room);
    speaker.say('seen');
    const [last] = await seen.take(1);
    await seen.close();
    const missed = Array.from({ length: 1_200 }, (_, i) => `missed ${i}`);
    for (const word of missed) speaker.say(word);
    await speaker.messages(1 + missed.length);

    const back = await ChatClient.enter(node, ben);
    back.send({ type: 'select_room', room_id: room, after: numberOf(last) });
    speaker.say('live');
    await back.expect('CONNECTED');
    expect(await back.messages(missed.length + 1)).toEqual([...missed, 'live']);
    back.send({ type: 'select_room', room_id: room, after: 1_000_000 });
    const [refused] = await back.expect('INVALID');
    expect(refused?.['reason']).toMatch(/beyond/);
    await Promise.all([speaker.close(), back.close()]);
  });
});

describe('a token after READY', () => {
  it('refreshes the user’s rights, and changes nothing if it is bad', async () => {
    const room = await createRoom(node, ana);
    const member = person({ entityUUID: ana.entityUUID, levelOnEntity: 100 });
    const demoted = person({ ...member, levelOnEntity: 1 });
    const client = await ChatClient.enter(node, member, room);
    for (let i = 0; i < 5; i += 1) {
      client.send({ type: 'token', content: 'bad' });
      await client.expect('BADAUTH');
    }
    client.say('still here');
    expect(await client.messages(1)).toEqual(['still here']);
    client.send(tokenOf(member));
    await client.expect('READY');
    client.send(tokenOf(demoted));
    const [, lost] = await client.expect('READY', 'NOTAUTHORIZED');
    expect(lost).toMatchObject({ room_id: room, reason: 'REVOKED' });
    client.say('now?');
    await client.expect('SELECTROOM?');
    await client.close();
  });
});

describe('entering a room', () => {
  it('accepts the rule that admits the user', async () => {
    const room = await roomWith(ben, 'rw');
    const invited = await request(node, 'GET', '/rooms?accepted=false', { as: ben });
    expect(invited.content).toContainEqual(expect.objectContaining({ room_id: room }));
    const client = await ChatClient.enter(node, ben, room);
    const accepted = await request(node, 'GET', '/rooms?accepted=true', { as: ben });
    expect(accepted.content).toContainEqual(
      expect.objectContaining({ room_id: room, entity_UUID: ben.userUUID }),
    );
    await client.close();
  });
});

describe('an entity', () => {
  it('that loses r takes the room from all its members at once', async () => {
    const room = await createRoom(node, ana);
    const members = [1, 2].map(() => person({ entityUUID: ana.entityUUID, levelOnEntity: 500 }));
    const clients = await Promise.all(members.map((who) => ChatClient.enter(node, who, room)));
    const changed = await request(node, 'PUT', `/rooms/${room}/members`, {
      as: ana,
      body: { entity_UUID: ana.entityUUID, permissions: 'rw', level: 600 },
    });
    expect(changed.status).toBe(200);
    for (const client of clients) {
      await client.expect('NOTAUTHORIZED');
      await client.close();
    }
  });
});

describe('deadlines', () => {
  it('close a socket without a token with 4408', async () => {
    const strict = await world.start({ AUTH_TIMEOUT_MS: '80' });
    const client = await ChatClient.open(strict.chatUrl);
    expect(await client.closed()).toMatchObject({ code: 4408 });
  });

  it('close a socket with 4401 when its token has expired', async () => {
    // Accepted within the leeway of five seconds, of which two at least are left.
    const late = person({}, { exp: secondsFromNow(-2) });
    const client = await ChatClient.enter(node, late);
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('cut off a socket that answers no ping', async () => {
    // Enough time for a client that does answer, even on a machine that is busy for a while.
    const strict = await world.start({ PING_INTERVAL_MS: '60', PONG_TIMEOUT_MS: '1000' });
    const mute = await ChatClient.open(strict.chatUrl, { autoPong: false });
    const alive = await ChatClient.enter(strict, ben);
    expect(await mute.closed()).toMatchObject({ code: 1006 });
    await alive.barrier();
    await alive.close();
  });
});
