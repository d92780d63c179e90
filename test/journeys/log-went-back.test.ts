import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { query } from '../harness/database.js';
import { startNode, type TestNode } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';
import { queryOnce, startPostgresService } from '../proof/services.js';

const ana = person({ levelOnEntity: 999 });
const ben = person();
/** A node that compares no heads while a test runs: it does so at first after the shorter of both. */
const LATE = { POLL_INTERVAL_MS: '600000', POLL_INTERVAL_BROKER_DOWN_MS: '600000' };

/** A user on each node, in a room with this number of messages; returns the room and both. */
async function roomWithHistory(
  [east, west]: readonly [TestNode, TestNode],
  messages: number,
): Promise<{ room: number; here: ChatClient; there: ChatClient; last: number }> {
  const room = await createRoom(east, ana);
  await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  const here = await ChatClient.enter(east, ana, room);
  const there = await ChatClient.enter(west, ben, room);
  for (let i = 1; i <= messages; i += 1) here.say(`${i}`);
  const [seen] = await Promise.all([here.take(messages), there.take(messages)]);
  return { room, here, there, last: numberOf(seen.at(-1)) };
}

/** Both are told that the log went back, enter again, and get each other's messages. */
async function expectReset(room: number, here: ChatClient, there: ChatClient): Promise<void> {
  for (const client of [here, there]) {
    const [lost] = await client.expect('NOTAUTHORIZED');
    expect(lost).toMatchObject({ room_id: room, reason: 'LOG_RESET' });
    client.send({ type: 'select_room', room_id: room });
    await client.expect('CONNECTED');
  }
  here.say('from here', { ref: 'here' });
  expect(await there.messages(1)).toEqual(['from here']);
  await here.messages(1);
  await here.expect('SENT');
  there.say('from there');
  expect(await here.messages(1)).toEqual(['from there']);
}

