import { readFileSync } from 'node:fs';

/** Variables as they were given. */
export type Given = Readonly<Record<string, string | undefined>>;

/** What follows the name of a variable in the name of that for its file, as in the images of Postgres and others. */
const SUFFIX = '_FILE';

/**
 * Gives each of `names` the text of the file that NAME_FILE names, without the line break at its end. Variables are
 * given as `loadConfig` has normalised them: none is empty.
 * @returns the variables, and a line for each file that is of no use: beside the variable itself, unreadable or empty
 */
export function readSecretFiles(
  given: Given,
  names: readonly string[],
): { given: Given; problems: readonly string[] } {
  const read: Record<string, string> = {};
  const problems: string[] = [];
  for (const name of names) {
    const path = given[name + SUFFIX];
    if (path === undefined) continue;
    const { text, problem } =
      given[name] === undefined ? readSecret(path) : { problem: `is given beside ${name}` };
    if (problem !== undefined) problems.push(`${name}${SUFFIX} ${problem}`);
    else if (text !== undefined) read[name] = text;
  }
  return { given: { ...given, ...read }, problems };
}

function readSecret(path: string): { text?: string; problem?: string } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    return { problem: `cannot be read: ${(error as NodeJS.ErrnoException).code}` };
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return { problem: 'names a file that is not text in UTF-8' };
  }
  // Otherwise an empty DATABASE_URL would mean the embedded database, for example.
  if (text.trim() === '') return { problem: 'names an empty file' };
  return { text: text.replace(/\r?\n$/, '') };
}
