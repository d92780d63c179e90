import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addNodeGauges } from '../../src/metrics/node-gauges.js';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { rawRequest } from '../harness/raw-request.js';
import { openOutlet, type Outlet } from '../harness/outlet.js';
import { startReceiver, WEBHOOK_SECRET, type Receiver } from '../harness/receiver.js';
import { redisUrl } from '../harness/services.js';
import { person } from '../harness/tokens.js';

const ana = person({ levelOnEntity: 999 });
const ben = person();

let world: ChatWorld;
let redis: Outlet;
let receiver: Receiver;
/** Measures, and hears the others through an outlet. */
let east: TestNode;
let west: TestNode;
let room: number;

beforeAll(async () => {
  world = await createChatWorld();
  redis = await openOutlet(redisUrl());
  receiver = await startReceiver();
  east = await world.start({
    METRICS_PORT: '0',
    REDIS_URL: redis.url,
    WEBHOOK_URL: receiver.url,
    WEBHOOK_SECRET,
  });
  west = await world.start();
  room = await createRoom(east, ana);
  await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
});
afterAll(async () => {
  await world.close();
  await redis.close();
  await receiver.close();
});

function fetchMetrics(path = '/metrics', init: RequestInit = {}): Promise<Response> {
  const { port } = east.server.metricsAddress ?? {};
  return fetch(`http://127.0.0.1:${port}${path}`, init);
}

/** The samples of a scrape, by name and labels. */
async function scrape(): Promise<(sample: string) => number> {
  const text = await (await fetchMetrics()).text();
  const samples = new Map(
    [...text.matchAll(/^([^#\s][^ ]*(?:\{.*\})?) (\S+)$/gm)].map(([, name = '', value]) => [
      name.replaceAll('"', ''),
      Number(value),
    ]),
  );
  return (sample) => samples.get(`nano_messaging_${sample}`) ?? samples.get(sample) ?? 0;
}

/** Expects a condition to hold soon: scrapes until then. */
async function expectMetrics(isSo: (sample: (name: string) => number) => boolean): Promise<void> {
  while (!isSo(await scrape()));
}

describe('the table of OPERATIONS.md', () => {
  it('has every metric, with its type, labels and meaning', async () => {
    const text = await (await fetchMetrics()).text();
    const types = new Map(
      [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]),
    );
    const served = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name, help]) => ({
      name,
      type: types.get(name),
      help,
    }));
    const page = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `(\w+)` +\| (\w+) +\| (.*?) *\| (.+?) *\|$/gm)];

    expect(served).not.toEqual([]);
    expect(rows.map(([, name, type, , help]) => ({ name, type, help }))).toEqual(served);
    for (const [, name = '', , labels = ''] of rows) {
      const documented = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label);
      for (const [, given = ''] of text.matchAll(new RegExp(`^${name}\\{(.*)\\} `, 'gm'))) {
        expect([...given.matchAll(/(\w+)="/g)].map(([, label]) => label)).toEqual(documented);
      }
    }
  });
});

