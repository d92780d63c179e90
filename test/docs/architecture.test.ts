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

it('the tree lists each file of src/ once', () => {
  const tree = /```text\n([\s\S]*?)```/.exec(section('The tree'))?.[1] ?? '';
  expect(pathsOf(tree).toSorted()).toEqual(sources.toSorted());
});

/** By file, its imports of other files of src/, types included. */
const imports = new Map(
  sources
    .filter((path) => path.endsWith('.ts'))
    .map((path) => {
      const targets = [...read(path).matchAll(/(?:from|import\() ?'(\.[^']+)\.js'/g)];
      const folder = posix.dirname(path);
      return [path, targets.map(([, target = '']) => `${posix.join(folder, target)}.ts`)];
    }),
);

it('each file imports only from the layers above its own', () => {
  const layers = [...section('Who imports whom').matchAll(/^\d+\. (.+)$/gm)].map(([, line = '']) =>
    [...(line.split(':')[0] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  );
  /** The entry of the list that a file belongs to. */
  const memberOf = (path: string): string => path.replace(/^src\//, '').replace(/\/.*/, '/');
  const layerOf = (path: string): number =>
    layers.findIndex((members) => members.includes(memberOf(path)));

  expect(sources.filter((path) => layerOf(path) < 0)).toEqual([]);
  const edges = [...imports].flatMap(([from, targets]) => targets.map((to) => [from, to] as const));
  expect(edges.length).toBeGreaterThan(sources.length);
  expect(edges.filter(([, to]) => !sources.includes(to))).toEqual([]);
  const wrong = edges.filter(
    ([from, to]) => layerOf(to) >= layerOf(from) && memberOf(from) !== memberOf(to),
  );
  expect(wrong).toEqual([]);
});

it('no imports form a circle, type imports included', () => {
  const done = new Set<string>();
  /** A circle of imports through a file; undefined if there is none. */
  function circleFrom(path: string, way: readonly string[]): readonly string[] | undefined {
    if (way.includes(path)) return [...way.slice(way.indexOf(path)), path];
    if (done.has(path)) return undefined;
    for (const target of imports.get(path) ?? []) {
      const circle = circleFrom(target, [...way, path]);
      if (circle !== undefined) return circle;
    }
    done.add(path);
    return undefined;
  }
  expect(
    sources.map((path) => circleFrom(path, [])).filter((circle) => circle !== undefined),
  ).toEqual([]);
});

it('only server.ts and the command line know the kind of broker and database', () => {
  const hidden = ['broker/redis', 'broker/local', 'store/connect', 'store/embedded'];
  const outsiders = [...imports].filter(
    ([path]) => !/^src\/(server\.ts|cli\/database\.ts|store\/)/.test(path),
  );
  const wrong = outsiders.filter(([, targets]) =>
    targets.some((target) => hidden.some((name) => target === `src/${name}.ts`)),
  );
  expect(wrong).toEqual([]);
});

it('each name in the prose is a name of the code', () => {
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
