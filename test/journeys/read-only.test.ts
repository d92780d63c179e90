import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { query, type TestDatabase } from '../harness/database.js';
import { startNode, type TestNode } from '../harness/node.js';
import { eventually } from '../harness/eventually.js';
import { createMigratedDatabase, postgresUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

/** As after a failover, while connections still lead to the former primary. */
describe('a node whose database cannot be written to', () => {
  const ana = person({ levelOnEntity: 999 });
  let database: TestDatabase;
  let node: TestNode;

  beforeAll(async () => {
    database = await createMigratedDatabase();
    node = await startNode({ DATABASE_URL: database.url });
  });
  afterAll(async () => {
    await node.close();
    await database.drop();
  });

  it('answers UNAVAILABLE, is not ready, and recovers as soon as a new connection may write', async () => {
    const room = await createRoom(node, ana);
    const client = await ChatClient.enter(node, ana, room);
    client.say('before', { ref: 'before' });
    expect(await answerTo(client, 'before')).toBe('SENT');

    await makeReadOnly();
    client.say('meanwhile', { ref: 'meanwhile' });
    expect(await answerTo(client, 'meanwhile')).toBe('UNAVAILABLE');
    const changes = await Promise.all([
      request(node, 'POST', '/rooms', {
        as: ana,
        body: { name: 'a room', level_admin: 999, type: 'group' },
      }),
      putRule(node, ana, room, { userUUID: person().userUUID, permissions: 'r' }),
      request(node, 'DELETE', `/rooms/${room}`, { as: ana }),
    ]);
    expect(changes.map(({ status, meta }) => [status, meta.reason])).toEqual(
      changes.map(() => [503, 'UNAVAILABLE']),
    );
    // Earlier messages can be read.
    expect((await request(node, 'GET', `/rooms/${room}/messages`, { as: ana })).status).toBe(200);
    await eventually(async () => {
      expect((await request(node, 'GET', '/readyz')).meta.detail).toBe('not ready: database');
    });

    // Open connections stay read-only.
    await query(postgresUrl(), `ALTER DATABASE ${name()} RESET default_transaction_read_only`);
    await eventually(async () => {
      client.say('afterwards', { ref: 'afterwards' });
      expect(await answerTo(client, 'afterwards')).toBe('SENT');
    });
    await eventually(async () => {
      expect((await request(node, 'GET', '/readyz')).status).toBe(200);
    });
    await eventually(async () => {
      const rule = { userUUID: person().userUUID, permissions: 'r' };
      expect((await putRule(node, ana, room, rule)).status).toBe(201);
    });
    await client.close();
  });

  /** Makes new connections read-only, and ends the open ones. */
  async function makeReadOnly(): Promise<void> {
    await query(database.url, `ALTER DATABASE ${name()} SET default_transaction_read_only = on`);
    await query(
      postgresUrl(),
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1',
      [name()],
    );
  }

  function name(): string {
    return new URL(database.url).pathname.slice(1);
  }
});

/** The word that answers the message with this ref. */
async function answerTo(client: ChatClient, ref: string): Promise<unknown> {
  for (;;) {
    const frame = await client.next();
    if (frame.type !== 'message' && frame['ref'] === ref) return frame.data;
  }
}
