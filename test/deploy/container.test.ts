import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Service {
  readonly extends?: { readonly file: string; readonly service: string };
  readonly environment?: Readonly<Record<string, string>>;
  readonly secrets?: readonly string[];
  readonly ports?: readonly string[];
}

let folder: string;
const secretOf = (name: string): Promise<string> => readFile(join(folder, 'secrets', name), 'utf8');
const createSecrets = () => promisify(execFile)('sh', [join(folder, 'deploy/create-secrets.sh')]);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
  await cp(join(ROOT, 'deploy'), join(folder, 'deploy'), { recursive: true });
  await createSecrets();
});
afterAll(() => rm(folder, { recursive: true }));

describe('the secrets of docker-compose.yml', () => {
  it('are random, and stay if they exist', async () => {
    const names = ['jwt_master_secret', 'db_password', 'redis_password', 'redis_url'];
    const before = await Promise.all(names.map(secretOf));
    await createSecrets();

    expect(await Promise.all(names.map(secretOf))).toEqual(before);
    expect(new Set(before).size).toBe(names.length);
    for (const secret of before) expect(secret).toMatch(/[0-9a-f]{64}/);
  });
});

interface ComposeFile {
  readonly services: Readonly<Record<string, Service>>;
  readonly secrets: Readonly<Record<string, { file: string }>>;
}

/** A compose file, with what its services extend. */
async function readCompose(name: string): Promise<ComposeFile> {
  const file = parse(await readFile(join(ROOT, name), 'utf8'), { merge: true }) as ComposeFile;
  const services: Record<string, Service> = {};
  for (const [key, { extends: base, ...own }] of Object.entries(file.services)) {
    const extended = base && (await readCompose(base.file)).services[base.service];
    services[key] = { ...extended, ...own };
  }
  return { ...file, services };
}

describe.each([
  { name: 'docker-compose.yml', nodes: ['api'] },
  { name: 'docker-compose.scale.yml', nodes: ['api1', 'api2', 'api3'] },
])('$name', async ({ name, nodes }) => {
  const { services, secrets } = await readCompose(name);

  it.each(nodes)('configures %s for production, with the secrets that were made', async (node) => {
    const given = Object.entries(services[node]?.environment ?? {}).map(([name, value]) => [
      name,
      value.replace('/run/secrets', join(folder, 'secrets')),
    ]);
    const config = loadConfig(Object.fromEntries(given) as Record<string, string>);

    expect(config).toMatchObject({
      production: true,
      jwtSecret: (await secretOf('jwt_master_secret')).trim(),
      database: { host: 'db', password: (await secretOf('db_password')).trim() },
      redisUrls: [`redis://:${(await secretOf('redis_password')).trim()}@pubsub:6379`],
    });
  });

  it('mounts the secrets that were made, and each where it is read', async () => {
    const files = Object.values(secrets).map(({ file }) => file.replace('secrets/', ''));
    expect(files.toSorted()).toEqual((await readdir(join(folder, 'secrets'))).toSorted());
    for (const service of Object.values(services)) {
      const read = [...JSON.stringify(service).matchAll(/\/run\/secrets\/(\w+)/g)];
      const names = new Set(read.map(([, name]) => name));
      expect(names).toEqual(new Set(service.secrets));
    }
  });

  it.each(Object.keys(services))('confines %s', (service) => {
    expect(services[service]).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
      mem_limit: expect.any(String) as string,
      pids_limit: expect.any(Number) as number,
      logging: { options: { 'max-size': '10m', 'max-file': '5' } },
    });
  });

  it('opens one port, on the loopback unless told', () => {
    const ports = Object.values(services).flatMap((service) => service.ports ?? []);
    expect(ports).toEqual(['${PUBLISH:-127.0.0.1:7777}:7777']);
  });
});

describe('docker-compose.scale.yml', async () => {
  const { services } = await readCompose('docker-compose.scale.yml');
  const haproxy = await readFile(join(ROOT, 'deploy/haproxy/haproxy.cfg'), 'utf8');

  it('has the nodes that HAProxy knows, which believe one proxy', () => {
    const known = [...haproxy.matchAll(/^ *server (\w+) "\$\{NODE_\d-(\w+):7777\}"$/gm)];
    const nodes = Object.keys(services).filter((name) => name.startsWith('api'));

    expect(known.map(([, , host]) => host)).toEqual(nodes);
    for (const [, server, host] of known) expect(server).toBe(host);
    for (const node of nodes) {
      expect(services[node]?.environment).toMatchObject({ TRUSTED_PROXIES: '1', PORT: '7777' });
    }
  });
});

describe('the health check of the image', () => {
  async function check(env: Record<string, string>): Promise<unknown> {
    const child = spawn('bash', [join(ROOT, 'deploy/healthcheck.sh')], {
      env: { PATH: process.env['PATH'], ...env },
      stdio: 'ignore',
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  }

  it.each([
    { status: 200, code: 0 },
    { status: 503, code: 1 },
  ])('exits with $code if /healthz answers $status', async ({ status, code }) => {
    const paths: (string | undefined)[] = [];
    const server = createServer(({ url }, response) => {
      paths.push(url);
      response.writeHead(status).end('{}');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const PORT = String((server.address() as AddressInfo).port);

    expect(await check({ PORT, HOST: '127.0.0.1' })).toBe(code);
    expect(await check({ PORT, HOST: '[127.0.0.1]' })).toBe(code);
    expect(paths).toEqual(['/healthz', '/healthz']);
    server.close();
    await once(server, 'close');
    expect(await check({ PORT, HOST: '127.0.0.1' })).toBe(1);
  });
});
