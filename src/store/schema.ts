import type pg from 'pg';
import { StartError } from '../errors.js';
import { tryToAppend } from './entries.js';
import { tablesOf, type Migration } from './migrations.js';
import { onClient } from './statement.js';

/** SQLSTATEs undefined_function and insufficient_privilege. */
const CANNOT_CALL = new Set(['42883', '42501']);

/** What is to be done about a database, as its table of migrations has it. */
export interface Schema {
  /** Migrations that have not run, in their order. */
  readonly pending: readonly string[];
  /** Migrations that ran, and are not ours: a newer version's, or another application's. */
  readonly unknown: readonly string[];
}

interface TableRow {
  name: string;
  /** The columns of the table as a query finds it; null if there is none. */
  columns: string[] | null;
  /** The columns of what already has this name in the schema where a table would be created; null if nothing has. */
  in_the_way: string[] | null;
  /** Whether the role may read and write it; null if there is none. */
  writable: boolean | null;
  /** Whether the role may take the numbers of its rows. */
  countable: boolean;
}

/** Names are looked up as Postgres does for a statement, along the search_path, but tables are created in its first. */
const TABLES = `
  SELECT wanted.name,
    CASE WHEN visible.oid IS NOT NULL THEN ARRAY(
      SELECT attname::text FROM pg_attribute WHERE attrelid = visible.oid AND attnum > 0 AND NOT attisdropped) END AS columns,
    CASE WHEN here.oid IS NOT NULL THEN ARRAY(
      SELECT attname::text FROM pg_attribute WHERE attrelid = here.oid AND attnum > 0 AND NOT attisdropped) END AS in_the_way,
    has_table_privilege(visible.oid, 'SELECT') AND has_table_privilege(visible.oid, 'INSERT')
      AND has_table_privilege(visible.oid, 'UPDATE') AND has_table_privilege(visible.oid, 'DELETE') AS writable,
    NOT EXISTS (
      SELECT FROM pg_depend JOIN pg_class s ON s.oid = objid
      WHERE refobjid = visible.oid
        AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END) AS countable
  FROM unnest($1::text[]) AS wanted (name)
  CROSS JOIN LATERAL (SELECT to_regclass(quote_ident(wanted.name))::oid AS oid) AS visible
  LEFT JOIN pg_class here ON here.relname = wanted.name AND here.relnamespace = to_regnamespace(quote_ident(current_schema()))`;

/**
 * Any other encoding lacks characters: whoever sends one would be refused, or could not be read by others.
 * @throws {StartError}
 */
async function requireUtf8(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ server_encoding: string }>('SHOW server_encoding');
  const encoding = rows[0]?.server_encoding;
  if (encoding === 'UTF8') return;
  throw new StartError(
    `the encoding of the database is ${encoding}, which lacks characters: use one of UTF8 ` +
      `(CREATE DATABASE chat ENCODING 'UTF8' TEMPLATE template0)`,
  );
}

/**
 * Looks at a database before anything is created in it or served from it.
 * @throws {StartError} if its encoding is not UTF8, or its tables are somebody else's, or not what the migrations that
 * ran have left
 */
export async function inspectSchema(
  client: pg.ClientBase,
  migrations: readonly Migration[],
): Promise<Schema> {
  await requireUtf8(client);
  const recorded = await recordedMigrations(client);
  const ran = migrations.filter(({ name }) => recorded.has(name));
  const pending = migrations.filter(({ name }) => !recorded.has(name));
  const expected = await tablesOf(ran);
  const created = await tablesOf(pending);
  const names = [...expected.keys(), ...created.keys()];
  const { rows } = await client.query<TableRow>(TABLES, [names]);
  for (const row of rows) {
    const { name, in_the_way } = row;
    const ours = expected.get(name);
    if (ours !== undefined) requireTable(ours, row);
    const other = created.get(name);
    if (other !== undefined && in_the_way !== null && lacking(other, in_the_way).length > 0) {
      throw new StartError(
        `the database already has a table ${name} that belongs to another application: ` +
          'use a database of its own, or a schema of its own (search_path)',
      );
    }
  }
  if (pending.length === 0) await requireAppend(client);
  const known = new Set(migrations.map(({ name }) => name));
  return {
    pending: pending.map(({ name }) => name),
    unknown: [...recorded].filter((name) => !known.has(name)),
  };
}

/** The last part of a schema that is restored in parts, or granted table by table. */
async function requireAppend(client: pg.ClientBase): Promise<void> {
  try {
    await tryToAppend(onClient(client));
  } catch (error) {
    const { code = '', message } = error as pg.DatabaseError;
    if (!CANNOT_CALL.has(code)) throw error;
    throw new StartError(
      `messages can't be appended: ${message}; was the database restored as a whole, and EXECUTE granted?`,
      { cause: error },
    );
  }
}

function requireTable(
  ours: readonly string[],
  { name, columns, writable, countable }: TableRow,
): void {
  if (columns === null) {
    throw new StartError(
      `the database has no table ${name}, though its migration has run: was it restored as a whole?`,
    );
  }
  const missing = lacking(ours, columns);
  if (missing.length > 0) {
    throw new StartError(`the table ${name} lacks the columns ${missing.join(', ')}`);
  }
  if (writable === false) {
    throw new StartError(
      `the role may not read and write the table ${name}: GRANT SELECT, INSERT, UPDATE, DELETE`,
    );
  }
  if (!countable) {
    throw new StartError(`the role may not use the sequences of the table ${name}: GRANT USAGE`);
  }
}

function lacking(wanted: readonly string[], columns: readonly string[]): string[] {
  return wanted.filter((column) => !columns.includes(column));
}

/** Names in the table of sequelize-cli; none if there is no such table. */
async function recordedMigrations(client: pg.ClientBase): Promise<Set<string>> {
  const { rows: found } = await client.query<{ is_there: boolean }>(
    `SELECT to_regclass('"SequelizeMeta"') IS NOT NULL AS is_there`,
  );
  if (found[0]?.is_there !== true) return new Set();
  const { rows } = await client.query<{ name: string }>('SELECT name FROM "SequelizeMeta"');
  return new Set(rows.map(({ name }) => name));
}
