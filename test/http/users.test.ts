import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { person, type Person } from '../harness/tokens.js';

let world: ChatWorld;
let node: TestNode;
/** A second node. */
let elsewhere: TestNode;
const reader = person();

beforeAll(async () => {
  world = await createChatWorld();
  node = await world.start();
  elsewhere = await world.start();
});
afterAll(() => world.close());

async function find(...users: Pick<Person, 'userUUID'>[]): Promise<unknown> {
  const ids = users.map(({ userUUID }) => userUUID).join(',');
  const { status, content } = await request(elsewhere, 'GET', `/users?ids=${ids}`, { as: reader });
  expect(status).toBe(200);
  return content;
}

/** A request of the user, whose token tells something. */
async function call(who: Person, on = node): Promise<void> {
  expect((await request(on, 'GET', '/rooms', { as: who })).status).toBe(200);
}

describe('GET /users', () => {
  it('gives the names and pictures of tokens that another node has seen, by REST or a socket', async () => {
    const picture = 'https://example.com/a.png';
    const ana = person({}, { name: 'Ana', picture });
    const ben = person({}, { name: 'Ben' });
    const silent = person();
    await call(ana);
    await call(silent);
    const client = await ChatClient.enter(node, ben);
    await client.close();

    const expected = [
      { userUUID: ana.userUUID, name: 'Ana', picture },
      { userUUID: ben.userUUID, name: 'Ben', picture: null },
    ];
    await eventually(async () => {
      expect(await find(ana, ben, silent)).toEqual(
        expected.toSorted((one, other) => (one.userUUID < other.userUUID ? -1 : 1)),
      );
    });
  });

  it('gives the name of the token that was signed last, whichever came last on any node', async () => {
    const now = Math.floor(Date.now() / 1000);
    const old = person({}, { name: 'old', iat: now - 60 });
    const renamed = person(old, { name: 'new', iat: now - 30 });
    await call(old);
    await call(renamed);
    await eventually(async () => {
      expect(await find(old)).toMatchObject([{ name: 'new' }]);
    });

    await call(old);
    await call(old, elsewhere);
    // One statement at a time: once this name is stored, so are the ones before it.
    const later = [person({}, { name: 'later' }), person({}, { name: 'later' })] as const;
    await call(later[0]);
    await call(later[1], elsewhere);
    await eventually(async () => {
      expect(await find(...later)).toHaveLength(2);
    });
    expect(await find(old)).toMatchObject([{ name: 'new' }]);
  });

  it('gives a name that a newer token tells again, though another node has heard of another one', async () => {
    const now = Math.floor(Date.now() / 1000);
    const ana = person({}, { name: 'Ana', iat: now - 60 });
    await call(ana);
    await eventually(async () => {
      expect(await find(ana)).toMatchObject([{ name: 'Ana' }]);
    });
    await call(person(ana, { name: 'typing error', iat: now - 40 }), elsewhere);
    await eventually(async () => {
      expect(await find(ana)).toMatchObject([{ name: 'typing error' }]);
    });

    await call(person(ana, { name: 'Ana', iat: now - 20 }));
    await eventually(async () => {
      expect(await find(ana)).toMatchObject([{ name: 'Ana' }]);
    });
  });

  it.each([
    '',
    '?ids=',
    '?ids=ana',
    `?ids=${randomUUID()},`,
    `?ids=${Array.from({ length: 101 }, () => randomUUID()).join(',')}`,
    `?ids=${randomUUID()}&ids=${randomUUID()}`,
  ])('answers 400 to %s', async (query) => {
    const answer = await request(node, 'GET', `/users${query}`, { as: reader });
    expect(answer).toMatchObject({ status: 400, meta: { reason: 'INVALID' } });
    expect(answer.meta.errors?.map(({ field }) => field)).toEqual(['ids']);
  });
});
