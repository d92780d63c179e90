import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { expect, it } from 'vitest';

const root = new URL('../../', import.meta.url);
const pages = ['', 'docs/'].flatMap((folder) =>
  readdirSync(new URL(folder, root))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `${folder}${name}`),
);

/** The anchors of a page, as GitHub makes them of its headings. */
function anchorsOf(markdown: string): string[] {
  const seen = new Map<string, number>();
  const prose = markdown.replaceAll(/```[\s\S]*?```/g, '');
  return [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => {
    const slug = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-');
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    return times === 0 ? slug : `${slug}-${times}`;
  });
}

it.each(pages)('%s links only to pages and headings that exist', (page) => {
  const markdown = readFileSync(new URL(page, root), 'utf8');
  const links = [...markdown.matchAll(/\]\(([^)#]*)(?:#([^)]+))?\)/g)];
  const broken = links.filter(([, path = '', anchor]) => {
    if (/^https?:/.test(path)) return false;
    const target = new URL(path, new URL(page, root));
    if (!existsSync(target)) return true;
    return anchor !== undefined && !anchorsOf(readFileSync(target, 'utf8')).includes(anchor);
  });
  expect(links).not.toEqual([]);
  expect(broken.map(([link]) => link)).toEqual([]);
});

it('CONTRIBUTING.md names only files and scripts that exist', () => {
  const markdown = readFileSync(new URL('CONTRIBUTING.md', root), 'utf8');
  const paths = [...markdown.matchAll(/`((?:src|test|docs|migrations|scripts)\/[\w./-]*)`/g)];
  expect(paths).not.toEqual([]);
  expect(paths.filter(([, path = '']) => !existsSync(new URL(path, root)))).toEqual([]);
  const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = [...markdown.matchAll(/npm (?:run )?(test\b[\w:]*|(?<=run )[\w:-]+)/g)];
  expect(named).not.toEqual([]);
  expect(named.filter(([, script = '']) => !(script in scripts))).toEqual([]);
});
