import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadConfig } from '../../src/config/load.js';
import { ROUTES } from '../../src/http/routes.js';
import { shareConnections } from '../../src/store/connect.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TYPES = {
  Deployment: 'apps/v1',
  Service: 'core/v1',
  PodDisruptionBudget: 'policy/v1',
  HorizontalPodAutoscaler: 'autoscaling/v2',
} as const;

/** Of Postgres by default: max_connections without superuser_reserved_connections. */
const CONNECTIONS = 97;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nano-test-'));
});
afterAll(() => rm(folder, { recursive: true }));

/** What the compiler says of objects of Kubernetes, each under its kind; nothing if its types know all their fields. */
async function problemsOf(objects: Readonly<Record<string, unknown>>): Promise<string> {
  const lines = Object.entries(objects).flatMap(([kind, object]) => [
    `import type { ${kind} } from '${ROOT}node_modules/kubernetes-types/${TYPES[kind as keyof typeof TYPES]}';`,
    `export const the${kind}: ${kind} = ${JSON.stringify(object)};`,
  ]);
  const file = join(folder, 'objects.ts');
  await writeFile(file, lines.join('\n'));
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '--noEmit', '--strict', '--ignoreConfig', '--types', '', file];
  return promisify(execFile)(process.execPath, args, { cwd: folder }).then(
    () => '',
    ({ stdout }: { stdout: string }) => stdout,
  );
}

describe('the objects of deploy/k8s', async () => {
  const text = await readFile(`${ROOT}/deploy/k8s/nano-messaging.yaml`, 'utf8');
  const [deployment, service, budget, autoscaler] = parseAllDocuments(text).map(
    (document): unknown => document.toJS(),
  ) as [Deployment, Service, PodDisruptionBudget, HorizontalPodAutoscaler];
  const pod = deployment.spec?.template.spec;
  const container = pod?.containers[0];

  it('have the fields that Kubernetes knows, and no others', async () => {
    const objects = {
      Deployment: deployment,
      Service: service,
      PodDisruptionBudget: budget,
      HorizontalPodAutoscaler: autoscaler,
    };
    expect(await problemsOf(objects)).toBe('');
    const misspelt = { ...autoscaler, spec: { ...autoscaler.spec, maxReplica: 3 } };
    expect(await problemsOf({ HorizontalPodAutoscaler: misspelt })).toContain('"maxReplica"');
  });

  it('are about the same pods', () => {
    const labels = deployment.spec?.template.metadata?.labels;
    expect(labels).toEqual({ 'app.kubernetes.io/name': 'nano-messaging' });
    expect(deployment.spec?.selector.matchLabels).toEqual(labels);
    expect(service.spec?.selector).toEqual(labels);
    expect(budget.spec?.selector?.matchLabels).toEqual(labels);
    expect(autoscaler.spec?.scaleTargetRef.name).toBe(deployment.metadata?.name);
  });

  it('configure the server for production, from mounted secrets', async () => {
    const secrets = {
      jwt_master_secret: 'x'.repeat(32),
      database_url: 'postgres://ana:hush@db/chat',
      redis_url: 'redis://:hush@pubsub',
    };
    for (const [name, secret] of Object.entries(secrets)) {
      await writeFile(join(folder, name), secret);
    }
    const mount = container?.volumeMounts?.[0]?.mountPath ?? '';
    const env = container?.env?.map(({ name, value = '' }) => [name, value.replace(mount, folder)]);
    const config = loadConfig({
      NODE_ENV: 'production',
      ...(Object.fromEntries(env ?? []) as Record<string, string>),
    });
    expect(config).toMatchObject({
      production: true,
      redisUrls: [secrets.redis_url],
      // The ingress.
      trustedProxies: 1,
    });
    expect(Object.keys(secrets).every((name) => text.includes(`--from-file=${name}`))).toBe(true);

    const names = env?.map(([name]) => name) ?? [];
    expect(names).toEqual([...new Set(names)]);

    const { drainSeconds, shutdownTimeoutMs } = config.limits;
    expect(drainSeconds).toBeGreaterThan(0);
    expect(pod?.terminationGracePeriodSeconds).toBeGreaterThan(
      drainSeconds + shutdownTimeoutMs / 1_000,
    );
  });

  it('have no more connections to Postgres than it takes, also in an update', () => {
    const env = container?.env?.map(({ name, value = '' }) => [name, value]) ?? [];
    const { databasePoolSize, limits } = loadConfig({
      DB_POOL_SIZE: (Object.fromEntries(env) as Record<string, string>)['DB_POOL_SIZE'],
      LOG_BATCHES_IN_FLIGHT: (Object.fromEntries(env) as Record<string, string>)[
        'LOG_BATCHES_IN_FLIGHT'
      ],
    });
    const shares = shareConnections(databasePoolSize, limits.logBatchesInFlight);
    const ofNode = Object.values(shares).reduce((sum, share) => sum + share, 0);
    const { maxReplicas = 0 } = autoscaler.spec ?? {};
    const maxSurge = Number(deployment.spec?.strategy?.rollingUpdate?.maxSurge);
    // Pods that end count as none: all of the version before may still drain.
    const draining = maxReplicas;

    expect((maxReplicas + maxSurge + draining) * ofNode).toBeLessThanOrEqual(CONNECTIONS);
  });

  it('probe routes of the server, at its port', () => {
    const probes = [container?.startupProbe, container?.livenessProbe, container?.readinessProbe];
    const paths = probes.map((probe) => probe?.httpGet?.path);
    expect(paths).toEqual(['/healthz', '/healthz', '/readyz']);
    for (const path of paths) expect(ROUTES.map((route) => route.path)).toContain(path);
    expect(container?.ports).toEqual([{ name: 'http', containerPort: loadConfig({}).port }]);
  });
});
