import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Sequelize, type QueryInterface } from 'sequelize';

/** A column of a table. */
export interface Column {
  readonly name: string;
  /** As `format_type` of Postgres writes it. */
  readonly type: string;
  readonly isNullable: boolean;
  readonly hasDefault: boolean;
}

/** A table as the migrations leave it. */
export interface Table {
  readonly columns: readonly Column[];
  /** Its unique keys, each as the target of an ON CONFLICT. */
  readonly keys: readonly string[];
  /** Tables to which it has a foreign key with ON DELETE CASCADE. */
  readonly parents: readonly string[];
}

/** A file of migrations/. */
export interface Migration {
  /** The file's name, which sequelize-cli records. */
  readonly name: string;
  readonly up: (queryInterface: QueryInterface, library?: object) => Promise<void>;
}

interface MigrationFile {
  up(queryInterface: QueryInterface, library: object): Promise<void>;
}

/** A column as migrations declare it to `createTable`. */
interface ColumnNote {
  readonly type: string;
  readonly allowNull?: boolean;
  readonly primaryKey?: boolean;
  readonly unique?: boolean;
  readonly autoIncrement?: boolean;
  readonly defaultValue?: unknown;
  readonly references?: { readonly model: string };
  readonly onDelete?: string;
}

/** Given to migrations in place of Sequelize: its types as `format_type` of Postgres writes them. */
const TYPES = {
  ARRAY: (type: string) => `${type}[]`,
  BIGINT: 'bigint',
  BOOLEAN: 'boolean',
  INTEGER: 'integer',
  STRING: (length: number) => `character varying(${length})`,
  TEXT: 'text',
  UUID: 'uuid',
};

const UNIQUE_INDEX = /^CREATE UNIQUE INDEX IF NOT EXISTS \w+ ON (?<table>\w+) (?<key>.*)$/s;

/** Loads the files of migrations/, in the order of their names. */
export async function loadMigrations(): Promise<Migration[]> {
  const folder = await migrationsFolder();
  const require = createRequire(import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.cjs')).toSorted();
  return names.map((name) => {
    const file = require(join(folder, name)) as MigrationFile;
    return {
      name,
      up: (queryInterface, library = Sequelize) => file.up(queryInterface, library),
    };
  });
}

/** The folder beside package.json, as seen from src/store or dist/src/store. */
async function migrationsFolder(): Promise<string> {
  for (const up of ['../../migrations', '../../../migrations']) {
    const folder = fileURLToPath(new URL(up, import.meta.url));
    const files = await readdir(folder).catch(() => []);
    if (files.some((name) => name.endsWith('.cjs'))) return folder;
  }
  throw new Error('the folder migrations/ is missing beside package.json');
}

/**
 * The tables that migrations leave, by name. Runs them on a query interface that records `createTable` and unique
 * indexes; migrations can use nothing else.
 */
export async function tablesOf(migrations: readonly Migration[]): Promise<Map<string, Table>> {
  const tables = new Map<string, Table & { readonly keys: string[] }>();
  const queryInterface = {
    createTable(name: string, columns: Record<string, ColumnNote>) {
      tables.set(name, tableOf(Object.entries(columns)));
    },
    sequelize: {
      query(statement: string) {
        const { table = '', key } = UNIQUE_INDEX.exec(statement)?.groups ?? {};
        if (key !== undefined) tables.get(table)?.keys.push(key);
      },
    },
  } as unknown as QueryInterface;
  for (const migration of migrations) await migration.up(queryInterface, TYPES);
  return tables;
}

function tableOf(columns: [name: string, note: ColumnNote][]): Table & { keys: string[] } {
  const primary = columns.filter(([, { primaryKey }]) => primaryKey === true);
  const unique = columns.filter(([, column]) => column.unique === true);
  return {
    columns: columns.map(
      ([name, { type, allowNull, primaryKey, autoIncrement, defaultValue }]) => ({
        name,
        type,
        isNullable: allowNull !== false && primaryKey !== true,
        hasDefault: autoIncrement === true || defaultValue !== undefined,
      }),
    ),
    keys: [primary, ...unique.map((column) => [column])].map(
      (key) => `(${key.map(([name]) => `"${name}"`).join(', ')})`,
    ),
    parents: columns.flatMap(([, { references, onDelete }]) =>
      references !== undefined && onDelete === 'CASCADE' ? [references.model] : [],
    ),
  };
}
