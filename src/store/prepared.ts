import type pg from 'pg';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';
import { connectionError } from './pg-errors.js';
import type { Outage } from './outage.js';
import type { PgClient } from './pg-client.js';
import { giveBack } from './sequelize.js';

/** A statement that is run often. */
export interface Statement {
  /** What Postgres calls it where it is prepared; always for the same text. */
  readonly name: string;
  readonly text: string;
}

/**
 * Runs a statement with values for `$1`, `$2`, ..., which it may keep, and gives its rows; rejects with UNAVAILABLE if
 * the database does not answer.
 */
export type RunStatement = (statement: Statement, values: unknown[]) => Promise<readonly object[]>;

/** Statements as Sequelize runs them, within a transaction if there is one. */
export function plain(sequelize: Sequelize, transaction?: Transaction): RunStatement {
  return ({ text }, values) =>
    sequelize.query<object>(text, {
      bind: values,
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    });
}

/** Statements on one connection of `pg`, whose errors they reject with. */
export function onClient(client: pg.ClientBase): RunStatement {
  return async ({ text }, values) => (await client.query<object>(text, values)).rows;
}

/** For how long a connection is used again: where nothing is sent for longer, a firewall may forget it. */
const KEEP_MS = 10_000;

/**
 * Statements on connections of Sequelize's pool, but past its query: Postgres parses one once a connection, nothing
 * is done for it that only models need, and a connection that was used a moment ago is not asked of the pool again.
 */
export class PreparedStatements {
  readonly #pool: Sequelize['connectionManager'];
  readonly #outage: Outage;
  /** Those that nothing runs on; the one that was used last is the last one. */
  readonly #idle: { readonly connection: PgClient; readonly since: number }[] = [];
  #closed = false;

  /** It keeps what it has taken, so that no more may run at a time than the pool has connections. */
  constructor({ connectionManager }: Sequelize, outage: Outage) {
    this.#pool = connectionManager;
    this.#outage = outage;
  }

  // Each promise between a message and its echo costs, where messages come one by one: there is one here.
  readonly run: RunStatement = (statement, values) => {
    this.#endOld();
    for (;;) {
      const kept = this.#idle.pop();
      if (kept === undefined) return this.#connectAndRun(statement, values);
      if (kept.connection.isUsable) return this.#runOn(kept.connection, statement, values);
      giveBack(this.#pool, kept.connection);
    }
  };

  /** Gives the connections back to the pool, which can't be closed before. */
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
    { name, text }: Statement,
    values: unknown[],
  ): Promise<readonly object[]> {
    return new Promise((resolve, reject) => {
      connection.query<object>({ name, text, values }, (error, result) => {
        this.#keep(connection);
        // It is null where all went well, whatever its type says.
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

  /** Those that were used longest ago come first. */
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
