import { readFileSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(`${ROOT}/${path}`, 'utf8');
const architecture = read('docs/ARCHITECTURE.md');

/** Paths of the files below a folder, from the root of the repository. */
function filesIn(folder: string): string[] {
  return readdirSync(`${ROOT}/${folder}`, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.relative(ROOT, posix.join(entry.parentPath, entry.name)));
}

const sources = filesIn('src');

/** The text under a `##` heading. */
function section(heading: string): string {
  return architecture.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
}

/** The paths of a tree whose folders end in `/`, indented by two spaces a level. */
function pathsOf(tree: string): string[] {
  const folders: string[] = [];
  return tree
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [, indent = '', name = ''] = /^( *)(\S+)/.exec(line) ?? [];
      folders.length = indent.length / 2;
      if (!name.endsWith('/')) return [folders.join('') + name];
      folders.push(name);
      return [];
    });
}

it('lists each file of src/, once', () => {
  const tree = /```text\n([\s\S]*?)```/.exec(section('The tree'))?.[1] ?? '';
  expect(pathsOf(tree).toSorted()).toEqual(sources.toSorted());
});

it('lists the layers in such an order that each imports only from those above', () => {
  const layers = [...section('Who imports whom').matchAll(/^\d+\. (.+)$/gm)].map(([, line = '']) =>
    [...(line.split(':')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  );
  /** The entry of the list that a file belongs to. */
  const memberOf = (path: string): string => path.replace(/^src\//, '').replace(/\/.*/, '/');
  const layerOf = (path: string): number =>
    layers.findIndex((members) => members.includes(memberOf(path)));

  expect(sources.filter((path) => layerOf(path) < 0)).toEqual([]);
  const imports = sources.flatMap((path) =>
    [...read(path).matchAll(/from '(\.[^']+)\.js'/g)].map(([, target = '']) => {
      return [path, `${posix.join(posix.dirname(path), target)}.ts`] as const;
    }),
  );
  const wrong = imports.filter(
    ([from, to]) => layerOf(to) >= layerOf(from) && memberOf(from) !== memberOf(to),
  );
  expect(imports).not.toEqual([]);
  expect(wrong).toEqual([]);
});

it('names nothing that the code does not have', () => {
  const code = [...sources, ...filesIn('migrations'), 'package.json', '.env.example']
    .map(read)
    .join('\n');
  const words = new Set(code.match(/\w+/g));
  const names = [...architecture.replaceAll(/```[\s\S]*?```/g, '').matchAll(/`([\w.]+)`/g)]
    .map(([, name = '']) => name)
    .filter((name) => !/^\.|\.ts$/.test(name));
  expect(names).not.toEqual([]);
  expect(names.filter((name) => !name.split('.').every((part) => words.has(part)))).toEqual([]);
});
