import type pg from 'pg';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import { connectionError } from './pg-errors.js';
import type { Outage } from './outage.js';
import type { PgClient } from './pg-client.js';
import { giveBack } from './sequelize.js';

export interface Statement {
  /** Its name as a prepared statement; each text has its own. Without one, it is planned anew for its values. */
  readonly name?: string;
  readonly text: string;
}

/**
 * Runs a statement with values for `$1`, `$2`, ..., and returns its rows. The array of values must not be changed
 * afterwards.
 * @throws {ChatError} UNAVAILABLE if the database does not answer
 */
export type RunStatement = (statement: Statement, values: unknown[]) => Promise<readonly object[]>;

/** Runs statements through Sequelize, unprepared, in a transaction if one is given. */
export function plain(sequelize: Sequelize, transaction?: Transaction): RunStatement {
  return ({ text }, values) =>
    sequelize.query<object>(text, {
      bind: values,
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    });
}

/** Runs statements on one connection of `pg`, unprepared; they reject with the errors of `pg`. */
export function onClient(client: pg.ClientBase): RunStatement {
  return async ({ text }, values) => (await client.query<object>(text, values)).rows;
}

/**
 * A connection that was idle for longer is not used again. As long as the pools of Sequelize and of `pg` keep an idle
 * connection by default; firewalls forget idle connections after minutes.
 */
const KEEP_MS = 10_000;

/**
 * Prepared statements on connections of Sequelize's pool, past its `query`, which costs twice the CPU (0.48 ms for a
 * message alone instead of 0.23).
 *
 * `pg.Pool` costs about the same (measured: within 13 %, either way, for messages alone and batches of 100), but it
 * lends an idle client without asking whether it `isUsable`. Measured with four half-open links and a limit of 1 s:
 * `pg.Pool` with `query_timeout` fails four statements, and the first answer comes after 4.05 s; here one statement
 * fails, and the first answer comes after 1.04 s.
 */
export class PreparedStatements {
  readonly #pool: Sequelize['connectionManager'];
  readonly #outage: Outage;
  /** Idle connections; the one that was used last is last, and is used next. */
  readonly #idle: { readonly connection: PgClient; readonly since: number }[] = [];
  #closed = false;

  /** Connections stay here once taken, so no more statements may run at a time than the pool has connections. */
  constructor({ connectionManager }: Sequelize, outage: Outage) {
    this.#pool = connectionManager;
    this.#outage = outage;
  }

  // Not async: each promise between a message and its echo costs, and this way there is only one.
  readonly run: RunStatement = (statement, values) => {
    this.#endOld();
    for (;;) {
      const kept = this.#idle.pop();
      if (kept === undefined) return this.#connectAndRun(statement, values);
      if (kept.connection.isUsable) return this.#runOn(kept.connection, statement, values);
      giveBack(this.#pool, kept.connection);
    }
  };

  /** Connections that are kept here and do nothing; to the pool they are in use. */
  get idleCount(): number {
    return this.#idle.length;
  }

  /** Gives the connections back to the pool, which can be closed only after that. */
  close(): void {
    this.#closed = true;
    for (const { connection } of this.#idle.splice(0)) giveBack(this.#pool, connection);
  }

  async #connectAndRun(statement: Statement, values: unknown[]): Promise<readonly object[]> {
    let connection: PgClient;
    try {
      connection = (await this.#pool.getConnection({ type: 'write' })) as PgClient;
    } catch (error) {
      throw this.#outage.failed(error);
    }
    return this.#runOn(connection, statement, values);
  }

  #runOn(
    connection: PgClient,
    statement: Statement,
    values: unknown[],
  ): Promise<readonly object[]> {
    return new Promise((resolve, reject) => {
      connection.query<object>({ ...statement, values }, (error, result) => {
        this.#keep(connection);
        // Null if the statement succeeded, though its type is Error.
        const failure = error as Error | null;
        if (failure === null) {
          this.#outage.answered();
          resolve(result.rows);
        } else {
          reject(this.#outage.failed(connectionError(failure)));
        }
      });
    });
  }

  #keep(connection: PgClient): void {
    if (this.#closed || !connection.isUsable) giveBack(this.#pool, connection);
    else this.#idle.push({ connection, since: performance.now() });
  }

  /** Ends connections that have been idle for KEEP_MS. */
  #endOld(): void {
    const now = performance.now();
    while (this.#idle[0] !== undefined && now - this.#idle[0].since >= KEEP_MS) {
      const { connection } = this.#idle[0];
      this.#idle.shift();
      connection.retire();
      giveBack(this.#pool, connection);
    }
  }
}
