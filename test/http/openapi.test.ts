import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { text } from 'node:stream/consumers';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOpenApi } from '../../src/http/openapi.js';
import { ROUTES } from '../../src/http/routes.js';
import { createRoom, putRule, request, type Answer } from '../harness/api.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { createSecretDir, type DataDir } from '../harness/data-dir.js';
import { openApi, operationOf, operations, requireDocumented } from '../harness/documented.js';
import type { TestNode } from '../harness/node.js';
import { startReceiver, WEBHOOK_SECRET, type Receiver } from '../harness/receiver.js';
import { person, type Person } from '../harness/tokens.js';

const httpApi = readFileSync(new URL('../../docs/HTTP-API.md', import.meta.url), 'utf8');

/** Reasons that a request alone does not bring about. */
const FAULTS = new Set(['INTERNAL', 'UNAVAILABLE', 'RATELIMITED']);
/** Reasons that every route has with a body. */
const OF_BODY = new Set(['BAD_JSON', 'TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE']);

/** The reasons of an operation's answers, by name, without those of any request. */
function reasonsOf({ responses }: (typeof operations)[number]['operation']): string[] {
  return Object.entries(responses)
    .filter(([status]) => status !== 'default')
    .flatMap(([, { $ref = '' }]) => $ref.split('/').at(-1)?.split('.').slice(1) ?? []);
}

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1', async () => {
    const document = createOpenApi({ contentCharacters: 10, dataBytes: 10 });
    const validator = new Validator();
    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  it('has every route once, and nothing else', () => {
    const shapeOf = (path: string): string => path.replaceAll(/:\w+|\{\w+\}/g, '*');
    const documented = operations.map(({ method, template }) => `${method} ${shapeOf(template)}`);
    const served = ROUTES.map(({ method, path }) => `${method} ${shapeOf(path)}`);
    expect(documented.toSorted()).toEqual(served.toSorted());
    expect(new Set(operations.map(({ operation }) => operation.operationId)).size).toBe(
      ROUTES.length,
    );
    const { tags } = openApi;
    expect(new Set(ROUTES.map(({ about }) => about.tag))).toEqual(
      new Set(tags.map(({ name }) => name)),
    );
  });

  it('has the limits of the node', () => {
    const document = JSON.stringify(createOpenApi({ contentCharacters: 7, dataBytes: 99 }));
    expect(document).toContain('"maxLength":7');
    expect(document).toContain('at most 99 bytes');
  });

  const pageOf = (route: string): string =>
    httpApi.split(/^## /m).find((text) => text.startsWith(`\`${route}\`\n`)) ?? '';

  it.each(ROUTES.map(({ method, path, about }) => ({ name: `${method} ${path}`, about })))(
    'says of $name what HTTP-API.md says',
    ({ name, about }) => {
      const [, who] = new RegExp(`^\\| \`${name}\` *\\| (.*?) *\\|`, 'm').exec(httpApi) ?? [];
      expect(about.who).toBe(who);
      const page = pageOf(name);
      const [, body] = /-d '([^']+)'/.exec(page) ?? [];
      expect(about.body).toEqual(body === undefined ? undefined : JSON.parse(body));
    },
  );

  it.each(operations.filter(({ method, template }) => pageOf(nameOf(method, template)) !== ''))(
    'has the errors of $method $template that HTTP-API.md has',
    ({ method, template, operation }) => {
      const [, after = ''] = pageOf(nameOf(method, template)).split('\nErrors: ');
      const [text = ''] = after.split('\n\n');
      const named = [...text.matchAll(/`([A-Z_]{5,})`/g)].map(([, reason = '']) => reason);
      const everywhere = new Set([...FAULTS, ...OF_BODY, 'UNAUTHORIZED']);
      const documented = reasonsOf(operation).filter((reason) => !everywhere.has(reason));
      expect(documented.toSorted()).toEqual(
        [...new Set(named)].filter((reason) => !everywhere.has(reason)).toSorted(),
      );
    },
  );

  it('has each answer of HTTP-API.md', () => {
    const examples = [...httpApi.matchAll(/```bash\n([\s\S]*?)```\n\n```json\n([\s\S]*?)```/g)].map(
      ([, command = '', answer = '']) => {
        const [, path = ''] = /http:\/\/localhost:7777([^\s']*)/.exec(command) ?? [];
        const [, method = command.includes(" -d '") ? 'POST' : 'GET'] =
          /-X (\w+)/.exec(command) ?? [];
        return { method, path, ...(JSON.parse(answer) as Pick<Answer, 'meta' | 'content'>) };
      },
    );
    expect(examples.length).toBeGreaterThan(ROUTES.length - 5);
    expect(examples.filter(({ method, path }) => operationOf(method, path) === undefined)).toEqual(
      [],
    );
    for (const { method, path, meta, content } of examples) {
      requireDocumented(method, path, { status: meta.code, meta, content });
    }
  });

  it.each([
    ['another key', 200, { code: 200, message: 'OK' }, { status: 'ok', broker: 'up', more: 1 }],
    ['a missing key', 200, { code: 200, message: 'OK' }, { status: 'ok' }],
    ['another status', 201, { code: 201, message: 'Created' }, { status: 'ok', broker: 'up' }],
    ['the reason of another route', 503, { code: 503, message: '', reason: 'AHEAD' }, {}],
  ])('has no answer with %s', (_case, status, meta, content) => {
    const answer = { status, meta, content };
    expect(() => requireDocumented('GET', '/readyz', answer)).toThrow('has no such answer');
  });
});

