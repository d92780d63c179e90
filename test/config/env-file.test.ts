import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError, loadEnvFile } from '../../src/config/load.js';
import { serverAccount } from '../harness/programs.js';

const NAME = 'NANO_TEST_VARIABLE';
const TEXT = `# Größe 🚀\r\n${NAME}=zwölf\r\n${NAME}_2="a b"\r\n`;

let folder: string;
let before: string;

beforeEach(() => {
  before = process.cwd();
  folder = mkdtempSync(join(tmpdir(), 'nano-test-'));
  // So that another account may look for the file.
  chmodSync(folder, 0o755);
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true });
  for (const name of Object.keys(process.env)) if (name.startsWith(NAME)) delete process.env[name];
});

describe('.env', () => {
  const bigEndian = Buffer.from(`\ufeff${TEXT}`, 'utf16le').swap16();

  it.each([
    ['UTF-8', Buffer.from(TEXT)],
    ['UTF-8 with a byte order mark', Buffer.from(`\ufeff${TEXT}`)],
    ['UTF-16, as a shell of Windows writes it', Buffer.from(`\ufeff${TEXT}`, 'utf16le')],
    ['UTF-16, big end first', bigEndian],
  ])('is read in %s', (_, bytes) => {
    writeFileSync('.env', bytes);

    loadEnvFile();

    expect(process.env[NAME]).toBe('zwölf');
    expect(process.env[`${NAME}_2`]).toBe('a b');
  });

  it('does not override a variable of the environment, even an empty one', () => {
    process.env[NAME] = 'given';
    process.env[`${NAME}_2`] = '';
    writeFileSync('.env', TEXT);

    loadEnvFile();

    expect(process.env[NAME]).toBe('given');
    expect(process.env[`${NAME}_2`]).toBe('');
  });

  it('may be missing, or empty', () => {
    loadEnvFile();
    writeFileSync('.env', '');
    loadEnvFile();

    expect(process.env[NAME]).toBeUndefined();
  });

  it.each([
    ['a folder', () => mkdirSync('.env'), 'cannot be read: EISDIR'],
    ['a link to itself', () => symlinkSync('.env', '.env'), 'cannot be read: ELOOP'],
    ['a link to nothing', () => symlinkSync('nowhere', '.env'), 'cannot be read: ENOENT'],
    [
      'another encoding',
      () => writeFileSync('.env', Buffer.from(TEXT, 'latin1')),
      'is not text in UTF-8',
    ],
    [
      'UTF-16 without a mark',
      () => writeFileSync('.env', Buffer.from('A=1', 'utf16le')),
      'is not text in UTF-8',
    ],
    [
      'half of a character of UTF-16',
      () => writeFileSync('.env', bigEndian.subarray(0, -1)),
      'is not text in UTF-8',
    ],
  ])('is refused, not ignored: %s', (_, make, problem) => {
    make();

    expect(problemsOf(loadEnvFile)).toEqual([`.env ${problem}`]);
  });

  it('is refused, not ignored: a file that only another account may read', () => {
    writeFileSync('.env', TEXT, { mode: 0o000 });

    expect(problemsOf(() => asSomebodyElse(loadEnvFile))).toEqual(['.env cannot be read: EACCES']);
  });
});

/** Root may read everything. */
function asSomebodyElse(run: () => void): void {
  const account = serverAccount();
  if (account === undefined) {
    run();
    return;
  }
  process.seteuid?.(account.uid);
  try {
    run();
  } finally {
    process.seteuid?.(0);
  }
}

function problemsOf(run: () => void): readonly string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
