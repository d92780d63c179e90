import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { createDatabase, query } from '../harness/database.js';
import { canDump, runDumpProgram } from '../harness/dump.js';
import { startNode, type TestNode } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });
const MESSAGES = 20;

describe.runIf(canDump)('a dump of a database', () => {
  let world: ChatWorld;
  let node: TestNode;
  let room: number;
  let folder: string;
  let file: string;

  beforeEach(async () => {
    world = await createChatWorld();
    node = await world.start();
    room = await createRoom(node, ana);
    folder = await mkdtemp(join(tmpdir(), 'nano-messaging-backup-'));
    file = join(folder, 'chat.dump');
  });
  afterEach(async () => {
    await world.close();
    await rm(folder, { recursive: true });
  });

  /** Sends messages `1`, `2` and so on; returns the place of the last one. */
  async function say(client: ChatClient, messages: number): Promise<number> {
    for (let n = 1; n <= messages; n += 1) {
      client.send({ type: 'message', room_id: room, content: `${n}` });
    }
    return numberOf((await client.take(messages)).at(-1));
  }

  async function history(at: TestNode): Promise<{ epoch: string; numbers: number[] }> {
    const path = `/rooms/${room}/messages?limit=100`;
    const { meta, content } = await request(at, 'GET', path, { as: ana });
    const rows = content as { seq: number }[];
    return {
      epoch: (meta as unknown as { epoch: string }).epoch,
      numbers: rows.map(({ seq }) => seq).toSorted((one, other) => one - other),
    };
  }

  async function restoreInPlace(): Promise<void> {
    const options = ['--clean', '--if-exists', '--no-owner', '--single-transaction'];
    await runDumpProgram('pg_restore', ...options, `--dbname=${world.databaseUrl}`, file);
  }

  async function run(...args: string[]): Promise<void> {
    const program = runProgram('src/cli/main.js', {
      args,
      env: { DATABASE_URL: world.databaseUrl },
    });
    expect(await program.exited()).toBe(0);
  }

  /** Comes back with a place in the log as it was; returns the answer. */
  async function comeBack(at: TestNode, after: number, epoch: string): Promise<unknown> {
    const client = await ChatClient.enterV2(at, ana);
    client.send({ type: 'join', rooms: [{ room_id: room, after, epoch }] });
    const { data, ...more } = await client.next();
    await client.close();
    return { data, reason: more['reason'] };
  }

  it('that is written to is restored elsewhere without a gap, and as another log', async () => {
    const writer = await ChatClient.enterV2(node, ana, room);
    const first = await say(writer, MESSAGES);
    const [, last] = await Promise.all([
      runDumpProgram('pg_dump', '--format=custom', `--file=${file}`, world.databaseUrl),
      say(writer, 10 * MESSAGES),
    ]);
    const before = await history(node);
    const elsewhere = await createDatabase(postgresUrl());
    try {
      await runDumpProgram('pg_restore', '--no-owner', `--dbname=${elsewhere.url}`, file);
      const restored = await startNode({ DATABASE_URL: elsewhere.url });
      const after = await history(restored);
      const [oldest = 0] = after.numbers;
      expect(after.numbers).toEqual(after.numbers.map((_, index) => oldest + index));
      expect(after.numbers.at(-1)).toBeGreaterThanOrEqual(first);
      expect(after.epoch).not.toBe(before.epoch);
      expect(await comeBack(restored, last, before.epoch)).toEqual({
        data: 'INVALID',
        reason: 'AHEAD',
      });
      const fresh = await ChatClient.enterV2(restored, ana, room);
      expect(await say(fresh, 1)).toBe((after.numbers.at(-1) ?? 0) + 1);
      await fresh.close();
      await restored.close();
    } finally {
      await writer.close();
      await elsewhere.drop();
    }
  });

  it('that is restored in place is another log after new-epoch, however long it has grown', async () => {
    const writer = await ChatClient.enterV2(node, ana, room);
    await say(writer, MESSAGES);
    await runDumpProgram('pg_dump', '--format=custom', `--file=${file}`, world.databaseUrl);
    const lost = await say(writer, MESSAGES);
    const { epoch } = await history(node);
    await writer.close();
    await node.close();

    await restoreInPlace();
    await run('new-epoch');

    const again = await world.start();
    const fresh = await ChatClient.enterV2(again, ana, room);
    expect(await say(fresh, 2 * MESSAGES)).toBeGreaterThan(lost);
    await fresh.close();
    expect(await comeBack(again, lost, epoch)).toEqual({ data: 'INVALID', reason: 'AHEAD' });
  });

  it('of a partitioned log is restored in place after the table was dropped', async () => {
    const writer = await ChatClient.enterV2(node, ana, room);
    await say(writer, MESSAGES);
    await run('partition', '--partitions', '2');
    await runDumpProgram('pg_dump', '--format=custom', `--file=${file}`, world.databaseUrl);
    const { numbers } = await history(node);
    await say(writer, MESSAGES);
    await writer.close();
    await node.close();

    await query(world.databaseUrl, 'DROP TABLE messages');
    await restoreInPlace();
    await run('new-epoch');

    expect((await history(await world.start())).numbers).toEqual(numbers);
  });
});
