import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDecoder } from '../../src/protocol/v1/decode.js';
import { QUERY_WORDS, STATUS_WORDS } from '../../src/protocol/v1/events.js';
import { createDecoder as createDecoderV2 } from '../../src/protocol/v2/decode.js';
import { STATUS_WORDS as STATUS_WORDS_V2 } from '../../src/protocol/v2/events.js';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const root = new URL('../../', import.meta.url);
const protocol = readFileSync(new URL('docs/PROTOCOL.md', root), 'utf8');

/** The blocks of a language under one `##` heading, with the `###` heading that each stands under. */
function blocks(heading: string, language: string): [subject: string, text: string][] {
  const section = protocol.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const fence = new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g');
  return section.split(/^### /m).flatMap((text) => {
    const subject = /^`(\w+)`/.exec(text)?.[1] ?? '';
    return [...text.matchAll(fence)].map(([, block = '']): [string, string] => [subject, block]);
  });
}

const decode = createDecoder({ contentCharacters: 8_000 });
const decodeV2 = createDecoderV2({
  contentCharacters: 8_000,
  dataBytes: 4_096,
  roomsPerSocket: 128,
});

const VERSIONS = [
  {
    version: 'version 1',
    fromClient: blocks('Client → server', 'json'),
    fromServer: blocks('Server → client', 'json'),
    decode: (text: string): unknown => decode(text),
    commands: ['token', 'select_room', 'message', 'quit'],
    events: ['query', 'status', 'message'],
    words: STATUS_WORDS as readonly string[],
  },
  {
    version: 'version 2',
    fromClient: blocks('Version 2: client → server', 'json'),
    fromServer: blocks('Version 2: server → client', 'json'),
    decode: (text: string): unknown => decodeV2(text),
    commands: [
      'token',
      'join',
      'leave',
      'message',
      'edit',
      'delete',
      'reaction',
      'read',
      'typing',
      'ping',
      'quit',
    ],
    events: [
      'status',
      'message',
      'edit',
      'delete',
      'reaction',
      'erase',
      'member',
      'members',
      'room',
      'access',
      'read',
      'typing',
      'presence',
      'invited',
    ],
    words: STATUS_WORDS_V2 as readonly string[],
  },
];

it('all frames of PROTOCOL.md stand under the direction in which they go', () => {
  const count = [...protocol.matchAll(/^```json$/gm)].length;
  const found = VERSIONS.flatMap(({ fromClient, fromServer }) => [...fromClient, ...fromServer]);
  expect(found).toHaveLength(count);
});

describe.each(VERSIONS)(
  'the frames of $version in PROTOCOL.md',
  ({ fromClient, fromServer, decode, commands, events, words }) => {
    it('are of each type', () => {
      const typesOf = (frames: [type: string, text: string][]): Set<string> =>
        new Set(frames.map(([type]) => type));
      expect(typesOf(fromClient)).toEqual(new Set(commands));
      expect(typesOf(fromServer)).toEqual(new Set(events));
    });

    it.each(fromClient)('are decoded as the documented command: %s %s', (type, text) => {
      expect(decode(text)).toMatchObject({ kind: 'command', command: { type } });
    });

    it.each(fromServer)('have the documented type, and data: %s %s', (type, text) => {
      expect(JSON.parse(text)).toMatchObject({ type, data: expect.anything() as unknown });
    });

    it.each(fromServer.filter(([type]) => type === 'query' || type === 'status'))(
      'have a word: %s %s',
      (type, text) => {
        const known: readonly string[] = type === 'query' ? QUERY_WORDS : words;
        expect(known).toContain((JSON.parse(text) as { data: string }).data);
      },
    );
  },
);

describe('the dialogues of PROTOCOL.md', () => {
  let world: ChatWorld;
  let node: TestNode;
  let client: Person;

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start();
    const [userUUID = ''] = /(?<="emitter":")[^"]+/.exec(protocol) ?? [];
    const [entityUUID = ''] = /(?<="entityUUID":")[^"]+/.exec(protocol) ?? [];
    client = person({ userUUID, entityUUID, levelOnEntity: 999 });
    await createRoom(node, client);
  });
  afterAll(() => world.close());

  /** Plays the client's lines; returns the dialogue with the server's real answers in its lines. */
  async function play(
    dialogue: string,
    open = (url: string): Promise<ChatClient> => ChatClient.open(url),
  ): Promise<string[]> {
    const socket = await open(node.chatUrl);
    const played: string[] = [];
    for (const line of linesOf(dialogue)) {
      if (line.startsWith('S: close')) {
        played.push(`S: close ${(await socket.closed()).code}`);
      } else if (line.startsWith('S: ')) {
        played.push(`S: ${JSON.stringify(await socket.next())}`);
      } else {
        socket.raw(line.replace(/^C: /, '').replace('<jwt>', client.token));
        played.push(line);
      }
    }
    return played;
  }

  const linesOf = (dialogue: string): string[] => dialogue.trim().split('\n');
  /** A line without the values that differ in each run. */
  const undated = (line: string): string =>
    line
      .replace(/"createdAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, '"createdAt":"a date"')
      .replaceAll(/"(uuid|epoch)":"[\da-f-]{36}"/g, '"$1":"a uuid"')
      .replace(/"expires_in_ms":\d+/, '"expires_in_ms":"a time"');

  it('happen as written, one after the other', async () => {
    const [first = '', second = '', ...others] = blocks('An example', 'text').map(
      ([, text]) => text,
    );
    expect(others).toEqual([]);
    expect((await play(first)).map(undated)).toEqual(linesOf(first).map(undated));
    expect((await play(second)).map(undated)).toEqual(linesOf(second).map(undated));

    const [inVersion2 = ''] = blocks('Version 2', 'text').map(([, text]) => text);
    await createRoom(node, client);
    const played = await play(inVersion2, (url) => ChatClient.openV2(url));
    expect(played.map(undated)).toEqual(linesOf(inVersion2).map(undated));
  });
});
