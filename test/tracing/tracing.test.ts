import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRoom, putRule, request } from '../harness/api.js';
import { ChatClient, numberOf } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { SECRET, type TestNode } from '../harness/node.js';
import { runProgram } from '../harness/process.js';
import { person } from '../harness/tokens.js';

type Attributes = readonly { readonly key: string; readonly value: object }[];

/** A span of OTLP/HTTP in JSON. */
interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: Attributes;
}

interface ExportRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: Attributes };
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[];
  }[];
}

/** The spans that came to the collector, with the name of the service that sent them. */
const received: (Span & { readonly service: unknown })[] = [];
const paths = new Set<string | undefined>();
const ana = person({ levelOnEntity: 999 });
const ben = person();
let world: ChatWorld;

/** A collector of OpenTelemetry: it keeps what it gets. */
const collector = createServer((request, response) => {
  void take(request).then(() => {
    response.writeHead(200, { 'Content-Type': 'application/json' }).end('{}');
  });
});

async function take(request: IncomingMessage): Promise<void> {
  paths.add(request.url);
  const { resourceSpans } = (await json(request)) as ExportRequest;
  for (const { resource, scopeSpans } of resourceSpans) {
    const service = valueOf(resource.attributes, 'service.name');
    for (const { spans } of scopeSpans) {
      received.push(...spans.map((span) => ({ ...span, service })));
    }
  }
}

function valueOf(attributes: Attributes, name: string): unknown {
  const { value = {} } = attributes.find(({ key }) => key === name) ?? {};
  return Object.values(value)[0];
}

beforeAll(async () => {
  world = await createChatWorld();
  collector.listen(0, '127.0.0.1');
  await once(collector, 'listening');
});
beforeEach(() => {
  received.length = 0;
});
afterAll(async () => {
  await world.close();
  collector.close();
  collector.closeAllConnections();
});

function start(name: string, env: Readonly<Record<string, string>> = {}): Promise<TestNode> {
  const { port } = collector.address() as AddressInfo;
  return world.start({
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}/otlp`,
    OTEL_SERVICE_NAME: name,
    ...env,
  });
}

/** The spans of an entry, in the order of their beginnings. */
function spansOf(roomId: number, seq: number) {
  const id = `${roomId}:${seq}`;
  return received
    .filter(({ attributes }) => valueOf(attributes, 'messaging.message.id') === id)
    .toSorted((a, b) => Number(BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano)));
}

/** The services of the spans of a name. */
const servicesOf = (spans: readonly { name: string; service: unknown }[], name: string) =>
  spans
    .filter((span) => span.name === name)
    .map(({ service }) => String(service))
    .toSorted();

/** A room of both nodes: Ana sends on one, Ben reads on the other. Returns the numbers of what she has sent. */
async function chat(east: TestNode, west: TestNode, messages: number) {
  const room = await createRoom(east, ana);
  await putRule(east, ana, room, { userUUID: ben.userUUID, permissions: 'rw' });
  const sender = await ChatClient.enter(east, ana, room);
  const reader = await ChatClient.enterV2(west, ben, room);
  const seqs: number[] = [];
  for (let n = 0; n < messages; n += 1) sender.say(`hello ${n}`);
  while (seqs.length < messages) {
    const frame = await reader.next();
    if (frame.type === 'message') seqs.push(numberOf(frame));
  }
  return { room, seqs, sender, reader };
}

describe('the trace of an entry', () => {
  it('leads from the socket of a message through the store to the sockets of another node', async () => {
    const [east, west] = [await start('east'), await start('west')];
    const { room, seqs } = await chat(east, west, 3);
    await Promise.all([east.close(), west.close()]);

    for (const seq of seqs) {
      const spans = spansOf(room, seq);
      expect(servicesOf(spans, 'message')).toEqual(['east']);
      expect(servicesOf(spans, 'store')).toEqual(['east']);
      expect(servicesOf(spans, 'deliver')).toEqual(['east', 'west']);
      const [root, ...children] = spans;
      expect(root).toMatchObject({ name: 'message' });
      expect(root?.parentSpanId ?? '').toBe('');
      for (const span of children) {
        expect(span).toMatchObject({ traceId: root?.traceId, parentSpanId: root?.spanId });
        expect(BigInt(span.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(span.startTimeUnixNano));
      }
    }
    expect(new Set(received.map(({ spanId }) => spanId)).size).toBe(received.length);
    expect(paths).toEqual(new Set(['/otlp/v1/traces']));
  });

  it('begins with what is done by another statement than messages are', async () => {
    const [east, west] = [await start('east'), await start('west')];
    const { room, seqs, reader } = await chat(east, west, 1);
    const body = { content: 'better' };
    await request(west, 'PATCH', `/rooms/${room}/messages/${seqs[0]}`, { as: ana, body });
    const edit = await reader.next();
    await Promise.all([east.close(), west.close()]);

    const spans = spansOf(room, (edit.data as { seq: number }).seq);
    expect(servicesOf(spans, 'edit')).toEqual(['west']);
    expect(servicesOf(spans, 'deliver')).toEqual(['west']);
    expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1);
  });

  it('is whole or not there if only a share is traced', async () => {
    const share = { OTEL_TRACES_SAMPLER_ARG: '0.5' };
    const [east, west] = [await start('east', share), await start('west', share)];
    const { room, seqs } = await chat(east, west, 60);
    await Promise.all([east.close(), west.close()]);

    const names = seqs.map((seq) =>
      spansOf(room, seq)
        .map(({ name }) => name)
        .toSorted()
        .join(' '),
    );
    expect(new Set(names)).toEqual(new Set(['', 'deliver deliver message store']));
  });
});

it('a start without the optional packages says what it lacks, without a stack', async () => {
  const absent = `export async function resolve(name, context, next) {
    if (!name.startsWith('@opentelemetry/')) return next(name, context);
    throw Object.assign(new Error("Cannot find package '" + name + "'"), { code: 'ERR_MODULE_NOT_FOUND' });
  }`;
  const hook = `import { register } from 'node:module'; register(${JSON.stringify(inUrl(absent))});`;
  const program = runProgram('src/main.js', {
    env: {
      PORT: '0',
      NODE_ENV: 'production',
      JWT_MASTER_SECRET: SECRET,
      DATABASE_URL: world.databaseUrl,
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318',
      NODE_OPTIONS: `--import=${inUrl(hook)}`,
    },
  });

  expect(await program.exited()).toBe(1);
  const last = JSON.parse(program.stdout().trim().split('\n').at(-1) ?? '') as object;
  expect(last).toMatchObject({
    msg: expect.stringContaining('install without --omit=optional') as string,
  });
  expect(last).not.toHaveProperty('err');
});

/** A module as a URL. */
function inUrl(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

describe('a collector that does not answer', () => {
  it('disturbs nobody', async () => {
    const silent = createServer(() => undefined);
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const to = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
    const [east, west] = [await start('east', to), await start('west', to)];
    const { seqs } = await chat(east, west, 20);
    await Promise.all([east.close(), west.close()]);
    silent.close();
    silent.closeAllConnections();

    expect(seqs).toHaveLength(20);
  });
});