/** The name of a route in HTTP-API.md. */
function nameOf(method: string, template: string): string {
  const path = template.replaceAll(/\{(\w+)\}/g, ':$1');
  return method === 'PUT' && path === '/rooms/:id' ? 'PUT /rooms/:uuid' : `${method} ${path}`;
}

describe('the answers of a node', () => {
  const admin = person(
    { levelOnEntity: 999 },
    { name: 'Ana', picture: 'https://example.com/a.png' },
  );
  const guest = person();
  const stranger = person();
  let world: ChatWorld;
  let secretDir: DataDir;
  let hook: Receiver;
  let node: TestNode;
  /** By operation, the statuses and reasons that came. `request` holds each answer against the document. */
  const seen = new Map<string, Set<string>>();

  beforeAll(async () => {
    world = await createChatWorld();
    secretDir = await createSecretDir();
    hook = await startReceiver();
    const { url: HOOK_URL } = hook;
    const secret = { JWT_MASTER_SECRET: '', DATA_DIR: secretDir.path };
    node = await world.start({ ...secret, HOOK_URL, WEBHOOK_SECRET });
  });
  afterAll(async () => {
    await world.close();
    await hook.close();
    await secretDir.remove();
  });

  async function ask(
    method: string,
    path: string,
    options: { as?: Person | undefined; body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Answer> {
    const { as = admin, ...rest } = options;
    const answer = await request(
      node,
      method,
      path,
      'as' in options && options.as === undefined ? rest : { as, ...rest },
    );
    const id = operationOf(method, path)?.operation.operationId ?? '';
    const all = seen.get(id) ?? new Set();
    seen.set(id, all.add(String(answer.meta.reason ?? answer.status)));
    return answer;
  }

  it('are all documented, and all that is documented can be had', async () => {
    // Success.
    const room = await createRoom(node, admin);
    await ask('POST', '/rooms', { body: { name: 'a', level_admin: 999, type: 'group' } });
    const direct = await ask('POST', '/rooms', {
      body: { type: 'user2user', userUUID: guest.userUUID },
    });
    const { id: pair } = (direct.content as { room: { id: number } }).room;
    const uuid = randomUUID();
    const wanted = { name: 'b', type: 'group', data: { a: [1] } };
    for (const _ of [1, 2]) await ask('PUT', `/rooms/${uuid}`, { body: wanted });
    await ask('PATCH', `/rooms/${uuid}`, { body: { name: 'c', data: { a: {} } } });
    const rule = { userUUID: guest.userUUID, permissions: 'rw', level: 0 };
    for (const level of [0, 1])
      await ask('PUT', `/rooms/${room}/members`, { body: { ...rule, level } });
    await ask('PUT', `/rooms/${room}/invitation`, { as: guest, body: { accepted: true } });
    const messages = `/rooms/${room}/messages`;
    for (const _ of [1, 2]) {
      await ask('POST', messages, {
        body: { content: 'hi', data: { a: 1 }, mentions: [guest.userUUID], ref: 'a' },
      });
    }
    const { content } = await ask('POST', messages, { body: { content: 'ho' } });
    const { seq } = content as { seq: number };
    await ask('POST', messages, { body: { content: 'yes', reply_to: seq } });
    await ask('PATCH', `${messages}/${seq}`, { body: { content: 'he' } });
    for (const path of [
      '/rooms',
      '/rooms/all',
      '/me/rooms',
      '/me/rooms?limit=1',
      `/rooms/${room}`,
      `/rooms/${pair}`,
      `/rooms/${room}/members?limit=1`,
      messages,
      `${messages}?limit=1`,
      `${messages}/${seq}`,
      `/rooms/${room}/entries?limit=2`,
      `/rooms/${uuid}/entries`,
      '/messages?q=hi&limit=1',
      `/users?ids=${admin.userUUID}`,
      '/test/token',
      '/healthz',
      '/readyz',
    ]) {
      expect(await ask('GET', path)).toMatchObject({ status: 200 });
    }
    await ask('PUT', `/rooms/${room}/read`, { body: { upto: 3 } });
    await ask('PUT', `/rooms/${room}/notify`, { body: { level: 'none' } });

    const blocked = `/blocks/${randomUUID()}`;
    for (const method of ['PUT', 'PUT', 'GET', 'DELETE', 'DELETE', 'GET'])
      await ask(method, blocked);
    for (const method of ['PUT', 'GET', 'DELETE']) await ask(method, '/blocks/x');
    await ask('GET', '/blocks');

    const server = person({}, { server: true });
    const revoked = { userUUID: randomUUID() };
    await ask('POST', '/sessions/revoke', { as: server, body: revoked });
    const bulk = (where: unknown, members: unknown) =>
      ask('PUT', `/rooms/${String(where)}/members/bulk`, { as: server, body: { members } });
    await bulk(room, [{ ...rule, accepted: true }]);
    const file = {
      kind: 'room',
      format: 1,
      ...wanted,
      level_admin: 9,
      max_entity_rules: 9,
      entries: 0,
    };
    for (const where of [room, randomUUID(), 'x']) {
      for (const type of ['x-ndjson', 'json']) {
        await ask('POST', `/rooms/${where}/import`, {
          as: server,
          body: JSON.stringify(file),
          headers: { 'Content-Type': `application/${type}` },
        });
      }
    }
    const written = `/users/${guest.userUUID}/messages`;
    const erasure = `/users/${guest.userUUID}/erasure`;
    await ask('GET', erasure, { as: server });
    for (const method of ['GET', 'DELETE']) await ask(method, written, { as: server });
    await ask('GET', erasure, { as: server });
    await ask('POST', messages, { as: guest, body: { content: 'locked' } });
    const holder = new Client({ connectionString: world.databaseUrl });
    await holder.connect();
    await holder.query('BEGIN');
    await holder.query('SELECT FROM rooms WHERE id = $1 FOR UPDATE', [room]);
    await ask('DELETE', written, { as: server });
    await holder.end();

    const report = await ask('POST', `${messages}/${seq}/report`, { body: { reason: 'spam' } });
    await ask('POST', `${messages}/${seq}/report`, { body: {} });
    await ask('POST', `${messages}/${seq}/report`, { body: { reason: '' } });
    await ask('POST', `${messages}/9999/report`, { body: {} });
    await ask('GET', '/reports', { as: server });
    await ask('GET', '/reports?limit=x', { as: server });
    const { id: reportId } = report.content as { id: number };
    for (const id of [reportId, reportId, 'x']) {
      await ask('DELETE', `/reports/${id}`, { as: server });
    }

    // What each use case refuses.
    await ask('POST', '/sessions/revoke', { as: server, body: {} });
    for (const method of ['GET', 'DELETE']) {
      await ask(method, '/users/x/messages', { as: server });
    }
    await ask('GET', '/users/x/erasure', { as: server });
    await ask('POST', '/rooms', { as: guest, body: { name: 'a', level_admin: 9, type: 'group' } });
    await ask('PUT', `/rooms/${randomUUID()}`, { as: guest, body: wanted });
    const admins = { userUUID: stranger.userUUID, permissions: 'rwa', level: 1_000 };
    await ask('PUT', `/rooms/${room}/members`, { body: admins });
    await ask('PUT', `/rooms/${uuid}`, { body: { ...wanted, rules: [admins] } });
    const other = person({ levelOnEntity: 5_000 });
    const chief = await createRoom(node, other);
    await putRule(node, other, chief, { userUUID: admin.userUUID, permissions: 'rwa', level: 9 });
    await ask('DELETE', `/rooms/${chief}/members/${other.userUUID}`);
    const full = { ...wanted, max_entity_rules: 1 };
    const fullUuid = randomUUID();
    const rules = [rule];
    await ask('PUT', `/rooms/${fullUuid}`, { body: full });
    await ask('PUT', `/rooms/${fullUuid}`, { body: { ...full, rules } });
    await ask('PUT', `/rooms/${fullUuid}/members`, { body: rule });
    await bulk(fullUuid, rules);
    await bulk(randomUUID(), []);
    await bulk(room, 1);
    const [lone, third] = [randomUUID(), randomUUID()].map((userUUID) => ({ ...rule, userUUID }));
    const twoUuid = randomUUID();
    const two = { ...wanted, type: 'user2user' };
    await ask('PUT', `/rooms/${twoUuid}`, { body: { ...two, rules: [lone] } });
    await ask('PUT', `/rooms/${twoUuid}`, { body: { ...two, rules: [third] } });
    await ask('PUT', `/rooms/${twoUuid}/members`, { body: third });
    await bulk(twoUuid, [third]);
    await ask('GET', `/rooms/${room}/entries?after=999`);
    await ask('PUT', `/rooms/${room}/invitation`, {
      as: person({ entityUUID: admin.entityUUID }),
      body: { accepted: true, use_parent_entity: true },
    });
    await ask('GET', `/messages?q=hi&room=${room}`, { as: stranger });
    await ask('GET', '/messages?q=hi&room=2000000000');
    await ask('POST', messages, { body: { content: 'other', ref: 'a' } });
    await ask('PATCH', `${messages}/${seq}`, { body: { content: 'x', ref: 'a' } });
    await ask('POST', messages, { body: { content: 'x', reply_to: 9_999 } });
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      const body = method === 'PATCH' ? { content: 'x' } : undefined;
      await ask(method, `${messages}/9999`, { body });
    }
    hook.answer = (_, response) => response.end('{"action":"reject"}');
    await ask('POST', messages, { body: { content: 'x' } });
    await ask('PATCH', `${messages}/${seq}`, { body: { content: 'x' } });
    hook.answer = (_, response) => response.end();
    await ask('DELETE', `${messages}/${seq}?ref=a`);
    const gone = await ask('POST', messages, { body: { content: 'gone', ref: 'b' } });
    const goneSeq = (gone.content as { seq: number }).seq;
    await ask('DELETE', `${messages}/${goneSeq}`);
    await ask('GET', `${messages}/${goneSeq}`);
    await ask('POST', `${messages}/${goneSeq}/report`, { body: {} });
    await ask('PATCH', `${messages}/${goneSeq}`, { body: { content: 'x' } });
    await ask('POST', messages, { body: { content: 'gone', ref: 'b' } });
    await ask('GET', '/chat');
    for (const method of ['GET', 'POST']) {
      const body = method === 'POST' ? { name: 'Ana' } : undefined;
      await ask(method, '/dev/token', { body, headers: { Origin: 'https://app.example' } });
    }

    // What every route refuses: by its access, its path, its query and its body.
    const BAD_QUERY: Readonly<Record<string, string>> = {
      '/users': 'ids=x',
      '/rooms/{id}/messages/{seq}': 'ref=',
    };
    for (const { method, template, operation } of operations) {
      const pathOf = (id: number | string): string =>
        template
          .replace('{id}', String(id))
          .replace('{uuid}', guest.userUUID)
          .replace('{seq}', '1')
          .replace('{report}', '1');
      const body = operation.requestBody?.content['application/json']?.example;
      const isOpen = ['/healthz', '/readyz', '/chat'].includes(template);
      if (isOpen) continue;
      await ask(method, pathOf(room), { as: undefined, body });
      if (template.startsWith('/rooms/{id}')) {
        await ask(method, pathOf('x'), { body });
        await ask(method, pathOf(2_000_000_000), { body });
        await ask(method, pathOf(room), { as: person(), body });
      } else {
        await ask(method, `${pathOf(room)}?${BAD_QUERY[template] ?? 'limit=x'}`, {
          body: body && {},
        });
      }
      if (body === undefined) continue;
      await ask(method, pathOf(room), { body: '[]' });
      await ask(method, pathOf(room), { body: JSON.stringify({ a: 'a'.repeat(200_000) }) });
      await ask(method, pathOf(room), { body: 'a', headers: { 'Content-Type': 'text/plain' } });
    }
    await ask('DELETE', `/rooms/${room}/members/${guest.userUUID}`);
    await ask('DELETE', `/rooms/${room}`);

    const documented = operations.map(({ operation }) => {
      const statuses = Object.keys(operation.responses).filter((status) => status.startsWith('20'));
      const reasons = reasonsOf(operation).filter((reason) => !FAULTS.has(reason));
      return [operation.operationId, [...statuses, ...reasons].toSorted()];
    });
    expect(Object.fromEntries([...seen].map(([id, all]) => [id, [...all].toSorted()]))).toEqual(
      Object.fromEntries(documented),
    );
  });

  it.each([
    { path: `/users?${'a'.repeat(20_000)}`, headers: {}, reason: 'HEADERS_TOO_LARGE' },
    { path: '/users', headers: { Expect: 'anything' }, reason: 'EXPECTATION_FAILED' },
  ])('are documented where HTTP refuses a request: $reason', async ({ path, headers, reason }) => {
    const { status, meta, content } = await new Promise<
      Pick<Answer, 'status' | 'meta' | 'content'>
    >((resolve, reject) => {
      get(node.url + path, { headers, agent: false }, (response) => {
        text(response).then((body) => {
          resolve({
            status: response.statusCode ?? 0,
            ...(JSON.parse(body) as Pick<Answer, 'meta' | 'content'>),
          });
        }, reject);
      }).on('error', reject);
    });
    expect(meta.reason).toBe(reason);
    requireDocumented('GET', path, { status, meta, content });
  });

  it('has the document itself, without a token', async () => {
    const response = await fetch(`${node.url}/openapi.json`);
    expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
    const served = (await response.json()) as typeof openApi;
    expect(Object.keys(served.paths)).toEqual(Object.keys(openApi.paths));
  });
});
