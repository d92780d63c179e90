import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { NodeProcess } from '../harness/node-process.js';
import { person } from '../harness/tokens.js';

let world: ChatWorld;
let node: NodeProcess;

beforeAll(async () => {
  world = await createChatWorld();
});
afterAll(() => world.close());

/** The lines of a process that has ended, without their level and time. */
function linesOf({ program }: NodeProcess): Record<string, unknown>[] {
  return program
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

it('LOG_LEVEL=debug tells the way of a message from one user to another, without its content', async () => {
  node = await world.startProcess({ NODE_ENV: 'production', LOG_LEVEL: 'debug' });
  const ana = person({ levelOnEntity: 999 });
  const ben = person({ levelOnEntity: 999, entityUUID: ana.entityUUID });
  const room = await createRoom(node, ana);
  const sender = await ChatClient.enter(node, ana, room);
  const reader = await ChatClient.enter(node, ben, room);
  sender.say('a secret between us', { ref: 'a ref of ana' });
  await sender.messages(1);
  await sender.expect('SENT');
  sender.send({ type: 'select_room', room_id: room + 1 });
  await sender.expect('NOTAUTHORIZED');
  expect(await reader.messages(1)).toEqual(['a secret between us']);
  expect(await node.end('SIGTERM')).toBe(0);

  const lines = linesOf(node);
  const story = (fields: object): unknown[] =>
    lines
      .filter((line) => Object.entries(fields).every(([key, value]) => line[key] === value))
      .map((line) => line['command'] ?? line['word'] ?? line['msg']);
  expect(story({ session: 1 })).toEqual([
    'session opened',
    'token',
    'READY',
    'select_room',
    'CONNECTED',
    'message',
    'SENT',
    'select_room',
    'NOTAUTHORIZED',
    'session ended',
  ]);
  expect(story({ session: 2 })).toEqual([
    'session opened',
    'token',
    'READY',
    'select_room',
    'CONNECTED',
    'session ended',
  ]);
  expect(story({ request: 1 })).toEqual(['request received', 'request']);
  expect(story({ room })).toEqual(
    expect.arrayContaining(['select_room', 'feed opened', 'CONNECTED', 'message', 'SENT']),
  );
  expect(story({ msg: 'feed closed', room: room + 1 })).toEqual([]);
  expect(lines).toContainEqual(
    expect.objectContaining({ msg: 'batch stored', rooms: [room], entries: 1, stored: 1 }),
  );
  expect(lines).toContainEqual(expect.objectContaining({ word: 'SENT', room }));
  for (const secret of ['a secret between us', 'a ref of ana', ana.token, ben.token]) {
    expect(node.program.stdout()).not.toContain(secret);
  }
});
