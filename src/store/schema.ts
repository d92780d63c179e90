import type pg from 'pg';
import { StartError } from '../errors.js';
import { tryToAppend } from './append.js';
import { tablesOf, type Column, type Migration, type Table } from './migrations.js';
import { onClient } from './prepared.js';

/** SQLSTATEs undefined_function and insufficient_privilege. */
const CANNOT_CALL = new Set(['42883', '42501']);
/** SQLSTATE invalid_column_reference: no unique index holds the target of an ON CONFLICT. */
const NO_SUCH_KEY = '42P10';
/** Migrations of the proof of concept, all of May 2021: its tables stay where rooms are carried over from. */
const PROOF_OF_CONCEPT = /^202105\d{8}-.+\.js$/;
/** Wider types, which hold all values of ours. */
const WIDER = new Map([
  ['integer', 'bigint'],
  ['character varying', 'text'],
]);

/** The state of a database, by its table of migrations. */
export interface Schema {
  /** Migrations that have not run, in their order. */
  readonly pending: readonly string[];
  /** Migrations that have run and are neither ours nor those of the proof of concept. */
  readonly unknown: readonly string[];
}

interface TableRow {
  name: string;
  /** The columns of the table that a query finds by this name; null if there is none. */
  columns: Column[] | null;
  /** Tables to which it has a foreign key with ON DELETE CASCADE. */
  parents: string[];
  /** Whether it is in the schema in which tables are created. */
  isInTheWay: boolean;
  /** Whether the role may read and write it; null if there is none. */
  isWritable: boolean | null;
  /** Whether the role may use its sequences. */
  isCountable: boolean;
}

/**
 * Finds tables by name along the search_path, as any statement does; tables are created in its first schema. The type
 * of a column is that of its domain, if it has one.
 */
const TABLES = `
  SELECT wanted.name,
    CASE WHEN found.oid IS NOT NULL THEN (
      SELECT coalesce(json_agg(json_build_object(
        'name', attname,
        'type', CASE typbasetype WHEN 0 THEN format_type(atttypid, atttypmod)
          ELSE format_type(typbasetype, typtypmod) END,
        'isNullable', NOT attnotnull,
        'hasDefault', atthasdef OR attidentity <> '')), '[]')
      FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
      WHERE attrelid = found.oid AND attnum > 0 AND NOT attisdropped) END AS columns,
    ARRAY(
      SELECT parent.relname::text FROM pg_constraint JOIN pg_class parent ON parent.oid = confrelid
      WHERE conrelid = found.oid AND contype = 'f' AND confdeltype = 'c') AS parents,
    found.relnamespace IS NOT DISTINCT FROM to_regnamespace(quote_ident(current_schema()))::oid AS "isInTheWay",
    has_table_privilege(found.oid, 'SELECT') AND has_table_privilege(found.oid, 'INSERT')
      AND has_table_privilege(found.oid, 'UPDATE') AND has_table_privilege(found.oid, 'DELETE') AS "isWritable",
    NOT EXISTS (
      SELECT FROM pg_depend JOIN pg_class s ON s.oid = objid
      WHERE refobjid = found.oid
        AND CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') ELSE false END) AS "isCountable"
  FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, place)
  LEFT JOIN pg_class found ON found.oid = to_regclass(quote_ident(wanted.name))
  ORDER BY wanted.place`;

/**
 * Any other encoding lacks characters that clients may send.
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
 * Checks a database before anything is created in it or served from it.
 * @throws {StartError} if its encoding is not UTF8, its tables are those of another application, or they are not as the
 * migrations have left them
 */
export async function inspectSchema(
  client: pg.ClientBase,
  migrations: readonly Migration[],
): Promise<Schema> {
  await requireUtf8(client);
  const recorded = await recordedMigrations(client);
  const pending = migrations.filter(({ name }) => !recorded.has(name));
  const left = await tablesOf(migrations.filter(({ name }) => recorded.has(name)));
  const wanted = await tablesOf(migrations);
  const { rows } = await client.query<TableRow>(TABLES, [[...wanted.keys()]]);
  for (const row of rows) {
    const ours = left.get(row.name);
    const other = wanted.get(row.name);
    if (ours !== undefined) {
      requireTable(ours, row);
      await requireKeys(client, row.name, ours);
    } else if (other !== undefined && row.isInTheWay && row.columns !== null) {
      requireOwn(other, row.name, row.columns);
    }
  }
  if (pending.length === 0) await requireFunctions(client);
  const known = new Set(migrations.map(({ name }) => name));
  return {
    pending: pending.map(({ name }) => name),
    unknown: [...recorded].filter((name) => !known.has(name) && !PROOF_OF_CONCEPT.test(name)),
  };
}

