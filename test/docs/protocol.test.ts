import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDecoder } from '../../src/protocol/v1/decode.js';
import { QUERY_WORDS, STATUS_WORDS } from '../../src/protocol/v1/events.js';
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

const fromClient = blocks('Client → server', 'json');
const fromServer = blocks('Server → client', 'json');

describe('the frames of PROTOCOL.md', () => {
  const decode = createDecoder({ contentCharacters: 8_000 });

  it('all stand under the direction in which they go', () => {
    const count = [...protocol.matchAll(/^```json$/gm)].length;
    expect(fromClient.length + fromServer.length).toBe(count);
    expect(new Set(fromClient.map(([subject]) => subject))).toEqual(
      new Set(['token', 'select_room', 'message', 'quit']),
    );
    expect(new Set(fromServer.map(([subject]) => subject))).toEqual(
      new Set(['query', 'status', 'message']),
    );
  });

  it.each(fromClient)('are decoded as the documented command: %s %s', (type, text) => {
    expect(decode(text)).toMatchObject({ kind: 'command', command: { type } });
  });

  it.each(fromServer)('have the documented type, and data: %s %s', (type, text) => {
    expect(JSON.parse(text)).toMatchObject({ type, data: expect.anything() as unknown });
  });

  it.each(fromServer.filter(([type]) => type !== 'message'))('have a word: %s %s', (type, text) => {
    const words: readonly string[] = type === 'query' ? QUERY_WORDS : STATUS_WORDS;
    expect(words).toContain((JSON.parse(text) as { data: string }).data);
  });
});

describe('the dialogues of PROTOCOL.md', () => {
  let world: ChatWorld;
  let node: TestNode;
  let client: Person;

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start();
    const [userUUID = ''] = /(?<="emitter":")[^"]+/.exec(protocol) ?? [];
    client = person({ userUUID, levelOnEntity: 999 });
    await createRoom(node, client);
  });
  afterAll(() => world.close());

  /** Plays the client's lines; returns the dialogue with the server's real answers in its lines. */
  async function play(dialogue: string): Promise<string[]> {
    const socket = await ChatClient.open(node.chatUrl);
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
  /** A line with its date replaced, since it differs in each run. */
  const undated = (line: string): string =>
    line.replace(/"createdAt":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/, '"createdAt":"a date"');

  it('happen as written, one after the other', async () => {
    const [first = '', second = '', ...others] = blocks('An example', 'text').map(
      ([, text]) => text,
    );
    expect(others).toEqual([]);
    expect((await play(first)).map(undated)).toEqual(linesOf(first).map(undated));
    expect((await play(second)).map(undated)).toEqual(linesOf(second).map(undated));
  });
});
