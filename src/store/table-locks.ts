import { setTimeout as delay } from 'node:timers/promises';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import { isLockTimeout } from './pg-errors.js';

/**
 * Whoever uses the table waits behind a lock of it that is waited for: nobody notices a fifth of a second, and
 * statements that append wait ten times as long.
 */
const LOCK_TIMEOUT_MS = 200;
/** Between two attempts to lock the table, meanwhile everybody goes on. */
const PAUSE_MS = 1_000;
/** For maintenance of the table to end: Postgres ends an autovacuum by itself, after deadlock_timeout (1 s). */
const MAINTENANCE_TIMEOUT_MS = 60_000;
/** A transaction that has run for so long is told of when something waits for others. */
const LONG_MS = 100;

/** Called again and again while something waits for other transactions, with the processes of Postgres that may run them. */
export type OnWaiting = (pids: readonly number[]) => void;

/** Locks tables that others use all the time, for transactions that end soon. */
export class TableLocks {
  readonly #sequelize: Sequelize;
  readonly #onWaiting: OnWaiting;

  constructor(sequelize: Sequelize, onWaiting: OnWaiting) {
    this.#sequelize = sequelize;
    this.#onWaiting = onWaiting;
  }

  /**
   * For the rest of a transaction. An autovacuum gives way to who waits for a second, which the short waits of `lock` never
   * do; nobody else waits for this lock.
   */
  async keepMaintenanceOut(tables: readonly string[], transaction: Transaction): Promise<void> {
    await this.#sequelize.query(
      `SET LOCAL lock_timeout = ${MAINTENANCE_TIMEOUT_MS};
       LOCK TABLE ${tables.join(', ')} IN SHARE UPDATE EXCLUSIVE MODE`,
      { transaction },
    );
  }

  /** Locks tables, without their partitions, for the rest of a transaction, once those who use them leave a gap. */
  async lock(
    tables: readonly string[],
    mode: 'SHARE ROW EXCLUSIVE' | 'ACCESS EXCLUSIVE',
    transaction: Transaction,
  ): Promise<void> {
    const run = (sql: string) => this.#sequelize.query(sql, { transaction });
    const names = tables.map((table) => `ONLY ${table}`).join(', ');
    await run('SAVEPOINT before_lock');
    for (;;) {
      try {
        await run(
          `SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; LOCK TABLE ${names} IN ${mode} MODE`,
        );
        return;
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
      }
      await run('ROLLBACK TO before_lock');
      await this.tellUsers(tables, transaction);
      await delay(PAUSE_MS);
    }
  }

  /** Tells of the processes of other transactions that have used one of these tables for some time. */
  async tellUsers(tables: readonly string[], transaction?: Transaction): Promise<void> {
    const users = await this.#sequelize.query<{ pid: number }>(
      `SELECT DISTINCT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
       WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND relation = ANY (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
         AND granted AND pid <> pg_backend_pid()
         -- Those of another role do not show when they began.
         AND coalesce(clock_timestamp() - xact_start > interval '${LONG_MS} ms', true)`,
      { type: QueryTypes.SELECT, bind: [tables], ...(transaction && { transaction }) },
    );
    this.#onWaiting(users.map(({ pid }) => pid));
  }

  /** Waits for transactions to end. */
  async outlive(transactions: readonly string[]): Promise<void> {
    for (;;) {
      const left = await this.#sequelize.query<{ pid: number }>(
        `SELECT pid FROM pg_locks WHERE locktype = 'virtualxid' AND virtualtransaction = ANY ($1::text[])`,
        { type: QueryTypes.SELECT, bind: [transactions] },
      );
      if (left.length === 0) return;
      this.#onWaiting(left.map(({ pid }) => pid));
      await delay(PAUSE_MS);
    }
  }
}

/** The transactions that run in this database now, without those of some processes. */
export async function runningTransactions(
  sequelize: Sequelize,
  without: readonly number[],
): Promise<string[]> {
  const running = await sequelize.query<{ name: string }>(
    `SELECT virtualtransaction AS name FROM pg_locks JOIN pg_stat_activity USING (pid)
     -- Without autovacuum, which has no user, and may take hours.
     WHERE locktype = 'virtualxid' AND datname = current_database() AND usesysid IS NOT NULL
       AND NOT (pid = ANY ($1::integer[])) AND pid <> pg_backend_pid()`,
    { type: QueryTypes.SELECT, bind: [without] },
  );
  return running.map(({ name }) => name);
}
