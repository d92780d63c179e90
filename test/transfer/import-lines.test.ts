import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { QueryTypes } from 'sequelize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { importLines } from '../../src/transfer/import-lines.js';
import { parseLines } from '../../src/transfer/lines.js';
import { lineSchema } from '../../src/transfer/room-file.js';
import { createImports } from '../../src/store/imports.js';
import { LIMITS, openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';

const BEN = randomUUID();
const change = { emitter: BEN, createdAt: '2020-01-02T00:00:00Z' };
const messages = ['one', 'two'].map((content, index) => ({
  ...change,
  kind: 'message',
  seq: 10 * (index + 1),
  content,
}));
const rule = { kind: 'rule', entity_UUID: BEN, level: 0, permissions: 'r', accepted: true };

let host: StoreHost;
beforeAll(async () => {
  host = await openPostgres();
});
afterAll(() => host.close());

async function newRoom(): Promise<number> {
  const owner = randomUUID();
  const { rooms } = storeOver(host.database);
  const wanted = { name: 'new', type: 'group', levelAdmin: 999, maxEntityRules: 10 } as const;
  const { id } = await rooms.create({ ...wanted, entityOwner: owner }, [], owner);
  return id;
}

/** Lines behind that of their room. */
function fileOf(lines: readonly object[]): string {
  const head = {
    kind: 'room',
    format: 1,
    name: 'foreign',
    type: 'group',
    level_admin: 999,
    max_entity_rules: 10,
    entries: lines.filter((line) => 'seq' in line).length,
  };
  return [head, ...lines].map((line) => `${JSON.stringify(line)}\n`).join('');
}

async function importText(roomId: number, text: string): Promise<void> {
  const imports = createImports(host.database);
  const room = await imports.open(roomId);
  if (room === undefined) throw new Error('there is no room');
  const options = { schema: lineSchema(LIMITS), maxBytes: 100_000, onBytes: () => undefined };
  await importLines(imports, room, parseLines(Readable.from([Buffer.from(text)]), options));
}

function rulesOf(roomId: number): Promise<object[]> {
  return host.database.sequelize.query('SELECT * FROM room_permissions WHERE room_id = $1', {
    bind: [roomId],
    type: QueryTypes.SELECT,
  });
}

describe('an import', () => {
  it.each<[name: string, lines: readonly object[], problem: string]>([
    [
      'a number that is not above the last',
      [{ ...change, kind: 'message', seq: 20, content: 'x' }],
      'line 4: seq is not above that of the line before',
    ],
    [
      'an answer to a later message',
      [{ ...change, kind: 'message', seq: 30, content: 'x', reply_to: 40 }],
      'line 4: reply_to is not the number of an earlier message',
    ],
    [
      'an edit of an edit',
      [
        { ...change, kind: 'edit', seq: 30, target: 10 },
        { ...change, kind: 'edit', seq: 31, target: 30 },
      ],
      'line 5: target is not the number of a message',
    ],
    [
      'an edit behind the deletion',
      [
        { ...change, kind: 'delete', seq: 30, target: 10 },
        { ...change, kind: 'edit', seq: 31, target: 10 },
      ],
      'line 5: the message was deleted by an earlier line',
    ],
    [
      'a deleted message that nobody deletes',
      [{ ...change, kind: 'message', seq: 30, deleted: true }],
      'the message with seq 30 is deleted, but no line says by whom',
    ],
    [
      'a ref that its sender has used before',
      [
        { ...change, kind: 'message', seq: 30, content: 'x', ref: 'r' },
        { ...change, kind: 'message', seq: 31, content: 'y', ref: 'r' },
      ],
      'line 5: ref is that of an earlier entry of the same emitter',
    ],
    ['a rule behind messages', [rule], 'line 4: is a rule behind entries'],
  ])('refuses a file with %s, and names the line', async (_, lines, problem) => {
    const room = await newRoom();
    const text = fileOf([...messages, ...lines]);
    await expect(importText(room, text)).rejects.toThrow(new RegExp(`^${problem}$`));
    expect(await rulesOf(room)).toEqual([]);
  });

  it('takes an edit of another’s message, as a server may make one', async () => {
    const room = await newRoom();
    const edit = { ...change, kind: 'edit', seq: 30, target: 10, emitter: randomUUID() };
    await importText(room, fileOf([...messages, edit]));
    const [row] = await host.database.sequelize.query<object>(
      'SELECT emitter FROM messages WHERE room_id = $1 AND seq = (SELECT rev FROM messages WHERE room_id = $1 AND rev > 0)',
      { bind: [room], type: QueryTypes.SELECT },
    );
    expect(row).toEqual({ emitter: edit.emitter });
  });

  it.each([
    ['user', { kind: 'user', userUUID: BEN }, 'line 3: is a second line of the user'],
    ['rule', rule, 'line 3: is a second rule of the UUID'],
  ])('refuses two lines of a %s', async (_, line, problem) => {
    const text = fileOf([line, line, ...messages]);
    await expect(importText(await newRoom(), text)).rejects.toThrow(problem);
  });

  it('refuses a ref that stands far above, too', async () => {
    const many = Array.from({ length: 501 }, (_, index) => ({
      ...change,
      kind: 'message',
      seq: index + 1,
      content: 'x',
      ...(index % 500 === 0 && { ref: 'r' }),
    }));
    await expect(importText(await newRoom(), fileOf(many))).rejects.toThrow(
      'line 502: ref is that of an earlier entry of the same emitter',
    );
  });

  it.each<[name: string, text: string, problem: string]>([
    ['no line', '', 'there are no lines'],
    [
      'no room',
      fileOf(messages.slice(0, 1)).split('\n').slice(1).join('\n'),
      'line 1: is not a room, as the first line has to be',
    ],
    [
      'a part',
      fileOf(messages).split('\n').slice(0, 2).join('\n'),
      'the file has 1 entries, and not 2, as its first line says',
    ],
    [
      'a room of another type',
      fileOf([]).replace('group', 'user2user'),
      'line 1: type is not that of the room, group',
    ],
  ])('refuses %s', async (_, text, problem) => {
    await expect(importText(await newRoom(), text)).rejects.toThrow(problem);
  });
});
