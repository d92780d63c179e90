import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { PATIENCE_MS } from './patience.js';

/** A Unix account to run child processes as; undefined is that of this process. */
export type Account = { uid: number; gid: number } | undefined;

/** The account for servers: not root, because Postgres refuses to run as root. */
export function serverAccount(): Account {
  if (process.getuid?.() !== 0) return undefined;
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, user]));
    if (uid?.status === 0 && gid?.status === 0) {
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    }
  }
  throw new Error('Running as root, and there is no user postgres or nobody to run servers as.');
}

/** The folders of the PATH. */
export function pathFolders(): string[] {
  return (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
}

/** `<parent>/<entry>/bin` for the entries that match `pattern`, highest version first. */
export function versionedFolders(parent: string, pattern: RegExp): string[] {
  if (!existsSync(parent)) return [];
  const version = (entry: string) => Number(/\d+$/.exec(entry)?.[0] ?? 0);
  return readdirSync(parent)
    .filter((entry) => pattern.test(entry))
    .toSorted((a, b) => version(b) - version(a))
    .map((entry) => join(parent, entry, 'bin'));
}

/** Homebrew's program folders of the formulae that match `formula`, then the common ones. */
export function homebrewFolders(formula: RegExp): string[] {
  const prefixes = ['/opt/homebrew', '/usr/local'];
  return [
    ...prefixes.flatMap((prefix) => versionedFolders(join(prefix, 'opt'), formula)),
    ...prefixes.map((prefix) => join(prefix, 'bin')),
  ];
}

/** The first of `folders` in which all `programs` run under the account for servers. */
export function findFolder(folders: string[], programs: string[]): string | undefined {
  const account = serverAccount();
  // They are run, because a file may exist that cannot start: a shim, or one in a folder that only root may enter.
  const runs = (file: string) =>
    existsSync(file) &&
    spawnSync(file, ['--version'], { ...account, cwd: '/', timeout: PATIENCE_MS }).status === 0;
  return folders.find((folder) => programs.every((program) => runs(join(folder, program))));
}

/** Installs a package with apt-get if possible: on Debian or Ubuntu, as root. */
export async function installDebianPackage(name: string): Promise<void> {
  const hasAptGet = pathFolders().some((folder) => existsSync(join(folder, 'apt-get')));
  if (!existsSync('/etc/debian_version') || process.getuid?.() !== 0 || !hasAptGet) return;
  process.stderr.write(`test harness: installing the Debian package ${name} with apt-get\n`);
  const aptGet = (...args: string[]) =>
    promisify(execFile)('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      maxBuffer: 64 * 1024 * 1024,
    });
  await aptGet('update').catch(() => undefined); // The lists at hand may do.
  await aptGet('install', '-y', '--no-install-recommends', name);
}
