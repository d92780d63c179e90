import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { environmentSchema, SECRETS, VARIABLE_GROUPS } from '../../src/config/variables.js';

const PATH = fileURLToPath(new URL('../../.env.example', import.meta.url));
const LINE_CHARACTERS = 120;

const HEADER =
  'Copy to .env: `npm start`, `docker compose up` and the scripts read it. A variable that is commented out has the ' +
  'value that stands there, or none. The environment has precedence over this file. A value with # in it stands in ' +
  'quotes; no shell reads this file, so ~ and $HOME mean nothing here. A variable that may hold a secret can come ' +
  'from a file, without the line break at its end: NAME_FILE=/run/secrets/name in place of NAME.';

/** The lines that are not commented out. `docker compose` sets NODE_ENV itself. */
const SET: Readonly<Record<string, string>> = { NODE_ENV: 'development' };

const defaults = environmentSchema.parse({}) as Readonly<
  Record<string, string | number | boolean | undefined>
>;

/** A text as comment lines. */
function comment(text = ''): string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > LINE_CHARACTERS) {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

function rows({ shape }: (typeof VARIABLE_GROUPS)[number]): string[] {
  return Object.entries(shape).flatMap(([name, { description }]) => [
    ...comment(description),
    name in SET ? `${name}=${SET[name]}` : `# ${name}=${String(defaults[name] ?? '')}`,
    ...(SECRETS.includes(name) ? [`# ${name}_FILE=`] : []),
  ]);
}

function render(): string {
  const groups = VARIABLE_GROUPS.map((group) => [
    ...(group.description === undefined ? [] : [...comment(group.description), '']),
    ...rows(group),
  ]);
  return [comment(HEADER), ...groups].map((lines) => `${lines.join('\n')}\n`).join('\n');
}

describe('.env.example', () => {
  it('has the rows of the variables; `vitest run test/docs/environment.test.ts -u` writes it', async () => {
    await expect(render()).toMatchFileSnapshot(PATH);
  });

  it('changes nothing if it is copied unchanged', () => {
    const lines = readFileSync(PATH, 'utf8').matchAll(/^([A-Z][A-Z0-9_]*)=(.*)$/gm);
    const set = Object.fromEntries([...lines].map(([, name, value]) => [name, value]));

    expect(set).toEqual(SET);
    expect(loadConfig(set)).toEqual(loadConfig({}));
  });
});

describe('a variable', () => {
  it('has a meaning, and is in one group', () => {
    const all = VARIABLE_GROUPS.flatMap(({ shape }) => Object.entries(shape));

    expect(all.map(([name]) => name).toSorted()).toEqual(
      Object.keys(environmentSchema.shape).toSorted(),
    );
    expect(all.filter(([, { description }]) => !description).map(([name]) => name)).toEqual([]);
  });
});
