import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { person, secondsFromNow, sign, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let east: TestNode;
let west: TestNode;
/** Hears nothing from the others: it uses another prefix in Redis. */
let deaf: TestNode;

beforeAll(async () => {
  world = await createChatWorld();
  [east, west, deaf] = await Promise.all([
    world.start(),
    world.start(),
    world.start({ REDIS_PREFIX: 'deaf', POLL_INTERVAL_MS: '50' }),
  ]);
});
afterAll(() => world.close());

const server = person({}, { server: true });

function revoke({ userUUID }: Person, on = east): ReturnType<typeof request> {
  return request(on, 'POST', '/sessions/revoke', { as: server, body: { userUUID } });
}

/** The status of a request with the user's token. */
async function statusOf(who: Person, on: TestNode): Promise<number> {
  return (await request(on, 'GET', '/rooms', { as: who })).status;
}

/** The same user with a token that was signed a moment later. */
function again(who: Person, claims: object = {}): Person {
  return person(who, { iat: secondsFromNow(2), ...claims });
}

describe('POST /sessions/revoke', () => {
  it('closes the sockets of the user on all nodes, and those of nobody else', async () => {
    const [ana, ben] = [person(), person()];
    const sockets = await Promise.all([
      ChatClient.enter(east, ana),
      ChatClient.enterV2(east, ana),
      ChatClient.enterV2(west, ana),
      ChatClient.enter(deaf, ana),
    ]);
    const [other, fresh] = await Promise.all([
      ChatClient.enter(west, ben),
      ChatClient.enter(west, again(ana)),
    ]);

    const answer = await revoke(ana);

    expect(answer).toMatchObject({ status: 200, content: { userUUID: ana.userUUID } });
    for (const socket of sockets) {
      expect(await socket.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    }
    await Promise.all([other.barrier(), fresh.barrier()]);
    await Promise.all([other.close(), fresh.close()]);
  });

  it('refuses tokens that were issued before, on all nodes, and takes those issued later', async () => {
    const ana = person();
    const undated = person(ana);
    const token = sign({ ...ana, token: undefined }, undefined, { noTimestamp: true });
    const dateless = { ...undated, token };
    const inMilliseconds = person(ana, { iat: secondsFromNow(0) * 1000 });
    expect(await statusOf(dateless, east)).toBe(200);

    await revoke(ana);

    for (const node of [east, west, deaf]) {
      for (const who of [ana, dateless, inMilliseconds]) {
        await eventually(async () => {
          expect(await statusOf(who, node)).toBe(401);
        });
      }
      expect(await statusOf(again(ana), node)).toBe(200);
    }
    const socket = await ChatClient.openV2(west.chatUrl);
    socket.send({ type: 'token', content: ana.token });
    const [, refusal] = await socket.expect('START?', 'BADAUTH');
    expect(refusal).toMatchObject({ reason: 'UNAUTHORIZED', detail: 'the token was revoked' });
    socket.send({ type: 'token', content: again(ana).token });
    await socket.expect('READY');
    await socket.close();
  });

  it('counts by the clock of the application that signs for it, if that is ahead by seconds', async () => {
    const ana = person({}, { iat: secondsFromNow(2) });
    const socket = await ChatClient.enterV2(west, ana);
    const ahead = (seconds: number): Person =>
      person({}, { server: true, iat: secondsFromNow(seconds) });
    const body = { userUUID: ana.userUUID };
    await request(east, 'POST', '/sessions/revoke', { as: ahead(3), body });

    expect(await socket.closed()).toEqual({ code: 4401, reason: 'TOKEN' });
    for (const node of [east, west]) expect(await statusOf(ana, node)).toBe(401);
    // Signed after that, by the same clock.
    const signedLater = again(ana, { iat: secondsFromNow(4) });
    for (const node of [east, west]) expect(await statusOf(signedLater, node)).toBe(200);
    // No clock is ahead by so much.
    await request(east, 'POST', '/sessions/revoke', { as: ahead(60), body });
    expect(await statusOf(again(ana, { iat: secondsFromNow(8) }), east)).toBe(200);
    // Nor is one that gives milliseconds asked.
    const inMilliseconds = ahead(secondsFromNow(0) * 999);
    const answer = await request(east, 'POST', '/sessions/revoke', { as: inMilliseconds, body });
    expect(answer.status).toBe(200);
  });

  it('holds on a node that starts later', async () => {
    const ana = person();
    await revoke(ana);
    const late = await world.start();

    expect(await statusOf(ana, late)).toBe(401);
    expect(await statusOf(again(ana), late)).toBe(200);
  });

  it('is for a token with the claim server alone, which may be nobody', async () => {
    const body = { userUUID: person().userUUID };
    const others = [
      person({ levelOnEntity: 999 }),
      ...['true', 1, false, null].map((claim) => person({ levelOnEntity: 999 }, { server: claim })),
    ];
    for (const who of others) {
      const answer = await request(east, 'POST', '/sessions/revoke', { as: who, body });
      expect(answer).toMatchObject({ status: 403, meta: { reason: 'FORBIDDEN' } });
    }
    const nobody = { ...person(), token: sign({ server: true }) };
    const answer = await request(east, 'POST', '/sessions/revoke', { as: nobody, body });
    expect(answer.status).toBe(200);
    // Without the claim, a token is somebody's.
    const stranger = { ...nobody, token: sign({ server: 'true' }) };
    expect(await statusOf(stranger, east)).toBe(401);
  });

  it.each([{}, { userUUID: 'ana' }, { userUUID: null }, { userUUID: server.userUUID, all: true }])(
    'refuses %j',
    async (body) => {
      const answer = await request(east, 'POST', '/sessions/revoke', { as: server, body });
      expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    },
  );
});