describe('the metrics of a node', () => {
  it('count the sockets by version and state, and why they closed', async () => {
    const greeting = await ChatClient.open(east.chatUrl);
    const v1 = await ChatClient.enter(east, ana, room);
    const v2 = await ChatClient.enterV2(east, ana, room);
    const sample = await scrape();

    expect(sample('sockets{version=1,state=greeting}')).toBe(1);
    expect(sample('sockets{version=1,state=ready}')).toBe(1);
    expect(sample('sockets{version=2,state=ready}')).toBe(1);
    expect(sample('rooms')).toBe(1);
    v1.send({ type: 'quit' });
    v2.socket.close(4_999);
    greeting.terminate();
    await expectMetrics(
      (sample) =>
        sample('sessions_ended_total{version=1,reason=NORMAL}') === 1 &&
        sample('sessions_ended_total{version=1,reason=CONNECTION_LOST}') === 1 &&
        sample('sessions_ended_total{version=2,reason=OTHER}') === 1,
    );
  });

  it('count what is appended, in which time, and when it was delivered', async () => {
    const before = await scrape();
    const client = await ChatClient.enter(east, ana, room);
    for (let n = 0; n < 20; n += 1) client.say(`hello ${n}`);
    await client.messages(20);
    await request(east, 'PATCH', `/rooms/${room}`, { as: ana, body: { name: 'another name' } });
    const added = await increases(before);

    expect(added('entries_appended_total{kind=message}')).toBe(20);
    expect(added('entries_appended_total{kind=room}')).toBe(1);
    expect(added('batch_entries_sum')).toBe(20);
    const batches = added('batch_entries_count');
    expect(batches).toBeGreaterThan(0);
    expect(batches).toBeLessThan(20);
    expect(added('append_seconds_count')).toBe(batches);
    expect(added('append_seconds_sum')).toBeGreaterThan(0);
    expect(added('delivery_seconds_count')).toBeGreaterThan(0);
    expect(added('delivery_seconds_sum')).toBeLessThan(60 * added('delivery_seconds_count'));
    await client.close();
  });

  it('count the rules that a room begins with', async () => {
    const before = await scrape();
    // Its own, and that of her entity.
    await createRoom(east, ana);
    for (const [method, path, body] of [
      ['POST', '/rooms', { type: 'user2user', userUUID: ben.userUUID }],
      ['PUT', `/rooms/${randomUUID()}`, { type: 'group', name: 'new' }],
    ] as const) {
      expect((await request(east, method, path, { as: ana, body })).status).toBe(201);
    }

    expect((await increases(before))('entries_appended_total{kind=member}')).toBe(6);
  });

  it('count what is imported over REST', async () => {
    const target = await createRoom(east, ana);
    const head = { kind: 'room', format: 1, name: 'old', type: 'group', level_admin: 900 };
    const messages = [1, 2, 3].map((seq) => ({
      kind: 'message',
      seq,
      emitter: ben.userUUID,
      createdAt: '2020-01-31T10:00:00Z',
      content: 'hi',
    }));
    const lines = [{ ...head, max_entity_rules: 10, entries: 3 }, ...messages];
    const before = await scrape();
    const { status } = await request(east, 'POST', `/rooms/${target}/import`, {
      as: person({}, { server: true }),
      headers: { 'Content-Type': 'application/x-ndjson' },
      body: lines.map((line) => JSON.stringify(line)).join('\n'),
    });
    expect(status).toBe(200);

    expect((await increases(before))('entries_appended_total{kind=message}')).toBe(3);
  });

  it('count refusals by reason, over REST and sockets of both versions', async () => {
    const before = await scrape();
    await request(east, 'GET', '/rooms/999999', { as: ana });
    await request(east, 'GET', '/users');
    // Neither reaches a route.
    await rawRequest(east, '/', { headers: { 'X-Long': 'x'.repeat(17_000) } });
    await rawRequest(east, '/', { headers: { 'Content-Length': 'x' } });
    // Its body is broken.
    const socket = connect(Number(new URL(east.url).port));
    socket.write(
      `POST /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\n` +
        'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n',
    );
    socket.resume();
    await once(socket, 'close');
    await expect(ChatClient.open(`${east.chatUrl}/elsewhere`)).rejects.toThrow('404');
    const v1 = await ChatClient.open(east.chatUrl);
    v1.send({ type: 'message', content: 'who am I?' });
    v1.send({ type: 'token', content: 'no token' });
    await v1.expect('START?', 'TOKEN?', 'BADAUTH');
    v1.send({ type: 'token', content: ben.token });
    v1.send({ type: 'select_room', room_id: 999_999 });
    await v1.expect('READY', 'NOTAUTHORIZED');
    const v2 = await ChatClient.enterV2(east, ben, room);
    v2.send({ type: 'message', room_id: room });
    v2.send({ type: 'dance' });
    await v2.expect('INVALID', 'INVALID');
    const added = await increases(before);

    expect(added('refusals_total{over=rest,reason=NOT_FOUND}')).toBe(1);
    expect(added('refusals_total{over=rest,reason=UNAUTHORIZED}')).toBe(1);
    expect(added('refusals_total{over=rest,reason=HEADERS_TOO_LARGE}')).toBe(1);
    expect(added('refusals_total{over=rest,reason=INVALID}')).toBe(2);
    expect(added('refusals_total{over=socket,reason=UNAUTHORIZED}')).toBe(2);
    expect(added('refusals_total{over=socket,reason=NOT_FOUND}')).toBe(2);
    expect(added('refusals_total{over=socket,reason=INVALID}')).toBe(1);
    expect(added('refusals_total{over=socket,reason=UNKNOWN_COMMAND}')).toBe(1);
    await Promise.all([v1.close(), v2.close()]);
  });

  it('show the pools, the peers, the broker, the epoch and the process', async () => {
    await expectMetrics((sample) => sample('broker_up') === 1 && sample('peers') === 1);
    const sample = await scrape();

    expect(sample('broker_round_trip_seconds_count')).toBeGreaterThan(0);
    expect(sample('broker_round_trip_seconds_sum')).toBeGreaterThan(0);
    // The connection that appended is kept, and does nothing.
    expect(sample('pool_connections{pool=appends,state=idle}')).toBeGreaterThan(0);
    expect(sample('pool_connections{pool=appends,state=used}')).toBe(0);
    expect(sample('pool_waiting{pool=rest}')).toBe(0);
    const { epoch } = await joinedEpoch();
    expect(sample(`epoch_info{epoch=${epoch}}`)).toBe(1);
    expect(sample('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(sample('process_resident_memory_bytes')).toBeGreaterThan(1e7);
    expect(sample('nodejs_eventloop_lag_max_seconds')).toBeGreaterThanOrEqual(
      sample('nodejs_eventloop_lag_p99_seconds'),
    );
  });

  it('count gaps that were repaired, and polls that found something, while Redis is silent', async () => {
    const [here, there] = [
      await ChatClient.enter(east, ana, room),
      await ChatClient.enter(west, ben, room),
    ];
    const before = await scrape();
    redis.mute();
    there.say('nobody hears me');
    expect(await here.messages(1)).toEqual(['nobody hears me']);
    await expectMetrics((sample) => sample('broker_up') === 0 && sample('lost_entries_total') > 0);
    redis.resume();
    const added = await increases(before);

    expect(added('polls_found_total')).toBeGreaterThan(0);
    expect(added('polls_total')).toBeGreaterThanOrEqual(added('polls_found_total'));
    expect(added('gap_repairs_total')).toBeGreaterThan(0);
    expect(added('gap_entries_total')).toBeGreaterThan(0);
    await Promise.all([here.close(), there.close()]);
  });

  it('show how many sockets are full, and what waits for them', async () => {
    const registry = new Registry();
    addNodeGauges(registry, {
      chat: {
        sessions: [true, false, true].map((isFull) => ({
          version: 2,
          isReady: true,
          writer: { isFull },
        })),
        backlogBytes: 70_000,
      },
      hub: { roomCount: 0, peerCount: 0, brokerIsUp: false },
      unsettled: () => ({ entries: 3, bytes: 300 }),
      poolUses: () => [{ pool: 'rest', open: 5, used: 5, waiting: 2 }],
      epoch: { uuid: '', onChange: () => undefined },
    });
    const text = await registry.metrics();
    expect(text).toContain('nano_messaging_sockets_full 2\n');
    expect(text).toContain('nano_messaging_backlog_bytes 70000\n');
    expect(text).toContain('nano_messaging_unsettled_messages 3\n');
    expect(text).toContain('nano_messaging_unsettled_bytes 300\n');
    expect(text).toContain('nano_messaging_pool_waiting{pool="rest"} 2\n');
  });

  it('have the last numbers of the webhooks if the database is silent', async () => {
    const registry = new Registry();
    const answers = [Promise.resolve({ rooms: 3, oldest: null })];
    addNodeGauges(registry, {
      chat: { sessions: [], backlogBytes: 0 },
      hub: { roomCount: 0, peerCount: 0, brokerIsUp: false },
      unsettled: () => ({ entries: 0, bytes: 0 }),
      poolUses: () => [],
      epoch: { uuid: '', onChange: () => undefined },
      webhookBacklog: () => answers.pop() ?? new Promise(() => undefined),
    });
    await registry.metrics();

    expect(await registry.metrics()).toContain('nano_messaging_webhook_rooms_waiting 3\n');
  });

  /** How much samples have grown since an earlier scrape. */
  async function increases(
    before: (sample: string) => number,
  ): Promise<(sample: string) => number> {
    const now = await scrape();
    return (sample) => now(sample) - before(sample);
  }

  async function joinedEpoch(): Promise<{ epoch: string }> {
    const client = await ChatClient.enterV2(east, ana);
    client.send({ type: 'join', rooms: [{ room_id: room }] });
    const [connected] = await client.expect('CONNECTED');
    await client.close();
    return { epoch: String(connected?.['epoch']) };
  }
});

describe('/metrics', () => {
  it('is served on its own port alone, to GET and HEAD', async () => {
    const answer = await fetchMetrics();
    expect(answer.status).toBe(200);
    expect(answer.headers.get('Content-Type')).toMatch(/^text\/plain; version=0\.0\.4/);
    expect((await fetchMetrics('/metrics', { method: 'HEAD' })).status).toBe(200);
    expect((await fetchMetrics('/metrics', { method: 'POST' })).status).toBe(405);
    expect((await fetchMetrics('/rooms')).status).toBe(404);
    expect(east.server.metricsAddress?.address).toBe('127.0.0.1');
    expect((await request(east, 'GET', '/metrics', { as: ana })).status).toBe(404);
  });

  it('is not served without METRICS_PORT', () => {
    expect(west.server.metricsAddress).toBeUndefined();
  });

  it('ends with the node', async () => {
    const short = await world.start({ METRICS_PORT: '0' });
    const { port } = short.server.metricsAddress ?? {};
    await short.close();
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow('fetch failed');
    expect(short.server.metricsAddress).toBeUndefined();
  });
});
