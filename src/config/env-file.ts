import { lstatSync, readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { ConfigError } from './config-error.js';

const FILE = '.env';

/** By the byte order marks that editors and shells of Windows write; without one it is UTF-8. */
const UTF_16 = { fffe: 'utf-16le', feff: 'utf-16be' } as const;

/**
 * Reads `.env` of the working directory into `process.env`, where there is one; what the environment has
 * already stays as it is. Not by `process.loadEnvFile`, which takes one that it cannot read for none or for empty.
 * @throws {ConfigError} where there is one that cannot be read
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
    // A link that leads nowhere is there, too.
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
  // UTF-16 without a mark, or no text at all.
  if (text.includes('\0')) throw new ConfigError([`${FILE} is not text in UTF-8`]);
  return text;
}
