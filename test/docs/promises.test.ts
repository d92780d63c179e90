import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingPart, namedTests } from '../harness/named-tests.js';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

describe('ARCHITECTURE.md', () => {
  /** Its promises, each with the file and the title of its test. */
  const promises = [
    ...read('docs/ARCHITECTURE.md').matchAll(/^\| (.+?) +\| `(test\/\S+\.ts)` +\| (.+?) +\|$/gm),
  ].map(([, promise = '', file = '', title = '']) => ({ promise, file, title }));

  it('has promises', () => {
    expect(promises).not.toEqual([]);
  });

  it.each(promises)('has the test that is named for $promise', (named) => {
    expect(missingPart(named)).toBeUndefined();
  });
});

describe('SECURITY.md', () => {
  const [, section = ''] = read('docs/SECURITY.md').split('\n## Threats\n');
  const [text = ''] = section.split('\n## ');
  const threats = text
    .split(/^- \*\*/m)
    .slice(1)
    .map((item) => ({ threat: item.split('**')[0] ?? '', item }));

  it('has threats', () => {
    expect(threats).not.toEqual([]);
  });

  it.each(threats)('has tests that exist for $threat', ({ item }) => {
    const tests = namedTests(item);
    expect(tests).not.toEqual([]);
    expect(tests).toHaveLength(item.match(/^ {2}- /gm)?.length ?? 0);
    expect(tests.flatMap((named) => missingPart(named) ?? [])).toEqual([]);
  });
});
