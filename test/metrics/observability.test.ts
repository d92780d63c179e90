import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRoom } from '../harness/api.js';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import type { TestNode } from '../harness/node.js';
import { findPrometheus, startPrometheus, type Prometheus } from '../harness/prometheus.js';
import { startReceiver, WEBHOOK_SECRET, type Receiver } from '../harness/receiver.js';
import { person } from '../harness/tokens.js';

const FOLDER = fileURLToPath(new URL('../../deploy/observability/', import.meta.url));
const read = (name: string): string => readFileSync(join(FOLDER, name), 'utf8');
const alerts = read('alerts.yml');
const ALERTS = [...alerts.matchAll(/- alert: (\w+)/g)].map(([, name]) => name);

const dashboard = JSON.parse(read('grafana/dashboard.json')) as {
  panels: {
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets: { expr: string }[];
  }[];
};
/** The queries of the dashboard as Grafana would send them for all nodes. */
const QUERIES = dashboard.panels.flatMap(({ targets }) =>
  targets.map(({ expr }) =>
    expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.+'),
  ),
);

const programs = await findPrometheus();
if (programs === undefined) {
  process.stderr.write('skipped: promtool is missing (apt-get install prometheus)\n');
}

describe('the alerts', () => {
  it('are those of OPERATIONS.md', () => {
    const page = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8');
    const [, after = ''] = page.split('### Alerts\n');
    const [section = ''] = after.split('\n## ');
    expect([...section.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name)).toEqual(ALERTS);
  });

  it('each have a test in alerts.test.yml that raises it', () => {
    const tested = [...read('alerts.test.yml').matchAll(/labels: '\{alertname="(\w+)"\}'/g)];
    expect(tested.map(([, name]) => name)).toEqual(ALERTS);
  });
});

describe('the dashboard', () => {
  it('has no panel upon another', () => {
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)} ${y + Math.floor(n / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });
});

describe.skipIf(programs === undefined)('with a Prometheus,', () => {
  const ana = person({ levelOnEntity: 999 });
  let world: ChatWorld;
  let node: TestNode;
  let prometheus: Prometheus;
  let receiver: Receiver;
  /** A copy that the account of the servers can read. */
  let copy: string;

  beforeAll(async () => {
    copy = mkdtempSync(join(tmpdir(), 'nano-messaging-observability-'));
    cpSync(FOLDER, copy, { recursive: true });
    spawnSync('chmod', ['-R', 'a+rX', copy]);
    world = await createChatWorld();
    receiver = await startReceiver();
    const webhooks = { WEBHOOK_URL: receiver.url, WEBHOOK_SECRET };
    node = await world.start({ METRICS_PORT: '0', ...webhooks });
    prometheus = await startPrometheus(programs ?? '', {
      target: `127.0.0.1:${node.server.metricsAddress?.port}`,
      rules: join(copy, 'alerts.yml'),
    });
    const client = await ChatClient.enter(node, ana, await createRoom(node, ana));
    client.say('hello');
    await client.messages(1);
  });
  afterAll(async () => {
    await prometheus.stop();
    await world.close();
    await receiver.close();
    rmSync(copy, { recursive: true });
  });

  async function ask<T>(path: string, query: Record<string, string> = {}): Promise<T> {
    const search = new URLSearchParams(query).toString();
    const response = await fetch(`${prometheus.url}/api/v1/${path}?${search}`);
    const { data, error } = (await response.json()) as { data: T; error?: string };
    if (error !== undefined) throw new Error(`${query['query']}: ${error}`);
    return data;
  }

  it.each([
    ['check', 'config', 'prometheus.yml'],
    ['test', 'rules', 'alerts.test.yml'],
  ])('promtool %s %s %s finds no fault', (...args) => {
    const { status, stdout, stderr } = spawnSync(join(programs ?? '', 'promtool'), args, {
      cwd: FOLDER,
      encoding: 'utf8',
    });
    expect({ status, output: stdout + stderr }).toMatchObject({ status: 0 });
  });

  it('each query of the dashboard has an answer', async () => {
    // `> 0` shows only what is wrong.
    const empty = new Set(QUERIES.filter((query) => !query.endsWith('> 0')));
    expect(empty.size).toBeGreaterThan(20);
    // A rate needs two scrapes.
    while (empty.size > 0) {
      for (const query of empty) {
        const { result } = await ask<{ result: unknown[] }>('query', { query });
        if (result.length > 0) empty.delete(query);
      }
    }
    for (const query of QUERIES) await ask('query', { query });
  });

  it('the alerts are evaluated, name metrics that a node has, and are quiet', async () => {
    const rules = async (): Promise<{ name: string; health: string; state: string }[]> => {
      const { groups } = await ask<{ groups: { rules: [] }[] }>('rules');
      return groups.flatMap((group) => group.rules);
    };
    while ((await rules()).some(({ health }) => health === 'unknown'));

    expect(await rules()).toEqual(
      ALERTS.map(
        (name) => expect.objectContaining({ name, health: 'ok', state: 'inactive' }) as object,
      ),
    );
    const names = new Set(await ask<string[]>('label/__name__/values'));
    const used = alerts.match(/\b(?:nano_messaging|nodejs|process)_\w+/g) ?? [];
    expect(used.length).toBeGreaterThan(10);
    expect(used.filter((name) => !names.has(name))).toEqual([]);
  });
});
