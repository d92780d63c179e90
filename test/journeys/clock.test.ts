import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { person, secondsFromNow } from '../harness/tokens.js';

const HOUR_MS = 3_600_000;
/** The leeway that `verify` adds to a token's `exp`, in seconds. */
const LEEWAY_S = 5;

describe('a clock that is set back by an hour while a node runs', () => {
  let world: ChatWorld;
  let node: TestNode;
  /** A node that shares only the database. */
  let other: TestNode;
  const ana = person({ levelOnEntity: 999 });

  beforeAll(async () => {
    world = await createChatWorld();
    const env = {
      AUTH_TIMEOUT_MS: '2000',
      PING_INTERVAL_MS: '200',
      PONG_TIMEOUT_MS: '2000',
      POLL_INTERVAL_MS: '200',
    };
    node = await world.start(env);
    other = await world.start({ ...env, REDIS_PREFIX: 'another' });
  });
  afterAll(() => world.close());
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], shouldAdvanceTime: true });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function setBack(): void {
    vi.setSystemTime(Date.now() - HOUR_MS);
  }

  it('does not stop the pings of the server', async () => {
    const client = await ChatClient.enter(node, ana);
    setBack();
    await once(client.socket, 'ping');
    const [data] = (await once(client.socket, 'ping')) as [Buffer];
    expect(data).toHaveLength(0);
    await client.close();
  });

  it('does not spare a client that answers no ping', async () => {
    const client = await ChatClient.open(node.chatUrl, { autoPong: false });
    client.send({ type: 'token', content: ana.token });
    setBack();
    expect(await client.closed()).toMatchObject({ code: 1006 });
  });

  it('does not spare a socket without a token', async () => {
    const client = await ChatClient.open(node.chatUrl);
    setBack();
    expect(await client.closed()).toMatchObject({ code: 4408 });
  });

  it('does not lengthen the life of a token that was accepted before', async () => {
    const soon = person({}, { exp: secondsFromNow(4 - LEEWAY_S) });
    const client = await ChatClient.enter(node, soon);
    setBack();
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('that is set forward instead ends a token that was accepted before', async () => {
    const client = await ChatClient.enter(node, person({}, { exp: secondsFromNow(600) }));
    vi.setSystemTime(Date.now() + HOUR_MS);
    expect(await client.closed()).toMatchObject({ code: 4401 });
  });

  it('does not stop a node from finding unpublished messages', async () => {
    const room = await createRoom(node, ana);
    const listener = await ChatClient.enter(node, ana, room);
    const sender = await ChatClient.enter(other, ana, room);
    setBack();
    sender.say('nobody told you');
    expect(await listener.messages(1)).toEqual(['nobody told you']);
    await Promise.all([listener.close(), sender.close()]);
  });
});
