import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COEFFICIENTS } from '../../src/cli/coefficients.js';
import { missingPart, namedTests } from '../harness/named-tests.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const page = read('docs/OPERATIONS.md');
const source = readdirSync(new URL('src', root), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => read(`src/${name}`))
  .join('\n');

/** The texts of the source with a value in them, as patterns: those with a word or two beside the value. */
const templates = Array.from(source.matchAll(/`([^`\n]*\$\{[^`\n]*)`/g), ([, text = '']) =>
  text.split(/\$\{[^}]*\}/),
)
  .filter((parts) => /[a-z]{3,} ?[a-z]{3,}/.test(parts.join('')))
  .map(
    (parts) =>
      new RegExp(`^${parts.map((part) => part.replaceAll(/[^\w ]/g, '\\$&')).join('.+')}$`),
  );

function isInSource(line: string): boolean {
  return source.includes(`'${line}'`) || templates.some((template) => template.test(line));
}

function section(title: string): string {
  const [, after = ''] = page.split(`\n## ${title}\n`);
  return after.split('\n## ')[0] ?? '';
}

/** An item of a list, behind its name; empty if there is none. */
function itemOf(text: string, name: string): string {
  const [, item = ''] = new RegExp(`^- \\*\\*${name}:\\*\\* (.+)$`, 'm').exec(text) ?? [];
  return item;
}

/** The texts in backticks. */
function codesOf(text: string): string[] {
  return Array.from(text.matchAll(/`([^`]+)`/g), ([, code = '']) => code);
}

const outages = section('Outages')
  .split('\n### ')
  .slice(1)
  .map((text) => ({ outage: text.split('\n')[0] ?? '', text }));
const rows = new Set(Array.from(page.matchAll(/^\| `(\w+)`/gm), ([, name]) => name));

describe('OPERATIONS.md', () => {
  it('has outages', () => {
    expect(outages).not.toEqual([]);
  });

  describe.each(outages)('$outage', ({ text }) => {
    it('has tests that exist', () => {
      const tests = namedTests(text);
      expect(tests).not.toEqual([]);
      expect(tests.flatMap((named) => missingPart(named) ?? [])).toEqual([]);
    });

    it('has lines that the server logs', () => {
      const lines = codesOf(itemOf(text, 'Log')).filter((code) => code.includes(' '));
      expect(lines.filter((line) => !isInSource(line))).toEqual([]);
    });

    it('has metrics and alerts of the tables', () => {
      const names = codesOf(itemOf(text, 'Metrics')).filter((code) =>
        /^(?:\w+_\w+|[A-Z][a-z]\w+)$/.test(code),
      );
      expect(names.filter((name) => !rows.has(name))).toEqual([]);
    });

    it('says what clients see, where an operator sees it, and what to do', () => {
      const items = ['Clients', 'Log', 'Metrics', 'Do'];
      expect(items.filter((name) => itemOf(text, name) === '')).toEqual([]);
    });
  });

  it('has the coefficients of the sizes', () => {
    const cells = /^\| `(\w+)` +\| (.+?) +\| (.+?) +\| (.+?) +\|$/gm;
    const documented = Array.from(section('Sizing').matchAll(cells), ([, ...row]) => row);
    const table = Object.entries(COEFFICIENTS).map(([name, { value, unit, of, source }]) => [
      name,
      `${value.toLocaleString('en')} ${unit}`,
      of,
      source,
    ]);
    expect(documented).toEqual(table);
  });

  it.each(['Backup and restore', 'Upgrade'])('has tests that exist for %s', (title) => {
    const tests = namedTests(section(title));
    expect(tests).not.toEqual([]);
    expect(tests.flatMap((named) => missingPart(named) ?? [])).toEqual([]);
  });
});
