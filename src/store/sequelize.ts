import {
  ConnectionError,
  Sequelize,
  Transaction,
  type Options,
  type TransactionOptions,
} from 'sequelize';
import { connectionError, isDeadlock } from './pg-errors.js';
import type { Outage } from './outage.js';
import type { PgClient } from './pg-client.js';

/** Sequelize's connection manager, which has one pool. */
type Pool = Sequelize['connectionManager'];

type Work = (transaction: Transaction) => PromiseLike<unknown>;

/**
 * Sequelize over Postgres, whose queries and transactions reject with UNAVAILABLE if the database does not answer; the
 * Outage logs it.
 */
export class StoreSequelize extends Sequelize {
  readonly #outage: Outage;
  readonly #transactions: Pool;

  /** @param changes the Sequelize on whose connections transactions run; undefined: on its own */
  constructor(options: Options, outage: Outage, changes?: Sequelize) {
    super(options);
    this.#outage = outage;
    this.#transactions = changes?.connectionManager ?? this.connectionManager;
    const { connectionManager } = this;
    const connect = connectionManager.getConnection.bind(connectionManager);
    // A connection that breaks while Sequelize sets it up rejects with the error of `pg`.
    connectionManager.getConnection = (options) =>
      connect(options).catch((error: unknown) => {
        throw connectionError(error);
      });
  }

  // `never` fits all overloads of these methods.
  override query(...args: Parameters<Sequelize['query']>): Promise<never> {
    return this.#answered(super.query(...args)) as Promise<never>;
  }

  /**
   * With a function as its last argument, and of the options with `isolationLevel` alone. If Postgres undoes the transaction
   * because of a deadlock, the function is called once more: a block locks the pair of users before their rooms, a change of
   * rules the room before the pairs. Sequelize's own transactions print to the console if their ROLLBACK fails.
   */
  override transaction(...args: unknown[]): Promise<never> {
    const work = args.pop() as Work;
    const [{ isolationLevel = Transaction.ISOLATION_LEVELS.READ_COMMITTED } = {}] =
      args as TransactionOptions[];
    const attempt = (): Promise<unknown> => transact(this.#transactions, isolationLevel, work);
    const made = attempt().catch((error: unknown) => {
      if (!isDeadlock(error)) throw error;
      return attempt();
    });
    return this.#answered(made) as Promise<never>;
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

/** Gives a connection back to its pool, or ends it if it is not usable any more. */
export function giveBack(pool: Pool, connection: PgClient): void {
  if (connection.isUsable) pool.releaseConnection(connection);
  // It is broken or to be replaced: an error of its end means nothing.
  else pool.destroyConnection(connection).catch(() => undefined);
}

/** Runs `work` in a transaction: commits if it resolves, rolls back if it rejects. */
async function transact(pool: Pool, isolation: string, work: Work): Promise<unknown> {
  const connection = (await pool.getConnection({ type: 'write' })) as PgClient;
  try {
    await run(connection, `BEGIN ISOLATION LEVEL ${isolation}`);
    // `connection` is all that Sequelize's query needs of a transaction.
    const result = await work({ connection } as unknown as Transaction);
    await run(connection, 'COMMIT');
    return result;
  } catch (error) {
    // If ROLLBACK fails, the end of the connection rolls back.
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
