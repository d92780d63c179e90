import pg from 'pg';
import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

/** A statement that is run often. */
export interface Statement {
  /** What Postgres calls it where it is prepared; always for the same text. */
  readonly name: string;
  readonly text: string;
}

/** Runs a statement with values for `$1`, `$2`, ..., which it may keep, and gives its rows. */
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

  // Each promise between a message and its echo costs, where messages come one by one: there is one here.
  readonly run: RunStatement = (statement, values) => {
    this.#endOld();
    const kept = this.#idle.pop();
    if (kept !== undefined) return this.#runOn(kept.connection, statement, values);
    return this.#connect().then((connection) => this.#runOn(connection, statement, values));
  };

  /** Gives the connections back to the pool, which can't be closed before. */
  close(): void {
    this.#closed = true;
    for (const { connection } of this.#idle.splice(0)) {
      this.#connections.releaseConnection(connection);
    }
  }

  #runOn(
    connection: pg.Client,
    { name, text }: Statement,
    values: unknown[],
  ): Promise<readonly object[]> {
    return new Promise((resolve, reject) => {
      connection.query<object>({ name, text, values }, (error, result) => {
        // It is null where all went well, whatever its type says.
        const failure = error as Error | null;
        if (failure === null) {
          this.#keep(connection);
          resolve(result.rows);
          return;
        }
        // After any other error it may be broken, and not know it yet.
        const isRefusal = failure instanceof pg.DatabaseError && failure.severity === 'ERROR';
        if (isRefusal) this.#keep(connection);
        else this.#destroy(connection);
        reject(failure);
      });
    });
  }

  async #connect(): Promise<pg.Client> {
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
