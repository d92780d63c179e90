import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import type { TestNode } from '../harness/node.js';
import { person } from '../harness/tokens.js';

/** A hanging transaction holds the room's row, which is the lock of its log. */
describe('while another transaction holds the lock of a room', () => {
  let world: ChatWorld;
  let node: TestNode;
  let room: number;
  let holder: Client;
  const ana = person({ levelOnEntity: 200 });
  const ben = person();
  const stranger = person();

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start({ DB_POOL_SIZE: '4' });
  });
  afterAll(() => world.close());

  beforeEach(async () => {
    room = await createRoom(node, ana);
    await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE', [room]);
  });
  afterEach(() => holder.end());

  it('a caller who may not change it is refused at once', async () => {
    const members = `/rooms/${room}/members`;
    const body = { userUUID: ben.userUUID, permissions: 'rwa', level: 0 };
    const refused = await Promise.all([
      request(node, 'PUT', members, { as: stranger, body }),
      request(node, 'PUT', members, { as: ben, body }),
      request(node, 'DELETE', `${members}/${ana.userUUID}`, { as: ben }),
      request(node, 'DELETE', `${members}/${stranger.userUUID}`, { as: ana }),
      request(node, 'PUT', `/rooms/${room}/invitation`, { as: stranger, body: { accepted: true } }),
      request(node, 'DELETE', `/rooms/${room}`, { as: stranger }),
    ]);
    expect(refused.map(({ status }) => status)).toEqual([403, 403, 403, 404, 404, 403]);
  });

  it('a request that changes nothing is answered at once', async () => {
    const member = { userUUID: ben.userUUID, permissions: 'r', level: 0 };
    const same = await request(node, 'PUT', `/rooms/${room}/members`, { as: ana, body: member });
    expect(same).toMatchObject({ status: 200, content: { permissions: 'r', accepted: false } });
    const answer = await request(node, 'PUT', `/rooms/${room}/invitation`, {
      as: ben,
      body: { accepted: false },
    });
    expect(answer).toMatchObject({ status: 200, content: same.content as object });
  });

  it('its changes are UNAVAILABLE, and no other request waits for them', async () => {
    const changes = Promise.all([
      ...Array.from({ length: 12 }, () =>
        putRule(node, ana, room, { userUUID: person().userUUID, permissions: 'r' }),
      ),
      request(node, 'PUT', `/rooms/${room}/invitation`, { as: ben, body: { accepted: true } }),
    ]);
    const removal = request(node, 'DELETE', `/rooms/${room}`, { as: ana });

    // More requests than connections want the lock.
    await somebodyWaits(world);
    const elsewhere = await createRoom(node, ana);
    expect(
      await putRule(node, ana, elsewhere, { userUUID: ben.userUUID, permissions: 'r' }),
    ).toMatchObject({ status: 201 });
    expect(await request(node, 'GET', `/rooms/${room}/messages`, { as: ben })).toMatchObject({
      status: 200,
    });
    expect(await request(node, 'GET', '/readyz')).toMatchObject({ status: 200 });

    for (const answer of [...(await changes), await removal]) {
      expect(answer).toMatchObject({
        status: 503,
        meta: { reason: 'UNAVAILABLE', detail: 'the room is locked' },
      });
    }
    await holder.query('ROLLBACK');
    expect(
      await putRule(node, ana, room, { userUUID: ben.userUUID, permissions: 'rw' }),
    ).toMatchObject({ status: 200 });
  });
});

/** As if an operator were changing the table. */
describe('while the messages of all rooms are locked', () => {
  it('lists of rooms do not wait for readers of messages', async () => {
    const world = await createChatWorld();
    const holder = new Client({ connectionString: world.databaseUrl });
    try {
      const node = await world.start();
      const ana = person({ levelOnEntity: 200 });
      const room = await createRoom(node, ana);
      const others = Array.from({ length: 12 }, () => person({ ...ana, userUUID: randomUUID() }));
      await holder.connect();
      await holder.query('BEGIN');
      await holder.query('LOCK TABLE messages');
      const histories = others.map((as) => request(node, 'GET', `/rooms/${room}/messages`, { as }));
      await somebodyWaits(world);

      const lists = await Promise.all(
        ['/rooms', '/rooms/all'].map((path) => request(node, 'GET', path, { as: ana })),
      );

      expect(lists).toMatchObject([
        { status: 200, content: [{ id: room }] },
        { status: 200, content: [{ id: room }] },
      ]);
      await holder.query('ROLLBACK');
      for (const { status } of await Promise.all(histories)) expect([200, 503]).toContain(status);
    } finally {
      await holder.end();
      await world.close();
    }
  });
});

async function somebodyWaits({ databaseUrl }: ChatWorld): Promise<void> {
  for (let waiting = 0; waiting === 0;) {
    const rows = await query<{ waiting: number }>(
      databaseUrl,
      `SELECT count(*)::int AS waiting FROM pg_stat_activity
       WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    );
    waiting = rows[0]?.waiting ?? 0;
  }
}