describe('after a restore to an earlier state under live clients', () => {
  let world: ChatWorld;
  let east: TestNode;
  let west: TestNode;

  // Each test has nodes of its own: a node that notices the change of another test late would end these sessions.
  beforeEach(async () => {
    world = await createChatWorld();
    // East compares heads as soon as west has noticed the change.
    [east, west] = await Promise.all([
      world.start({ POLL_INTERVAL_MS: '600000' }),
      world.start({ POLL_INTERVAL_MS: '500' }),
    ]);
  });
  afterEach(() => world.close());

  /** As after the restore of a dump in place: no connection breaks. */
  async function setBack(room: number, head: number, rulesHead?: number): Promise<void> {
    await query(world.databaseUrl, 'DELETE FROM messages WHERE room_id = $1 AND seq > $2', [
      room,
      head,
    ]);
    await query(
      world.databaseUrl,
      'UPDATE rooms SET head = $2, rules_head = coalesce($3, rules_head) WHERE id = $1',
      [room, head, rulesHead],
    );
  }

  function headsOf(room: number): Promise<{ head: string; rules_head: string }[]> {
    return query(world.databaseUrl, 'SELECT head, rules_head FROM rooms WHERE id = $1', [room]);
  }

  it('every session leaves its room when a head is found below a feed', async () => {
    const { room, here, there, last } = await roomWithHistory([east, west], 20);
    await setBack(room, last - 15);
    await expectReset(room, here, there);
    // A number beyond the present log does not count as one of this log.
    here.send({ type: 'select_room', room_id: room, after: last });
    await here.expect('INVALID');
    await Promise.all([here.close(), there.close()]);
  });

  it('every session leaves its room at the next message, without waiting for a comparison', async () => {
    const [late, later] = [await world.start(LATE), await world.start(LATE)];
    const { room, here, there, last } = await roomWithHistory([late, later], 20);
    await setBack(room, last - 15);
    here.say('a number that was given before', { ref: 'again' });
    const [sent] = await here.expect('SENT');
    expect(sent).toMatchObject({ seq: last - 14 });
    const [lost] = await here.expect('NOTAUTHORIZED');
    expect(lost).toMatchObject({ room_id: room, reason: 'LOG_RESET' });
    here.send({ type: 'select_room', room_id: room, after: last - 15 });
    await here.expect('CONNECTED');
    expect(await here.messages(1)).toEqual(['a number that was given before']);
    await Promise.all([here.close(), there.close()]);
  });

  it('every session leaves a room that has grown unheard beyond its old head', async () => {
    // The nodes get no message about it.
    const deaf = { POLL_INTERVAL_MS: '500', REDIS_URL: 'redis://127.0.0.1:1' };
    const nodes = [await world.start(deaf), await world.start(deaf)] as const;
    const { room, here, there, last } = await roomWithHistory(nodes, 20);
    await query(
      world.databaseUrl,
      `DO $$ BEGIN
         DELETE FROM messages WHERE room_id = ${room} AND seq > ${last - 15};
         INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
         SELECT ${room}, seq, 'message', '${ben.userUUID}', 'another', clock_timestamp(), now()
         FROM generate_series(${last - 14}, ${last + 10}) AS seq;
         UPDATE rooms SET head = ${last + 10} WHERE id = ${room};
       END $$`,
    );
    await expectReset(room, here, there);
    here.send({ type: 'select_room', room_id: room, after: last - 15 });
    await here.expect('CONNECTED');
    expect(await here.messages(25)).toEqual(Array(25).fill('another'));
    await Promise.all([here.close(), there.close()]);
  });

  it('a user whose right to write was lost by the restore stores nothing', async () => {
    const late = await world.start(LATE);
    const room = await createRoom(late, ana);
    await putRule(late, ana, room, { userUUID: ben.userUUID, permissions: 'r' });
    const there = await ChatClient.enter(late, ben, room);
    const [before] = await headsOf(room);
    await putRule(late, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
    there.say('with the right to');
    await there.messages(1);
    await query(
      world.databaseUrl,
      `UPDATE room_permissions SET permissions = 'r' WHERE room_id = $1 AND "entity_UUID" = $2`,
      [room, ben.userUUID],
    );
    await setBack(room, Number(before?.head), Number(before?.rules_head));
    there.say('without it', { ref: 'after' });
    const answers = [await there.next(), await there.next()].map(({ data }) => data);
    expect(new Set(answers)).toEqual(new Set(['NOTAUTHORIZED', 'UNAVAILABLE']));
    await there.close();
    expect(await headsOf(room)).toEqual([before]);
  });

  it('a user whose right to write was lost stores nothing, though the log has as many entries again', async () => {
    const late = await world.start(LATE);
    const room = await createRoom(late, ana);
    const rule = { userUUID: ben.userUUID, permissions: 'r' };
    await putRule(late, ana, room, rule);
    const there = await ChatClient.enter(late, ben, room);
    const [before] = await headsOf(room);
    await putRule(late, ana, room, { ...rule, permissions: 'rw' });
    there.say('with the right to');
    const [message] = await there.take(1);
    await setBack(room, Number(before?.head), Number(before?.rules_head));
    // Without the node's knowledge, others bring the log to where it was: with the rule of before.
    await query(
      world.databaseUrl,
      `UPDATE room_permissions SET permissions = 'r' WHERE room_id = $1 AND "entity_UUID" = $2`,
      [room, ben.userUUID],
    );
    const { last } = await fillRoom(world.databaseUrl, room, 10);
    expect(last).toBeGreaterThan(numberOf(message));
    there.say('without it', { ref: 'after' });
    const answers = [await there.next(), await there.next()].map(({ data }) => data);
    expect(new Set(answers)).toEqual(new Set(['NOTAUTHORIZED', 'UNAVAILABLE']));
    await there.close();
    expect(await headsOf(room)).toEqual([{ ...before, head: `${last}` }]);
  });

  it('every session leaves its room when the operator runs new-epoch', async () => {
    const { room, here, there } = await roomWithHistory([east, west], 3);
    const program = runProgram('src/cli/main.js', {
      args: ['new-epoch'],
      env: { DATABASE_URL: world.databaseUrl },
    });
    expect(await program.exited()).toBe(0);
    expect(program.stdout()).toMatch(/^epoch: [0-9a-f-]{36}\n$/);
    await expectReset(room, here, there);
    await Promise.all([here.close(), there.close()]);
  });
});

describe('after a failover', () => {
  it('every session leaves its room, before the first checkpoint of the new primary', async () => {
    const postgres = await startPostgresService();
    try {
      const node = await startNode({ DATABASE_URL: postgres.url, POLL_INTERVAL_MS: '500' });
      const { room, here, there } = await roomWithHistory([node, node], 3);
      const [settings] = await queryOnce<{ data_directory: string }>(
        postgres.url,
        'SHOW data_directory',
      );
      await postgres.stop('SIGINT');
      writeFileSync(join(settings?.data_directory ?? '', 'standby.signal'), '');
      await postgres.start();
      await queryOnce(postgres.url, 'SELECT pg_promote()');
      const [control] = await queryOnce<{ timeline_id: number }>(
        postgres.url,
        'SELECT timeline_id FROM pg_control_checkpoint()',
      );
      expect(control?.timeline_id).toBe(1);
      await expectReset(room, here, there);
      await node.close();
    } finally {
      await postgres.end();
    }
  });
});
