import { readFileSync } from 'node:fs';

/** A test that a page names. */
export interface NamedTest {
  /** Its path, from the root. */
  readonly file: string;
  /** As vitest prints it, with ` > ` between a `describe` and its `it`. */
  readonly title: string;
}

/** The tests that a text names in items of lists: - `test/a.test.ts`: title. */
export function namedTests(text: string): NamedTest[] {
  const items = text.matchAll(/^ *- `(test\/\S+\.ts)`: (.+)$/gm);
  return Array.from(items, ([, file = '', title = '']) => ({ file, title }));
}

/** What the file of a test lacks of its title; undefined if the test is there. */
export function missingPart({ file, title }: NamedTest): string | undefined {
  const source = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  let from = 0;
  for (const part of title.split(' > ')) {
    const places = ["'", '"'].map((quote) => source.indexOf(`${quote}${part}${quote}`, from));
    const found = places.filter((at) => at !== -1);
    if (found.length === 0) return `${file} has no '${part}'`;
    from = Math.min(...found) + 1;
  }
  return undefined;
}
