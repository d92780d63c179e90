import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { parseLines } from '../../src/transfer/lines.js';
import { lineSchema } from '../../src/transfer/room-file.js';
import { loadConfig } from '../../src/config/load.js';

const schema = lineSchema(loadConfig({}).limits);
const MAX_BYTES = 100_000;
const ben = { userUUID: randomUUID() };
const change = { emitter: ben.userUUID, createdAt: '2020-01-02T00:00:00Z' };
const message = { ...change, kind: 'message', seq: 10, content: 'one' };

async function parsed(...chunks: readonly (string | Buffer)[]): Promise<unknown[]> {
  async function* input(): AsyncGenerator<Buffer> {
    for (const chunk of chunks) yield Promise.resolve(Buffer.from(chunk));
  }
  const values: unknown[] = [];
  const lines = parseLines(input(), { schema, maxBytes: MAX_BYTES, onBytes: () => undefined });
  for await (const { number, value } of lines) values.push([number, value]);
  return values;
}

describe('the lines of a room', () => {
  it('are parsed one by one, wherever chunks end, without those that are empty', async () => {
    const text = Buffer.from(
      `${JSON.stringify({ ...message, content: 'é' })}\r\n\n${JSON.stringify(message)}`,
    );
    const expected = ['é', 'one'].map((content, index) => [
      1 + 2 * index,
      { kind: 'entry', entry: expect.objectContaining({ content }) as unknown },
    ]);
    for (let at = 1; at < text.length; at += 1) {
      expect(await parsed(text.subarray(0, at), text.subarray(at))).toEqual(expected);
    }
  });

  it('have dates in UTC and UUIDs in lower case', async () => {
    const emitter = ben.userUUID.toUpperCase();
    const line = JSON.stringify({ ...message, emitter, createdAt: '2020-01-01T01:00:00+01:00' });
    const entry = { emitter: ben.userUUID, createdAt: '2020-01-01T00:00:00.000Z' };
    expect(await parsed(line)).toMatchObject([[1, { entry }]]);
  });

  it('may have an empty text, as of the proof of concept, and no name, as of a direct room', async () => {
    const room = { kind: 'room', format: 1, name: '', type: 'user2user', entries: 1 };
    const limits = { level_admin: 0, max_entity_rules: 2 };
    const lines = [
      { ...room, ...limits },
      { ...message, content: '' },
    ];
    expect(await parsed(lines.map((line) => JSON.stringify(line)).join('\n'))).toMatchObject([
      [1, { settings: { name: '' } }],
      [2, { entry: { content: '' } }],
    ]);
  });

  it('are refused beyond the longest, before all of it is read', async () => {
    const endless = Array.from({ length: 10 }, () => 'x'.repeat(MAX_BYTES / 2));
    await expect(parsed(...endless)).rejects.toThrow(`line 1: is longer than ${MAX_BYTES} bytes`);
  });

  it('are refused if they are not UTF-8', async () => {
    await expect(parsed(Buffer.of(0x7b, 0xff))).rejects.toThrow('line 1: is not UTF-8');
  });

  it.each<[name: string, lines: readonly object[], problem: string]>([
    ['a list', [[]], 'line 2: must be room, rule, user, message, edit, delete, reaction or erase'],
    [
      'an unknown kind',
      [{ kind: 'song' }],
      'line 2: kind must be room, rule, user, message, edit, delete, reaction or erase',
    ],
    [
      'an unknown key',
      [{ ...change, kind: 'delete', seq: 30, target: 10, why: 1 }],
      'line 2: Unrecognized key: "why"',
    ],
    [
      'a sender who is no UUID',
      [{ ...change, kind: 'message', seq: 30, content: 'x', emitter: 'ben' }],
      'line 2: emitter must be a UUID: hexadecimal digits, 8-4-4-4-12 of them',
    ],
    [
      'no date',
      [{ ...change, kind: 'message', seq: 30, content: 'x', createdAt: 'now' }],
      'line 2: createdAt must be a date like 2026-01-31T23:59:59.999Z',
    ],
    [
      'a year that Postgres lacks',
      [{ ...change, kind: 'message', seq: 30, content: 'x', createdAt: '0000-01-01T00:00:00Z' }],
      'line 2: createdAt must be of the years 1 to 9999',
    ],
    [
      'a year of five digits in UTC',
      [
        {
          ...change,
          kind: 'message',
          seq: 30,
          content: 'x',
          createdAt: '9999-12-31T23:59:59-01:00',
        },
      ],
      'line 2: createdAt must be of the years 1 to 9999',
    ],
    [
      'a date in the future',
      [
        {
          ...change,
          kind: 'message',
          seq: 30,
          content: 'x',
          createdAt: new Date(Date.now() + 60_000).toISOString(),
        },
      ],
      'line 2: createdAt must not be in the future',
    ],
    ['no text', [{ ...change, kind: 'message', seq: 30 }], 'line 2: content is empty'],
    [
      'mentions without a text',
      [{ ...change, kind: 'message', seq: 30, content: '', mentions: [ben.userUUID] }],
      'line 2: content is empty',
    ],
    [
      'half a reaction',
      [{ ...change, kind: 'reaction', seq: 30, target: 10, emoji: '👍' }],
      'line 2: emoji on and count must be given together, or none of them',
    ],
    [
      'a deleted message that says something',
      [{ ...change, kind: 'message', seq: 30, deleted: true, content: 'x' }],
      'line 2: deleted message says something',
    ],
    [
      'a picture that is no https URL',
      [{ kind: 'user', userUUID: ben.userUUID, picture: 'javascript:alert(1)' }],
      'line 2: picture must be an https URL',
    ],
    [
      'permissions that do not exist',
      [{ kind: 'rule', entity_UUID: ben.userUUID, level: 0, permissions: 'rr', accepted: true }],
      'line 2: permissions must be letters of rwba, each once',
    ],
  ])('are refused with %s', async (_, lines, problem) => {
    const text = [message, ...lines].map((line) => JSON.stringify(line)).join('\n');
    await expect(parsed(text)).rejects.toThrow(problem);
  });
});
