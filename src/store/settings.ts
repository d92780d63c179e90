import type pg from 'pg';

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
  client_min_messages: 'warning',
  // Connections break when the server is silent (pg-client.ts), and a pool ends those that it does not need.
  statement_timeout: '0',
  transaction_timeout: '0',
  lock_timeout: '0',
  idle_session_timeout: '0',
  idle_in_transaction_session_timeout: `${IDLE_IN_TRANSACTION_MS}`,
};

// Some are unknown to older servers. A commit that is not waited for is not stored; which standbys are waited for is the
// operator's.
const APPLY = `SELECT set_config(name, wanted, false)
  FROM json_each_text($1) AS given (name, wanted) WHERE current_setting(name, true) IS NOT NULL
  UNION ALL
  SELECT set_config('synchronous_commit', 'on', false)
  WHERE current_setting('synchronous_commit') = 'off'`;

/**
 * Sets a session to what is needed, and to `more`. By a statement: poolers like PgBouncer refuse a connection that
 * begins with parameters they don't know.
 */
export async function applySettings(connection: pg.Client, more: Settings = {}): Promise<void> {
  await connection.query(APPLY, [JSON.stringify({ ...SETTINGS, ...more })]);
}
