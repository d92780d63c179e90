import { randomUUID } from 'node:crypto';
import { QueryTypes } from 'sequelize';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { plain } from '../../src/store/prepared.js';
import { query } from '../harness/database.js';
import { startNodeProcess } from '../harness/node-process.js';
import { runProgram } from '../harness/process.js';
import { postgresUrl } from '../harness/services.js';
import { openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, say, setRule, writerOver } from '../harness/writers.js';

/** Defaults that a database or a role may have. Each would break code that relies on the usual one. */
const DEFAULTS = {
  default_transaction_isolation: ['repeatable read', 'serializable'],
  DateStyle: ['German', 'SQL, DMY', 'Postgres, MDY'],
  TimeZone: ['America/Havana'],
  lock_timeout: ['1ms'],
  statement_timeout: ['1ms'],
  idle_session_timeout: ['300ms'],
  idle_in_transaction_session_timeout: ['1ms'],
  array_nulls: ['off'],
  standard_conforming_strings: ['off'],
  client_min_messages: ['debug5'],
} as const;
const CASES = Object.entries(DEFAULTS).flatMap(([name, values]) =>
  values.map((value) => [name, value] as const),
);

const MESSAGES = 40;
const CONTENT = 'héllo 👋 \\ ünder "quotes", NULL';

describe('a database whose role has as its default', () => {
  let host: StoreHost;

  beforeEach(async () => {
    host = await openPostgres();
  });
  afterEach(() => host.close());

  it.each(CASES)('%s = %s works as any other', async (name, value) => {
    await setDefault(name, value);

    const database = await host.another();
    const { rooms, pages, sequelize, runAppend } = database;
    const shown = await Promise.all(
      [plain(rooms), plain(pages), plain(sequelize), runAppend].map((run) =>
        run({ name: 'show', text: `SHOW ${name}` }, []),
      ),
    );
    expect(shown.flat().flatMap((row) => Object.values(row))).not.toContain(value);

    const [one, other] = [storeOver(database), storeOver(await host.another())];
    const room = await emptyRoom(one);
    const since = Date.now() - 60_000;
    await Promise.all([
      ...Array.from({ length: MESSAGES }, (_, n) => {
        const { log } = n % 2 === 0 ? one : other;
        return say(log, writerOver(log, room), CONTENT, { ref: n % 4 < 2 ? `ref ${n}` : null });
      }),
      ...[one, other].flatMap((store) =>
        ['r', 'rw', 'ra'].map((permissions) =>
          setRule(store, room, {
            entityUUID: randomUUID(),
            level: 0,
            permissions,
            accepted: true,
          }),
        ),
      ),
    ]);
    await one.log.close();
    await other.log.close();

    const entries = await readAll(one.log, room);
    const messages = entries.filter(({ kind }) => kind === 'message');
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    expect(messages.map(({ content }) => content)).toEqual(Array(MESSAGES).fill(CONTENT));
    expect(messages.filter(({ ref }) => ref === null)).toHaveLength(MESSAGES / 2);
    for (const { createdAt } of entries) {
      expect(Math.abs(Date.parse(createdAt) - since - 60_000)).toBeLessThan(60_000);
    }
    const period = { from: new Date(since), until: new Date(since + 120_000) };
    const page = await one.history.page(
      room,
      { upTo: entries.length, limit: MESSAGES, period },
      newCaller(),
    );
    expect(page.messages.map(({ createdAt }) => createdAt.toISOString())).toEqual(
      messages.map(({ createdAt }) => createdAt),
    );
    expect((await one.rooms.visibleTo(newCaller()).next()).value).toEqual([]);
  });

  it('synchronous_commit = off still flushes a commit before it is acknowledged', async () => {
    await setDefault('synchronous_commit', 'off');
    const { runAppend } = await host.another();

    const shown = await runAppend({ name: 'show', text: 'SHOW synchronous_commit' }, []);
    expect(shown).toEqual([{ synchronous_commit: 'on' }]);
  });

  it('a stronger synchronous_commit, a search_path or less memory keeps it', async () => {
    const kept = {
      synchronous_commit: 'remote_apply',
      search_path: 'chat, public',
      work_mem: '1MB',
    };
    for (const [name, value] of Object.entries(kept)) await setDefault(name, value);
    const { sequelize } = await host.another();

    for (const [name, value] of Object.entries(kept)) {
      const shown = await sequelize.query(`SHOW ${name}`, { type: QueryTypes.SELECT });
      expect(shown).toEqual([{ [name]: value }]);
    }
  });

  it('all of them is migrated, served, and given a new epoch', async () => {
    await query(host.url, 'DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    for (const [name, [value]] of Object.entries(DEFAULTS)) await setDefault(name, value);
    const env = { DATABASE_URL: host.url, LOG_LEVEL: 'warn' };

    const migrated = runProgram('src/cli/main.js', { args: ['migrate'], env });
    expect(await migrated.exited()).toBe(0);
    expect(migrated.stdout()).toMatch(/^migrated: /);
    const node = await startNodeProcess({ ...env, LOG_LEVEL: 'info', MIGRATE_ON_START: 'false' });
    expect(await node.end('SIGTERM')).toBe(0);
    const renewed = runProgram('src/cli/main.js', { args: ['new-epoch'], env });
    expect(await renewed.exited()).toBe(0);
    expect(renewed.stdout()).toMatch(/^epoch: /);
  });

  /** Sets a default of the role in the database, which has precedence over those of either. */
  async function setDefault(name: string, value: string): Promise<void> {
    const list = name === 'search_path' || name === 'DateStyle' ? value : `'${value}'`;
    const database = new URL(host.url).pathname.slice(1);
    await query(
      postgresUrl(),
      `ALTER ROLE CURRENT_USER IN DATABASE ${database} SET ${name} = ${list}`,
    );
  }
});
