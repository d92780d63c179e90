import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { openEpoch } from '../../src/store/epoch.js';
import { watchForLoneNodes } from '../../src/store/lone-node.js';
import { openPostgres, QUIET, type StoreHost } from '../harness/store-hosts.js';

const LOOK_INTERVAL_MS = 10_000;

describe('a node that looks for nodes without Redis', () => {
  let host: StoreHost;
  let ends: (() => void)[] = [];

  beforeAll(async () => {
    host = await openPostgres();
    await openEpoch(host.database, QUIET);
  });
  afterAll(() => host.close());
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  });
  afterEach(() => {
    for (const end of ends) end();
    ends = [];
    vi.useRealTimers();
  });

  function node(isLone: boolean): { warnings: () => number } {
    const warn = vi.fn<(message: string) => void>();
    const logger = Object.create(QUIET, { warn: { value: warn } }) as typeof QUIET;
    ends.push(watchForLoneNodes({ database: host.database, isLone, logger }));
    return { warnings: () => warn.mock.calls.length };
  }

  /** All nodes check; resolves when they have. */
  async function look(): Promise<void> {
    vi.advanceTimersByTime(LOOK_INTERVAL_MS);
    // The pool lends connections in the order of requests, and this request is the last.
    await host.database.sequelize.query('SELECT pg_sleep(0.1)');
  }

  it('warns once if it has none itself and another has none', async () => {
    const [one, other] = [node(true), node(true)];
    await look();
    expect([one.warnings(), other.warnings()]).toEqual([0, 0]);
    for (let looks = 0; looks < 3; looks += 1) await look();
    expect([one.warnings(), other.warnings()]).toEqual([1, 1]);
  });

  it('warns if it has one and another has none', async () => {
    const [connected] = [node(false), node(true)];
    for (let looks = 0; looks < 3; looks += 1) await look();
    expect(connected.warnings()).toBe(1);
  });

  it('logs nothing if it is alone, or beside nodes that all have one', async () => {
    const alone = node(true);
    for (let looks = 0; looks < 3; looks += 1) await look();
    expect(alone.warnings()).toBe(0);
    for (const end of ends) end();
    const cluster = [node(false), node(false)];
    for (let looks = 0; looks < 3; looks += 1) await look();
    expect(cluster.map((each) => each.warnings())).toEqual([0, 0]);
  });
});
