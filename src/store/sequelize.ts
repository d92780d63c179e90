import { ConnectionError, Sequelize, type Options, type Transaction } from 'sequelize';
import { connectionError } from './pg-errors.js';
import type { Outage } from './outage.js';
import type { PgClient } from './pg-client.js';

/** What keeps connections: Sequelize's, of one pool. */
type Pool = Sequelize['connectionManager'];

type Work = (transaction: Transaction) => PromiseLike<unknown>;

/**
 * Sequelize over Postgres. If the database does not answer, its queries and transactions reject with UNAVAILABLE, and
 * nothing is said of it but what an Outage says.
 */
export class StoreSequelize extends Sequelize {
  readonly #outage: Outage;
  readonly #transactions: Pool;

  /** @param changes whose connections transactions run on; none: on its own */
  constructor(options: Options, outage: Outage, changes?: Sequelize) {
    super(options);
    this.#outage = outage;
    this.#transactions = changes?.connectionManager ?? this.connectionManager;
    const { connectionManager } = this;
    const connect = connectionManager.getConnection.bind(connectionManager);
    // One that breaks while it is being set up does so in the words of `pg`.
    connectionManager.getConnection = (options) =>
      connect(options).catch((error: unknown) => {
        throw connectionError(error);
      });
  }

  // Typed as what fits all the ways in which they may be called.
  override query(...args: Parameters<Sequelize['query']>): Promise<never> {
    return this.#answered(super.query(...args)) as Promise<never>;
  }

  /** Of a function alone. Sequelize's own tell the console of those that can't be ended. */
  override transaction(...[work]: unknown[]): Promise<never> {
    return this.#answered(transact(this.#transactions, work as Work)) as Promise<never>;
  }

  override close(): Promise<void> {
    const closed = super.close();
    this.connectionManager.getConnection = () =>
      Promise.reject(new ConnectionError(new Error('the database is closed')));
    return closed;
  }

  async #answered(answer: Promise<unknown>): Promise<unknown> {
    try {
      const result = await answer;
      this.#outage.answered();
      return result;
    } catch (error) {
      throw this.#outage.failed(error);
    }
  }
}

/** Gives back a connection, or ends one that is not to be used again. */
export function giveBack(pool: Pool, connection: PgClient): void {
  if (connection.isUsable) pool.releaseConnection(connection);
  // What its end has to say is of no interest.
  else pool.destroyConnection(connection).catch(() => undefined);
}

/** Commits what is done by `work`, or nothing where that rejects. */
async function transact(pool: Pool, work: Work): Promise<unknown> {
  const connection = (await pool.getConnection({ type: 'write' })) as PgClient;
  try {
    await run(connection, 'BEGIN');
    // All that a query asks of its transaction.
    const result = await work({ connection } as unknown as Transaction);
    await run(connection, 'COMMIT');
    return result;
  } catch (error) {
    // The end of the connection rolls back, too.
    if (connection.isUsable) await run(connection, 'ROLLBACK').catch(() => connection.retire());
    throw error;
  } finally {
    giveBack(pool, connection);
  }
}

async function run(connection: PgClient, statement: string): Promise<void> {
  try {
    await connection.query(statement);
  } catch (error) {
    throw connectionError(error);
  }
}
