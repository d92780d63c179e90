import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { PATIENCE_MS } from './test/harness/patience.js';

/** Files that need neither Postgres nor Redis nor a process of their own: the whole project takes seconds. */
const UNIT = [
  'test/*.test.ts',
  'test/{access,bench,config,deploy,hooks,proof,protocol}/**/*.test.ts',
  'test/client/{bundle,connection,room-state.property,storage}.test.ts',
  'test/chat/{inbox,reading,v2/command-order,v2/flood-guard,v2/message}.test.ts',
  'test/cli/{printable,renumbering,room-file}.test.ts',
  'test/docs/{architecture,environment,links,operations,promises}.test.ts',
  'test/jobs/retry.test.ts',
  'test/limits/{client-address,token-buckets}.test.ts',
  'test/feeds/{backlog,catch-up,flush-queue,head-poll,peers,presence,room-announcer,room-hints,subscribers,ws-frame}.test.ts',
  'test/http/{health,page,period,reading}.test.ts',
  'test/web/*.test.ts',
  'test/store/{fair-limit,group-commit,outage,unsettled-messages}.test.ts',
];

/** Files that take ten seconds or more, longest first: one that began last would run on alone. */
const SLOW = [
  'journeys/proof',
  'journeys/soak',
  'journeys/stuck-readers',
  'journeys/bad-input-flood',
  'journeys/long-input',
  'journeys/fuzz',
  'journeys/clients-v2.property',
  'store/migrate',
  'store/embedded-disk',
  'docs/tutorial',
  'docs/examples',
  'journeys/process',
  'scripts/dev',
  'scripts/build',
  'journeys/stuck-requests',
  'http/connections',
  'page/accessibility',
  'page/history',
  'page/hostile',
  'page/faults',
  'page/docs',
  'journeys/rolling-restart',
  'journeys/workers',
  'journeys/haproxy',
  'journeys/sentinel',
  'journeys/replica',
  'journeys/redis-tls',
  'journeys/going-down',
  'journeys/half-open',
  'journeys/partition',
  'journeys/many-rooms',
  'journeys/presence',
  'cli/coefficients',
  'cli/package',
  'cli/main',
  'cli/tail',
  'client/room-list',
  'client/resuming',
  'cli/room-transfer',
].map((name) => `test/${name}.test.ts`);

/** Files that run once more over a database whose log is partitioned (docs/OPERATIONS.md, Partitions). */
const PARTITIONED = [
  'test/store/{append-message,changes,erasures,history,log-refs,plans,retention}.test.ts',
];

class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const placeOf = ({ moduleId }: TestSpecification): number => {
      const place = SLOW.findIndex((name) => moduleId.endsWith(`/${name}`));
      return place === -1 ? SLOW.length : place;
    };
    return Promise.resolve(files.toSorted((a, b) => placeOf(a) - placeOf(b)));
  }
}

/** Postgres and Redis are started if a project that names it has a file to run. */
const globalSetup = ['test/harness/global-setup.ts'];

export default defineConfig({
  test: {
    // For a machine with a tenth of the usual speed, on which a test of the page takes a minute: a test waits for what
    // happens, not for this.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // That of `eventually`.
    expect: { poll: { timeout: PATIENCE_MS } },
    // Most files wait for much of their time: for deadlines, and for processes of their own.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'unit', include: UNIT, isolate: false } },
      {
        extends: true,
        test: {
          name: 'integration',
          isolate: false,
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...UNIT, ...SLOW],
          globalSetup,
        },
      },
      { extends: true, test: { name: 'slow', include: SLOW, globalSetup } },
      {
        extends: true,
        test: { name: 'partitioned', isolate: false, include: PARTITIONED, globalSetup },
      },
    ],
  },
});