/** Functions may be missing if a dump was restored in parts, or not granted if tables were granted one by one. */
async function requireFunctions(client: pg.ClientBase): Promise<void> {
  await requireFunction('appended', () => tryToAppend(onClient(client)));
  // With a letter that is not ASCII: then it calls the others.
  await requireFunction('searched', () =>
    client.query(`SELECT search_words('é'), search_estimate('a')`),
  );
}

async function requireFunction(purpose: string, attempt: () => Promise<unknown>): Promise<void> {
  try {
    await attempt();
  } catch (error) {
    const { code = '', message } = error as pg.DatabaseError;
    if (!CANNOT_CALL.has(code)) throw error;
    throw new StartError(
      `messages can't be ${purpose}: ${message}; was the database restored as a whole, and EXECUTE granted?`,
      { cause: error },
    );
  }
}

function requireTable(ours: Table, row: TableRow): void {
  const { name, columns, parents, isWritable, isCountable } = row;
  if (columns === null) {
    throw new StartError(
      `the database has no table ${name}, though its migration has run: was it restored as a whole?`,
    );
  }
  requireColumns(ours, name, columns);
  const orphans = ours.parents.filter((parent) => !parents.includes(parent));
  if (orphans.length > 0) {
    throw new StartError(
      `the table ${name} lacks its foreign key to ${orphans.join(', ')}, ON DELETE CASCADE: was the database restored as a whole?`,
    );
  }
  if (isWritable === false) {
    throw new StartError(
      `the role may not read and write the table ${name}: GRANT SELECT, INSERT, UPDATE, DELETE`,
    );
  }
  if (!isCountable) {
    throw new StartError(`the role may not use the sequences of the table ${name}: GRANT USAGE`);
  }
}

/** Checks a table with the name of one that is to be created: ours, if the record of its migration was lost. */
function requireOwn(wanted: Table, name: string, columns: readonly Column[]): void {
  const names = new Set(columns.map((column) => column.name));
  if (wanted.columns.some((column) => !names.has(column.name))) {
    throw new StartError(
      `the database already has a table ${name} that belongs to another application: ` +
        'use a database of its own, or a schema of its own (search_path)',
    );
  }
  requireColumns(wanted, name, columns);
}

/** Columns may be wider than ours, and there may be others, if they need no value. */
function requireColumns(ours: Table, name: string, columns: readonly Column[]): void {
  const others = new Map(columns.map((column) => [column.name, column]));
  const complaints = ours.columns.flatMap((wanted) => {
    const found = others.get(wanted.name);
    others.delete(wanted.name);
    return found === undefined ? [`it lacks ${wanted.name}`] : complaintsOf(found, wanted);
  });
  for (const { name, isNullable, hasDefault } of others.values()) {
    if (!isNullable && !hasDefault) {
      complaints.push(`${name}, which is not one of theirs, is NOT NULL without a default`);
    }
  }
  if (complaints.length === 0) return;
  throw new StartError(
    `the columns of the table ${name} are not as the migrations have made them: ${complaints.join('; ')}`,
  );
}

function complaintsOf({ name, type, isNullable, hasDefault }: Column, wanted: Column): string[] {
  const complaints: string[] = [];
  if (!isAsWide(type, wanted.type)) complaints.push(`${name} is ${type}, not ${wanted.type}`);
  if (isNullable !== wanted.isNullable) {
    complaints.push(`${name} ${isNullable ? 'allows NULL' : 'is NOT NULL'}`);
  }
  if (wanted.hasDefault && !hasDefault) complaints.push(`${name} has no default`);
  return complaints;
}

/** Whether a type holds all values of another one, and returns them unchanged. */
function isAsWide(type: string, wanted: string): boolean {
  const [one, other] = [type, wanted].map((text) => ({
    name: text.replace(/\(\d+\)/, ''),
    length: Number(/\((\d+)\)/.exec(text)?.[1] ?? Infinity),
  }));
  if (one === undefined || other === undefined) return false;
  return (
    WIDER.get(other.name) === one.name || (one.name === other.name && one.length >= other.length)
  );
}

/** Has Postgres plan an ON CONFLICT for each key, so any index that holds it will do. EXPLAIN inserts nothing. */
async function requireKeys(
  client: pg.ClientBase,
  table: string,
  { columns, keys }: Table,
): Promise<void> {
  const list = columns.map(({ name }) => client.escapeIdentifier(name)).join(', ');
  for (const key of keys) {
    try {
      await client.query(
        `EXPLAIN INSERT INTO ${table} (${list}) OVERRIDING SYSTEM VALUE SELECT ${list} FROM ${table} WHERE false
         ON CONFLICT ${key} DO NOTHING`,
      );
    } catch (error) {
      if ((error as pg.DatabaseError).code !== NO_SUCH_KEY) throw error;
      throw new StartError(
        `the table ${table} lacks its unique key ${key}: was the database restored as a whole?`,
        { cause: error },
      );
    }
  }
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
