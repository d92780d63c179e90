import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Database } from '../../src/store/connect.js';
import { openPostgres, type StoreHost } from '../harness/store-hosts.js';

const WHICH = { name: 'which', text: 'SELECT pg_backend_pid() AS pid' };
const KEEP_MS = 10_000;

describe('prepared statements', () => {
  let host: StoreHost;
  let database: Database;

  beforeEach(async () => {
    host = await openPostgres();
    database = await host.another();
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await host.close();
  });

  it('run on the connection that was used last, and on another one beside it', async () => {
    const first = await which();
    const both = await Promise.all([which(), which()]);
    const next = await which();

    expect(both).toContain(first);
    expect(new Set(both).size).toBe(2);
    expect(both).toContain(next);
  });

  it('are prepared once a connection', async () => {
    await which();
    await which();

    const [row] = await database.runAppend(
      {
        name: 'prepared',
        text: `SELECT count(*)::int FROM pg_prepared_statements WHERE name = $1`,
      },
      [WHICH.name],
    );
    expect(row).toEqual({ count: 1 });
  });

  it('do not meet a connection that broke while nothing was asked of it', async () => {
    const broken = await which();
    await host.database.sequelize.query('SELECT pg_terminate_backend($1)', { bind: [broken] });
    await vi.waitUntil(async () => !(await backends()).includes(broken));

    expect(await which()).not.toBe(broken);
  });

  it('do not meet a connection again that failed a statement', async () => {
    const before = await which();

    await expect(database.runAppend({ name: 'bad', text: 'SELECT 1 / 0' }, [])).rejects.toThrow(
      'division by zero',
    );

    expect(await which()).not.toBe(before);
  });

  it('do not meet a connection that nothing was sent on for long', async () => {
    const before = await which();
    const now = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => now + KEEP_MS + 1_000);

    expect(await which()).not.toBe(before);
    await vi.waitUntil(async () => !(await backends()).includes(before));
  });

  it('let the database be closed while one runs, and run no more', async () => {
    const slow = database.runAppend({ name: 'slow', text: 'SELECT pg_sleep(0.2)' }, []);
    // Not before it has a connection.
    await vi.waitUntil(async () => (await backends('SELECT pg_sleep%')).length === 1);
    const closed = database.close();

    await expect(slow).resolves.toHaveLength(1);
    await closed;
    await expect(which()).rejects.toThrow('closed');
  });

  async function which(): Promise<number> {
    const [row] = await database.runAppend(WHICH, []);
    return (row as { pid: number }).pid;
  }

  async function backends(query = '%'): Promise<number[]> {
    const [rows] = await host.database.sequelize.query(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1`,
      { bind: [query] },
    );
    return (rows as { pid: number }[]).map(({ pid }) => pid);
  }
});
