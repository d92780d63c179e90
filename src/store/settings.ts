import { callbackify } from 'node:util';
import pg from 'pg';
import { isCancelled } from './pg-errors.js';

/** Settings of a session or a transaction of Postgres, by name. */
export type Settings = Readonly<Record<string, string>>;

/**
 * A node that is suspended within a transaction must not keep a room's lock for good; twice STORE_TIMEOUT_MS by
 * default.
 */
const IDLE_IN_TRANSACTION_MS = 10_000;

/**
 * Settings of every session, because a database or a role may have others (ALTER ROLE ... SET): those that our SQL and
 * the parsing of answers rely on, and limits of time, which this server keeps itself. All others are the operator's:
 * search_path, read-only, memory.
 */
const SETTINGS: Settings = {
  // Each statement of append_batch has to see what was committed while the one before it waited for a lock.
  default_transaction_isolation: 'read committed',
  // The form of values.
  DateStyle: 'ISO',
  TimeZone: 'UTC',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  client_min_messages: 'warning',
  // Limits that are kept elsewhere: by pg-client.ts for a server that is silent, by the pools for idle connections.
  transaction_timeout: '0',
  lock_timeout: '0',
  idle_session_timeout: '0',
  idle_in_transaction_session_timeout: `${IDLE_IN_TRANSACTION_MS}`,
};

/** Those that a transaction may have for itself. How long a session is idle is the business of its pooler. */
const OF_TRANSACTIONS: Settings = Object.fromEntries(
  Object.entries({ statement_timeout: '0', ...SETTINGS }).filter(
    ([name]) => name !== 'default_transaction_isolation' && name !== 'idle_session_timeout',
  ),
);

/**
 * Attempts to set up a session: it may begin with a statement_timeout of a millisecond, which cancels an attempt on a
 * busy machine. A trade-off: a session that needs more is refused.
 */
const ATTEMPTS = 20;

/**
 * One message to the server. Its first statement reads no catalog, and after it no limit of time holds. Settings that
 * an older server does not know are left out. synchronous_commit must not be off, as an acknowledged message would not
 * be stored yet; which standbys a commit waits for is up to the operator.
 */
function statementFor(more: Settings): string {
  return `SET statement_timeout = 0; ${setAll({ ...SETTINGS, ...more }, false)}`;
}

/** Sets our settings, and `more`, for the rest of a transaction. */
export function beginSettings(more: Settings): string {
  return setAll({ ...OF_TRANSACTIONS, ...more }, true);
}

/** The same for a statement alone; fails if its transaction is not `read committed`. */
export function statementSettings(more: Settings): string {
  return setAll({ transaction_isolation: 'read committed', ...OF_TRANSACTIONS, ...more }, true);
}

function setAll(settings: Settings, isLocal: boolean): string {
  const json = pg.escapeLiteral(JSON.stringify(settings));
  return `SELECT set_config(name, wanted, ${isLocal})
    FROM json_each_text(${json}) AS given (name, wanted) WHERE current_setting(name, true) IS NOT NULL
    UNION ALL
    SELECT set_config('synchronous_commit', 'on', ${isLocal})
    WHERE current_setting('synchronous_commit') = 'off'`;
}

/**
 * A client whose session has our settings, and `more`, before it counts as connected. They are set by a statement,
 * because poolers like PgBouncer refuse a connection with startup parameters that they don't know.
 */
export function withSettings(Base: typeof pg.Client, more: Settings = {}): typeof pg.Client {
  return class Client extends Base {
    override connect(): Promise<pg.Client>;
    override connect(callback: (error: Error) => void): void;
    override connect(callback?: (error: Error) => void): Promise<pg.Client> | void {
      const connected = super.connect().then(() => this.#set());
      if (callback === undefined) return connected;
      callbackify(() => connected)(callback);
    }

    async #set(): Promise<pg.Client> {
      const statement = statementFor(more);
      for (let attempts = 1; ; attempts += 1) {
        try {
          await this.query(statement);
          return this;
        } catch (error) {
          if (isCancelled(error) && attempts < ATTEMPTS) continue;
          this.end().catch(() => undefined);
          throw error;
        }
      }
    }
  };
}
