import type pg from 'pg';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

/** A statement that is run often. */
export interface Statement {
  /** What Postgres calls it where it is prepared; always for the same text. */
  readonly name: string;
  readonly text: string;
}

/** Runs a statement with values for `$1`, `$2`, ..., and gives its rows. */
export type RunStatement = (
  statement: Statement,
  values: readonly unknown[],
) => Promise<readonly object[]>;

/** Statements as Sequelize runs them, within a transaction if there is one. */
export function plain(sequelize: Sequelize, transaction?: Transaction): RunStatement {
  return ({ text }, values) =>
    sequelize.query<object>(text, {
      bind: [...values],
      type: QueryTypes.SELECT,
      ...(transaction && { transaction }),
    });
}

/** As long as the pool keeps one: where nothing is sent for longer, a firewall may forget a connection. */
const KEEP_MS = 10_000;

/**
 * Statements on connections of Sequelize's pool, but past its query: Postgres parses one once a connection, nothing
 * is done for it that only models need, and a connection that was used a moment ago is not asked of the pool again.
 */
export class PreparedStatements {
  readonly #connections: Sequelize['connectionManager'];
  /** Those that nothing runs on; the one that was used last is the last one. */
  readonly #idle: { readonly connection: pg.Client; readonly since: number }[] = [];
  #closed = false;

  /** It may come to keep all connections of the pool. */
  constructor({ connectionManager }: Sequelize) {
    this.#connections = connectionManager;
  }

  readonly run: RunStatement = async ({ name, text }, values) => {
    const connection = await this.#take();
    try {
      const { rows } = await connection.query<object>({ name, text, values: [...values] });
      if (this.#closed) this.#connections.releaseConnection(connection);
      else this.#idle.push({ connection, since: performance.now() });
      return rows;
    } catch (error) {
      // It may be broken, and not know it yet.
      this.#destroy(connection);
      throw error;
    }
  };

  /** Gives the connections back to the pool, which can't be closed before. */
  close(): void {
    this.#closed = true;
    for (const { connection } of this.#idle.splice(0)) {
      this.#connections.releaseConnection(connection);
    }
  }

  async #take(): Promise<pg.Client> {
    for (let kept = this.#idle.pop(); kept !== undefined; kept = this.#idle.pop()) {
      if (performance.now() - kept.since < KEEP_MS) return kept.connection;
      this.#destroy(kept.connection);
    }
    const connection = (await this.#connections.getConnection({ type: 'write' })) as pg.Client;
    // Some break while nothing is asked of them.
    const forget = (): void => {
      const index = this.#idle.findIndex((kept) => kept.connection === connection);
      if (index !== -1) this.#idle.splice(index, 1);
    };
    connection.once('error', forget);
    connection.once('end', forget);
    return connection;
  }

  #destroy(connection: pg.Client): void {
    // What its end has to say is of no interest.
    this.#connections.destroyConnection(connection).catch(() => undefined);
  }
}
