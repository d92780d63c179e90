import type { Socket } from 'node:net';
import { promisify } from 'node:util';
import pg from 'pg';
import type { DatabaseAddress } from '../config/load.js';
import { beginSettings, statementSettings, withSettings, type Settings } from './settings.js';

/** SQLSTATE active_sql_transaction: the isolation of a transaction cannot be changed any more. */
const OTHER_ISOLATION = '25001';

/** Parts of a connection and of a query of `pg` that `@types/pg` does not have. */
interface Connection {
  parse(statement: { text: string }): void;
  bind(values: object): void;
  execute(options: object): void;
}
interface Query {
  text: string;
  submit(connection: Connection): Error | null;
  requiresPreparation(): boolean;
  prepare(connection: Connection): void;
  handleDataRow(message: object): void;
  handleCommandComplete(message: object, connection: Connection): void;
  handleError(error: Error, connection: Connection): void;
}
const Query = pg.Query as unknown as new (
  config: pg.QueryConfig,
  values: unknown,
  callback: unknown,
) => Query;

/** Parts of a client that `@types/pg` does not have. */
interface Internals {
  readonly connection: { attachListeners: (stream: Socket) => void };
}

/** A client with our settings, and `more`: of its session, or, behind a pooler, of each of its transactions. */
export function clientWithSettings(
  Base: typeof pg.Client,
  { isPooled = false }: Pick<DatabaseAddress, 'isPooled'>,
  more?: Settings,
): typeof pg.Client {
  const Reading = breakingOffUnreadable(Base);
  return isPooled ? withTransactionSettings(Reading, more) : withSettings(Reading, more);
}

/**
 * A client that breaks its connection if `pg` cannot read an answer. Its parser throws in the listener of the stream, which
 * would end the process: if Postgres asks for GSSAPI, for example, as soon as its pg_hba.conf says so.
 */
function breakingOffUnreadable(Base: typeof pg.Client): typeof pg.Client {
  return class Client extends Base {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      const { connection } = this as unknown as Internals;
      const attach = connection.attachListeners.bind(connection);
      connection.attachListeners = (stream) => {
        attach(stream);
        for (const parse of stream.listeners('data') as ((bytes: Buffer) => void)[]) {
          stream.on('data', (bytes: Buffer) => {
            try {
              parse(bytes);
            } catch (error) {
              const { message } = error as Error;
              stream.destroy(new Error(`cannot read the database: ${message}`, { cause: error }));
            }
          });
          stream.off('data', parse);
        }
      };
    }
  };
}

/**
 * A client that leaves nothing behind on a connection that a pooler lends it for one transaction: no prepared statement,
 * as statements lose their names, and no setting of the session. Our settings, and `more`, are set for each transaction,
 * whatever the role, or another client of the pooler, has set: in the message that begins it, so without a round trip
 * of their own. A statement alone is a transaction.
 */
function withTransactionSettings(Base: typeof pg.Client, more: Settings = {}): typeof pg.Client {
  const beforeStatement = statementSettings(more);
  const afterBegin = beginSettings(more);

  class PooledQuery extends Query {
    readonly #client: pg.Client;
    /** Whether the next answer is that of the settings. */
    #isSetting = false;

    constructor(client: pg.Client, config: pg.QueryConfig, values: unknown, callback: unknown) {
      super(config, values, callback);
      this.#client = client;
    }

    override submit(connection: Connection): Error | null {
      const isWithin = this.#client.getTransactionStatus() !== 'I';
      if (!isWithin && this.text.startsWith('BEGIN')) this.text += `; ${afterBegin}`;
      else this.#isSetting = !isWithin;
      return super.submit(connection);
    }

    override requiresPreparation(): boolean {
      return this.#isSetting || super.requiresPreparation();
    }

    /** All that is sent before the Sync, which comes last, is one transaction. */
    override prepare(connection: Connection): void {
      if (this.#isSetting) {
        connection.parse({ text: beforeStatement });
        connection.bind({});
        connection.execute({});
      }
      super.prepare(connection);
    }

    override handleDataRow(message: object): void {
      if (!this.#isSetting) super.handleDataRow(message);
    }

    override handleCommandComplete(message: object, connection: Connection): void {
      if (this.#isSetting) this.#isSetting = false;
      else super.handleCommandComplete(message, connection);
    }

    override handleError(error: Error, connection: Connection): void {
      if (this.#isSetting && (error as pg.DatabaseError).code === OTHER_ISOLATION) {
        error.message =
          'behind a pooler, the default_transaction_isolation of the role and of the database must be read committed';
      }
      super.handleError(error, connection);
    }
  }

  class Client extends Base {
    // `never` fits all overloads of this method.
    override query(...given: unknown[]): never {
      const [first, ...more] = given;
      const callback = typeof more.at(-1) === 'function' ? more.pop() : undefined;
      const { name: _, ...config } = (
        typeof first === 'string' ? { text: first } : first
      ) as pg.QueryConfig;
      const run = (settle: unknown): unknown =>
        super.query(new PooledQuery(this, config, more[0], settle) as unknown as pg.Submittable);
      return (callback === undefined ? promisify(run)() : run(callback)) as never;
    }
  }
  return Client;
}
