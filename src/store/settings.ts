import { callbackify } from 'node:util';
import type pg from 'pg';
import { isCancelled } from './pg-errors.js';

/** Settings of a session of Postgres, by name. */
export type Settings = Readonly<Record<string, string>>;

/** A node that stops within a transaction must not keep a room's lock for the others. */
const IDLE_IN_TRANSACTION_MS = 10_000;

/**
 * What each session is set to, as a database or a role may bring something else (ALTER ROLE ... SET): what the SQL and
 * the parsing of answers rely on, and limits that are this server's own business. What is not here is the operator's:
 * search_path, read-only, memory.
 */
const SETTINGS: Settings = {
  // Each statement of append_batch sees what was committed while the one before waited for a lock.
  default_transaction_isolation: 'read committed',
  // How values go in and come out.
  DateStyle: 'ISO',
  TimeZone: 'UTC',
  array_nulls: 'on',
  standard_conforming_strings: 'on',
  client_min_messages: 'warning',
  // Connections break when the server is silent (pg-client.ts), and a pool ends those that it does not need.
  transaction_timeout: '0',
  lock_timeout: '0',
  idle_session_timeout: '0',
  idle_in_transaction_session_timeout: `${IDLE_IN_TRANSACTION_MS}`,
};

/**
 * How often a session is tried to be set: a limit of a millisecond that it begins with may end the attempt, on a machine
 * that is busy.
 */
const ATTEMPTS = 20;

/**
 * One message: its first statement needs no catalog and hardly any time, and no limit holds from there on. Some settings
 * are unknown to older servers. A commit that is not waited for is not stored; which standbys are waited for is the
 * operator's.
 */
function statementFor(settings: string): string {
  return `SET statement_timeout = 0;
    SELECT set_config(name, wanted, false)
    FROM json_each_text(${settings}) AS given (name, wanted) WHERE current_setting(name, true) IS NOT NULL
    UNION ALL
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'`;
}

/**
 * `pg`'s client, of sessions that are set to what is needed, and to `more`, before they count as connected. By a
 * statement: poolers like PgBouncer refuse a connection that begins with parameters they don't know.
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
      const statement = statementFor(this.escapeLiteral(JSON.stringify({ ...SETTINGS, ...more })));
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
