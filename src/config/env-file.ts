import { lstatSync, readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ConfigError } from './config-error.js';

const FILE = '.env';

/** The byte order marks that editors and shells on Windows write; a file without one is UTF-8. */
const UTF_16 = { fffe: 'utf-16le', feff: 'utf-16be' } as const;

/**
 * Adds the variables of the working directory's `.env`, if there is one, to `process.env`. A variable that is set
 * already keeps its value. `process.loadEnvFile` won't do: it takes a file that it cannot read for a missing or an empty
 * one.
 * @throws {ConfigError} if the file cannot be read
 */
export function loadEnvFile(): void {
  const bytes = readBytes();
  if (bytes === undefined) return;
  for (const [name, value] of Object.entries(parseEnv(decode(bytes)))) {
    process.env[name] ??= value;
  }
}

function readBytes(): Buffer | undefined {
  try {
    return readFileSync(FILE);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A link to a missing file is an error, not a missing `.env`.
    const isMissing = code === 'ENOENT' && !lstatSync(FILE, { throwIfNoEntry: false });
    if (isMissing) return undefined;
    throw new ConfigError([`${FILE} cannot be read: ${code}`], { cause: error });
  }
}

function decode(bytes: Buffer): string {
  const mark = bytes.toString('hex', 0, 2);
  const encoding = mark === 'fffe' || mark === 'feff' ? UTF_16[mark] : 'utf-8';
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (error) {
    throw new ConfigError([`${FILE} is not text in UTF-8`], { cause: error });
  }
  // UTF-16 without a byte order mark, or a binary file.
  if (text.includes('\0')) throw new ConfigError([`${FILE} is not text in UTF-8`]);
  return text;
}
