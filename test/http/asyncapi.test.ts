import { readFileSync } from 'node:fs';
import specs from '@asyncapi/specs';
import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAsyncApi } from '../../src/http/asyncapi.js';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { commandSchemas, createDecoder } from '../../src/protocol/v1/decode.js';
import { STATUS_WORDS } from '../../src/protocol/v1/events.js';
import {
  commandSchemas as commandSchemasV2,
  createDecoder as createDecoderV2,
} from '../../src/protocol/v2/decode.js';
import { STATUS_WORDS as STATUS_WORDS_V2 } from '../../src/protocol/v2/events.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf, type ServerFrame } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { asyncApi, nameOfFrame, requireDocumentedFrame } from '../harness/documented-frames.js';
import type { TestNode } from '../harness/node.js';
import { startReceiver, WEBHOOK_SECRET } from '../harness/receiver.js';
import { person, secondsFromNow } from '../harness/tokens.js';

const LIMITS = { contentCharacters: 8_000, dataBytes: 4_096, roomsPerSocket: 128 };
const protocol = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');

/** The types of entries and events of version 2, by the headings of PROTOCOL.md. */
const [, ofServer = ''] = protocol.split('## Version 2: server → client');
const EVENT_TYPES = [...ofServer.matchAll(/^### `(\w+)`$/gm)]
  .map(([, type = '']) => type)
  .filter((type) => type !== 'status');

describe('the AsyncAPI document', () => {
  it('is valid AsyncAPI 3', () => {
    const ajv = new Ajv({ strict: false });
    formats.default(ajv);
    const validate = ajv.compile(specs.schemasWithoutId['3.0.0'] as object);
    validate(createAsyncApi(LIMITS));
    expect(validate.errors ?? []).toEqual([]);
    expect(validate({ ...createAsyncApi(LIMITS), channels: 1 })).toBe(false);
  });

  it('has no reference that leads nowhere', () => {
    const document = createAsyncApi(LIMITS);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)];
    expect(references).not.toEqual([]);
    for (const [, pointer = ''] of references) {
      const found = pointer
        .split('/')
        .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
      expect(found).toBeTypeOf('object');
    }
  });

  it.each([
    ['v1', commandSchemas(LIMITS), ['message', ...STATUS_WORDS]],
    ['v2', commandSchemasV2(LIMITS), [...STATUS_WORDS_V2, ...EVENT_TYPES]],
  ] as const)('has each command and frame of %s, and nothing else', (version, commands, frames) => {
    const names = Object.keys(asyncApi.channels[version].messages);
    const expected = [
      ...Object.keys(commands).map((type) => `command.${type}`),
      'query',
      ...frames,
    ];
    expect(names.toSorted()).toEqual(expected.toSorted());
    const received = Object.keys(asyncApi.operations).filter((name) => name.startsWith(version));
    expect(received.toSorted()).toEqual(
      [...Object.keys(commands), 'send'].map((type) => `${version}.${type}`).toSorted(),
    );
  });

  it('has the limits of the node, and its close codes', () => {
    const limits = { contentCharacters: 7, dataBytes: 99, roomsPerSocket: 3 };
    const document = JSON.stringify(createAsyncApi(limits));
    expect(document).toContain('"maxLength":7');
    expect(document).toContain('"maxItems":3');
    for (const [name, { code }] of Object.entries(CLOSE_CODES)) {
      expect(document).toContain(`${code} ${name}`);
    }
  });

  it('has the answers to each command that PROTOCOL.md has', () => {
    const [, table = ''] = protocol.split('| Command    |');
    const rows = [...table.matchAll(/^\| `(\w+)` *\|[^|]*\| (.*?) *\|$/gm)].slice(0, 11);
    const documented = rows.map(([, type, answers = '']) => [
      `v2.${type}`,
      [...new Set(wordsIn(answers))].filter((word) => word !== '1000'),
    ]);
    const always = new Set(['UNAVAILABLE', 'INTERNAL', 'RATELIMITED', 'REJECTED']);
    const served = Object.entries(asyncApi.operations)
      .filter(([name]) => name.startsWith('v2.') && name !== 'v2.send')
      .map(([name, { reply }]) => [
        name,
        reply?.messages.map(lastOf).filter((word) => !always.has(word)),
      ]);
    expect(Object.fromEntries(served)).toEqual(Object.fromEntries(documented));
  });

  it('has the answers to each command of version 1 that PROTOCOL.md has', () => {
    const [table = ''] = /^\| State [\s\S]*?\n\n/m.exec(protocol) ?? [];
    const [header = '', , ...rows] = table.trim().split('\n');
    const columns = header.split('|').map((cell) => wordsIn(cell)[0]);
    for (const type of Object.keys(commandSchemas(LIMITS))) {
      const cells = rows.map((row) => row.split('|')[columns.indexOf(type)] ?? '');
      const words = new Set(
        cells.flatMap(wordsIn).map((word) => (word.endsWith('?') ? 'query' : word)),
      );
      words.delete('1000');
      const { reply } = asyncApi.operations[`v1.${type}`] ?? {};
      const answers = reply?.messages.map(lastOf) ?? [];
      const faults = new Set(['UNAVAILABLE', 'INTERNAL']);
      expect(new Set(answers.filter((word) => !faults.has(word)))).toEqual(words);
    }
  });

  it.each(
    (['v1', 'v2'] as const).flatMap((version) =>
      Object.entries(asyncApi.channels[version].messages).flatMap(([name, { examples = [] }]) =>
        examples.map(({ payload }) => ({ version, name, payload })),
      ),
    ),
  )(
    'has an example of $name of $version that stands in PROTOCOL.md',
    ({ version, name, payload }) => {
      requireDocumentedFrame(version, name, payload);
      const decode = version === 'v1' ? createDecoder(LIMITS) : createDecoderV2(LIMITS);
      expect(decode(JSON.stringify(payload))).toMatchObject({ kind: 'command' });
      const blocks = [...protocol.matchAll(/```json\n([\s\S]*?)```/g)].map(
        ([, json = '']) => JSON.parse(json) as unknown,
      );
      expect(blocks).toContainEqual(payload);
    },
  );

  it.each([
    ['another key', { type: 'status', data: 'PONG', more: 1 }, 'PONG'],
    ['a missing key', { type: 'status', data: 'SENT', room_id: 1 }, 'SENT'],
    ['another type', { type: 'query', data: 'START?' }, 'PONG'],
  ])('has no frame with %s', (_case, frame, name) => {
    expect(() => {
      requireDocumentedFrame('v2', name, frame);
    }).toThrow('no such frame');
  });
});

