import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findPostgres } from './postgres.js';
import { pathFolders } from './programs.js';

/** 64 MiB: more than the dumps of tests. */
const MAX_BYTES = 67_108_864;

const folder = [findPostgres() ?? '', ...pathFolders()].find((path) =>
  ['pg_dump', 'pg_restore'].every((program) => existsSync(join(path, program))),
);

/** Whether the programs are there. A server elsewhere may be newer than they are. */
export const canDump = folder !== undefined && process.env['TEST_DATABASE_URL'] === undefined;

/** Runs pg_dump or pg_restore; returns what it prints. */
export async function runDumpProgram(
  program: 'pg_dump' | 'pg_restore',
  ...args: readonly string[]
): Promise<string> {
  const path = join(folder ?? '', program);
  return (await promisify(execFile)(path, [...args], { maxBuffer: MAX_BYTES })).stdout;
}
