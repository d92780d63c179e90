import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Sequelize, type QueryInterface } from 'sequelize';

/** The columns of tables, by their names. */
export type Tables = ReadonlyMap<string, readonly string[]>;

/** A file of migrations/. */
export interface Migration {
  /** As the table of sequelize-cli records it. */
  readonly name: string;
  readonly up: (queryInterface: QueryInterface) => Promise<void>;
}

interface MigrationFile {
  up(queryInterface: QueryInterface, library: typeof Sequelize): Promise<void>;
}

/** All there are, in their order. */
export async function loadMigrations(): Promise<Migration[]> {
  const folder = await migrationsFolder();
  const require = createRequire(import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.cjs')).toSorted();
  return names.map((name) => {
    const file = require(join(folder, name)) as MigrationFile;
    return { name, up: (queryInterface) => file.up(queryInterface, Sequelize) };
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

/** The tables that migrations leave, by having them run on a query interface that only takes notes. */
export async function tablesOf(migrations: readonly Migration[]): Promise<Tables> {
  const tables = new Map<string, readonly string[]>();
  const columnsOf = (table: string): readonly string[] => tables.get(table) ?? [];
  const notes: Record<string, unknown> = {
    createTable: (table: string, columns: object) => tables.set(table, Object.keys(columns)),
    dropTable: (table: string) => tables.delete(table),
    addColumn: (table: string, column: string) => tables.set(table, [...columnsOf(table), column]),
    removeColumn: (table: string, column: string) =>
      tables.set(
        table,
        columnsOf(table).filter((name) => name !== column),
      ),
    sequelize: { query: () => undefined },
  };
  const queryInterface = new Proxy(notes, {
    get: (target, name) => target[String(name)] ?? (() => undefined),
  }) as unknown as QueryInterface;
  for (const migration of migrations) await migration.up(queryInterface);
  return tables;
}