describe('the frames of a node', () => {
  /** Words that a client alone does not bring about. */
  const FAULTS = new Set(['UNAVAILABLE', 'INTERNAL']);
  const admin = person({ levelOnEntity: 999 });
  const guest = person();
  let world: ChatWorld;
  let node: TestNode;
  let room: number;

  beforeAll(async () => {
    world = await createChatWorld();
    node = await world.start({ MESSAGES_PER_SECOND: '1', MESSAGES_BURST: '40' });
    room = await createRoom(node, admin);
  });
  afterAll(() => world.close());

  /** Collects the names of the frames of clients. ChatClient holds each frame against the document. */
  function namesOf(...clients: ChatClient[]): Set<string> {
    const names = new Set<string>();
    for (const { socket } of clients) {
      socket.on('message', (data: Buffer) => {
        names.add(nameOfFrame(JSON.parse(data.toString()) as ServerFrame));
      });
    }
    return names;
  }

  /** The names of all frames of the server in the document, without faults. */
  function documented(version: 'v1' | 'v2'): string[] {
    const { messages = [] } = asyncApi.operations[`${version}.send`] ?? {};
    return messages
      .map(lastOf)
      .filter((name) => !FAULTS.has(name))
      .toSorted();
  }

  it('are all documented in version 1, and all that is documented comes', async () => {
    const client = await ChatClient.open(node.chatUrl);
    const names = namesOf(client);
    client.send({ type: 'token', content: 'no token' });
    client.send({ type: 'select_room', room_id: room });
    client.send({ type: 'token', content: admin.token });
    client.say('to no room');
    client.send({ type: 'dance' });
    client.send({ type: 'select_room', room_id: 2_000_000_000 });
    client.send({ type: 'select_room', room_id: 'x' });
    client.send({ type: 'select_room', room_id: room, after: 999_999 });
    client.send({ type: 'select_room', room_id: room, after: 0 });
    client.say('hi', { ref: 'a1' });
    client.say('ho', { ref: 'a1' });
    client.say('without a ref');
    client.say('');
    client.raw('[]');
    await client.closed();
    names.add(nameOfFrame(await client.next()));
    expect([...names].toSorted()).toEqual(documented('v1'));
  });

  it('are all documented in version 2, and all that is documented comes', async () => {
    const [mine, theirs] = await Promise.all(
      [admin, guest].map((who) => ChatClient.enterV2(node, who)),
    );
    if (mine === undefined || theirs === undefined) throw new Error('no client');
    const broken = await ChatClient.openV2(node.chatUrl);
    const names = namesOf(mine, theirs, broken);
    names.add(nameOfFrame(await broken.next()));
    broken.send({ type: 'token', content: 'no token' });
    broken.send({ type: 'leave', room_id: room });
    broken.send({ type: 'token', content: admin.token, ref: 'r' });
    broken.send({ type: 'ping', ref: 'p' });
    broken.raw('[]');
    await broken.closed();

    const joinAll = { type: 'join', with: ['typing', 'presence', 'read'] };
    const told = (client: ChatClient, type: string): Promise<ServerFrame> =>
      new Promise((resolve) => {
        client.socket.on('message', (data: Buffer) => {
          const frame = JSON.parse(data.toString()) as ServerFrame;
          if (nameOfFrame(frame) === type) resolve(frame);
        });
      });
    const after = async (client: ChatClient, type: string, act: () => unknown) => {
      const came = told(client, type);
      await act();
      return came;
    };
    await after(mine, 'presence', () => {
      mine.send({ ...joinAll, rooms: [{ room_id: room, after: 0 }] });
    });
    const permissions = 'rw';
    await after(theirs, 'invited', () =>
      putRule(node, admin, room, { userUUID: guest.userUUID, permissions }),
    );
    await after(mine, 'presence', () => {
      theirs.send({ ...joinAll, rooms: [{ room_id: room }], ref: 'j' });
    });
    const first = await after(mine, 'message', () => {
      theirs.send({ type: 'message', room_id: room, content: 'hi', data: { a: 1 }, ref: 'm' });
    });
    const target = numberOf(first);
    await after(mine, 'typing', () => {
      theirs.send({ type: 'typing', room_id: room, ref: 't' });
    });
    await after(mine, 'read', () => {
      theirs.send({ type: 'read', room_id: room, upto: target, ref: 'u' });
    });
    const reply = { reply_to: target, mentions: [guest.userUUID] };
    // The others may not edit it, once it is there.
    await after(theirs, 'message', () => {
      mine.send({ type: 'message', room_id: room, content: 'ho', ...reply, ref: 'm' });
    });
    mine.send({ type: 'message', room_id: room, content: 'other', ref: 'm' });
    mine.send({ type: 'message', room_id: room });
    theirs.send({ type: 'edit', room_id: room, target, content: 'he', data: {}, ref: 'e' });
    theirs.send({ type: 'reaction', room_id: room, target, emoji: '👍', on: true, ref: 'x' });
    theirs.send({ type: 'edit', room_id: room, target: target + 1, content: 'not mine' });
    theirs.send({ type: 'edit', room_id: room, target: 999_999, content: 'nothing' });
    await after(mine, 'delete', () => {
      theirs.send({ type: 'delete', room_id: room, target, ref: 'd' });
    });
    theirs.send({ type: 'edit', room_id: room, target, content: 'gone' });
    theirs.send({
      type: 'join',
      rooms: [{ room_id: '2000000000' }, { room_id: room, after: 99_999 }],
    });
    theirs.send({ type: 'dance', ref: 'z' });
    await after(mine, 'room', () =>
      request(node, 'PATCH', `/rooms/${room}`, { as: admin, body: { name: 'b', data: { a: 1 } } }),
    );
    await after(mine, 'members', () =>
      request(node, 'PUT', `/rooms/${room}/members/bulk`, {
        as: person({}, { server: true }),
        body: { members: [{ userUUID: guest.userUUID, permissions, level: 1 }] },
      }),
    );
    await after(theirs, 'CONNECTED', () => {
      // The entries again, without what was replaced or deleted.
      theirs.send({ ...joinAll, rooms: [{ room_id: room, after: 0 }], max: 10_000 });
    });
    await after(theirs, 'RATELIMITED', () => {
      const message = { type: 'message', room_id: room, content: 'again' };
      for (let sent = 0; sent < 50; sent += 1) theirs.send(message);
    });
    await after(mine, 'erase', () =>
      request(node, 'DELETE', `/users/${guest.userUUID}/messages`, {
        as: person({}, { server: true }),
      }),
    );
    await after(theirs, 'access', () =>
      request(node, 'DELETE', `/rooms/${room}/members/${guest.userUUID}`, { as: admin }),
    );
    await Promise.all([mine.close(), theirs.close()]);
    const hook = await startReceiver();
    hook.answer = (_, response) => response.end('{"action":"reject","detail":"no"}');
    const asking = await world.start({ HOOK_URL: hook.url, WEBHOOK_SECRET });
    const rejected = await ChatClient.enterV2(asking, admin);
    rejected.send({ type: 'message', room_id: room, content: 'hi', ref: 'r' });
    for (const frame of await rejected.expect('REJECTED')) names.add(nameOfFrame(frame));
    await rejected.close();
    await hook.close();
    // Its deadlines are checked often.
    const leaving = await world.start({ DRAIN_SECONDS: '1', PONG_TIMEOUT_MS: '1000' });
    const soon = person({}, { exp: secondsFromNow(8) });
    const expiring = await ChatClient.enterV2(leaving, soon);
    for (const frame of await expiring.expect('EXPIRING')) names.add(nameOfFrame(frame));
    await expiring.close();
    const drained = await ChatClient.enterV2(leaving, guest);
    const closed = leaving.close();
    for (const frame of await drained.expect('DRAIN')) names.add(nameOfFrame(frame));
    await closed;
    expect([...names].toSorted()).toEqual(documented('v2'));
  });

  it('have their document, without a token', async () => {
    const response = await fetch(`${node.url}/asyncapi.json`);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(await response.json()).toMatchObject({ asyncapi: '3.0.0' });
  });
});

/** The texts in backticks. */
function wordsIn(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word);
}

/** The name of the message that a reference leads to. */
function lastOf({ $ref }: { readonly $ref: string }): string {
  return $ref.slice($ref.lastIndexOf('/') + 1);
}
