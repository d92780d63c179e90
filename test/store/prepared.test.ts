import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Database } from '../../src/store/connect.js';
import { PATIENCE_MS } from '../harness/patience.js';
import { openPostgres, type StoreHost } from '../harness/store-hosts.js';

const WHICH = { name: 'which', text: 'SELECT pg_backend_pid() AS pid' };
const KEEP_MS = 10_000;
const PATIENCE = { timeout: PATIENCE_MS };

function sleepFor(seconds: number): typeof WHICH {
  return { name: `sleep ${seconds}`, text: `SELECT pg_backend_pid() AS pid, pg_sleep(${seconds})` };
}

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

  it('run on the connection that was used last, without asking the pool', async () => {
    const slow = database.runAppend(sleepFor(1), []);
    const quick = await which();
    const beside = await which();
    const [row] = await slow;
    const after = await which();

    expect(beside).toBe(quick);
    expect(after).toBe((row as { pid: number }).pid);
    expect(after).not.toBe(quick);
  });

  it('end a connection that is idle for long while another is used', async () => {
    const [first, second] = await Promise.all([which(), which()]);
    const used = await which();
    const now = performance.now();
    const clock = vi.spyOn(performance, 'now');
    clock.mockImplementation(() => now + KEEP_MS / 2);
    expect(await which()).toBe(used);
    clock.mockImplementation(() => now + KEEP_MS + 1_000);
    expect(await which()).toBe(used);

    const unused = used === first ? second : first;
    await vi.waitUntil(async () => !(await backends()).includes(unused), PATIENCE);
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

  it('never run on a connection that broke while idle', async () => {
    const broken = await which();
    await host.database.sequelize.query('SELECT pg_terminate_backend($1)', { bind: [broken] });
    await vi.waitUntil(async () => !(await backends()).includes(broken), PATIENCE);
    // Its last message has arrived by now, and is read in the next turn.
    for (let turn = 0; turn < 2; turn += 1) await new Promise(setImmediate);

    expect(await which()).not.toBe(broken);
  });

  it('run again on a connection that refused a statement', async () => {
    const before = await which();

    const refused = database.runAppend({ name: 'bad', text: 'SELECT 1 / 0' }, []);

    await expect(refused).rejects.toThrow('division by zero');
    expect(await which()).toBe(before);
  });

  it('never run on a connection that broke during a statement', async () => {
    const before = await which();
    const suicide = { name: 'end', text: 'SELECT pg_terminate_backend(pg_backend_pid())' };

    await expect(database.runAppend(suicide, [])).rejects.toMatchObject({ code: 'UNAVAILABLE' });

    expect(await which()).not.toBe(before);
  });

  it('never run on a connection that was idle for long', async () => {
    const before = await which();
    const now = performance.now();
    vi.spyOn(performance, 'now').mockImplementation(() => now + KEEP_MS + 1_000);

    expect(await which()).not.toBe(before);
    await vi.waitUntil(async () => !(await backends()).includes(before), PATIENCE);
  });

  it('let the database be closed while one runs, and run no more', async () => {
    const slow = database.runAppend(sleepFor(0.5), []);
    // Not before it has a connection.
    await vi.waitUntil(async () => (await backends('%pg_sleep%')).length === 1, PATIENCE);
    const closed = database.close();

    await expect(slow).resolves.toHaveLength(1);
    await closed;
    await expect(which()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  async function which(): Promise<number> {
    const [row] = await database.runAppend(WHICH, []);
    return (row as { pid: number }).pid;
  }

  async function backends(query = '%'): Promise<number[]> {
    const [rows] = await host.database.sequelize.query(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1
         AND ($1 = '%' OR (state = 'active' AND pid <> pg_backend_pid()))`,
      { bind: [query] },
    );
    return (rows as { pid: number }[]).map(({ pid }) => pid);
  }
});
