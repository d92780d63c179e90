import pg from 'pg';
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

/** For how long a connection is used again: where nothing is sent for longer, a firewall may forget it. */
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

  /** It keeps what it has taken, so that no more may run at a time than the pool has connections. */
  constructor({ connectionManager }: Sequelize) {
    this.#connections = connectionManager;
  }

  readonly run: RunStatement = async ({ name, text }, values) => {
    const connection = await this.#take();
    try {
      const { rows } = await connection.query<object>({ name, text, values: [...values] });
      this.#keep(connection);
      return rows;
    } catch (error) {
      // After any other error it may be broken, and not know it yet.
      const isRefusal = error instanceof pg.DatabaseError && error.severity === 'ERROR';
      if (isRefusal) this.#keep(connection);
      else this.#destroy(connection);
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
    this.#endOld();
    const kept = this.#idle.pop();
    if (kept !== undefined) return kept.connection;
    const connection = (await this.#connections.getConnection({ type: 'write' })) as pg.Client;
    // Some break while nothing is asked of them. The second event is for one that broke with its last answer: the
    // first came before it was idle.
    const forget = (): void => {
      const index = this.#idle.findIndex((kept) => kept.connection === connection);
      if (index !== -1) this.#idle.splice(index, 1);
    };
    connection.once('error', forget);
    connection.once('end', forget);
    return connection;
  }

  #keep(connection: pg.Client): void {
    if (this.#closed) this.#connections.releaseConnection(connection);
    else this.#idle.push({ connection, since: performance.now() });
  }

  /** Those that were used longest ago come first. */
  #endOld(): void {
    const now = performance.now();
    while (this.#idle[0] !== undefined && now - this.#idle[0].since >= KEEP_MS) {
      const { connection } = this.#idle[0];
      // First, as the end of a connection takes it out, too.
      this.#idle.shift();
      this.#destroy(connection);
    }
  }

  #destroy(connection: pg.Client): void {
    // What its end has to say is of no interest.
    this.#connections.destroyConnection(connection).catch(() => undefined);
  }
}
