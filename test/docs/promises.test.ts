import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** The promises of ARCHITECTURE.md, each with the file and the title of its test. */
const promises = [
  ...read('docs/ARCHITECTURE.md').matchAll(/^\| (.+?) +\| `(test\/\S+\.ts)` +\| (.+?) +\|$/gm),
].map(([, promise = '', file = '', title = '']) => ({ promise, file, title }));

it('finds the table of promises', () => {
  expect(promises).not.toEqual([]);
});

it.each(promises)('the promise "$promise" has the test that is named', ({ file, title }) => {
  const source = read(file);
  let from = 0;
  for (const part of title.split(' > ')) {
    const at = source.indexOf(`'${part}'`, from);
    expect(at, `'${part}' in ${file}`).toBeGreaterThanOrEqual(0);
    from = at + 1;
  }
});
