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

/** What migrations make of a table. */
export interface Table {
  readonly columns: readonly Column[];
  /** Its unique keys, each as the target of an ON CONFLICT. */
  readonly keys: readonly string[];
  /** Tables whose rows take with them, when they are deleted, those of this table that refer to them. */
  readonly parents: readonly string[];
}

/** A file of migrations/. */
export interface Migration {
  /** As the table of sequelize-cli records it. */
  readonly name: string;
  readonly up: (queryInterface: QueryInterface, library?: object) => Promise<void>;
}

interface MigrationFile {
  up(queryInterface: QueryInterface, library: object): Promise<void>;
}

/** What `createTable` is told of a column. */
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

/** In place of Sequelize, whose types say less of what Postgres makes of them. */
const TYPES = {
  BIGINT: 'bigint',
  BOOLEAN: 'boolean',
  INTEGER: 'integer',
  STRING: (length: number) => `character varying(${length})`,
  TEXT: 'text',
  UUID: 'uuid',
};

const UNIQUE_INDEX = /^CREATE UNIQUE INDEX IF NOT EXISTS \w+ ON (?<table>\w+) (?<key>.*)$/s;

/** All there are, in their order. */
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

/** From dist/src/store as from src/store: the folder beside package.json. */
async function migrationsFolder(): Promise<string> {
  for (const up of ['../../migrations', '../../../migrations']) {
    const folder = fileURLToPath(new URL(up, import.meta.url));
    const files = await readdir(folder).catch(() => []);
    if (files.some((name) => name.endsWith('.cjs'))) return folder;
  }
  throw new Error('the folder migrations/ is missing beside package.json');
}

/**
 * The tables that migrations leave, by name: has them run on a query interface that only takes notes. What it does not
 * know, they can't use.
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
