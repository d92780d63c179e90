import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { accepts, findFreePort, startProcess } from './processes.mjs';

/** Starts a Postgres (fsync on) of its own. */
export async function startPostgres() {
  const programs = findFolder('initdb', [...pathFolders(), ...debianFolders()]);
  const folder = createFolder('postgres');
  const data = join(folder.path, 'data');
  execFileSync(
    join(programs, 'initdb'),
    ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
    { ...folder.account, cwd: folder.path, stdio: 'pipe' },
  );
  const port = await findFreePort();
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder.path,
    max_connections: 100,
    fsync: 'on',
    max_wal_size: '4GB',
  };
  const server = await startProcess({
    command: [
      join(programs, 'postgres'),
      '-D',
      data,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    account: folder.account,
    cwd: folder.path,
    quiet: true,
    stopSignal: 'SIGINT',
    async ready() {
      // pg is in bench/node_modules, which is installed after this module is loaded.
      const { default: pg } = await import('pg');
      const client = new pg.Client(`postgres://postgres@127.0.0.1:${port}/postgres`);
      client.on('error', () => undefined);
      await client.connect();
      await client.end();
    },
  });

  /** @param {string} name */
  const urlOf = (name) => `postgres://postgres@127.0.0.1:${port}/${name}`;
  return {
    urlOf,
    /** Creates an empty database; returns its URL. @param {string} name */
    async createDatabase(name) {
      await query(urlOf('postgres'), `CREATE DATABASE ${name}`);
      return urlOf(name);
    },
    async stop() {
      await server.stop();
      folder.remove();
    },
  };
}

/** Starts a Redis of its own. */
export async function startRedis() {
  const candidates = ['redis-server', 'valkey-server'];
  const program = candidates.find((name) => spawnSync(name, ['--version']).status === 0);
  if (program === undefined) throw new Error('No redis-server in the PATH.');
  const folder = createFolder('redis');
  const port = await findFreePort();
  const server = await startProcess({
    command: [
      program,
      ...`--port ${port} --bind 127.0.0.1 --dir ${folder.path} --appendonly no --save`.split(' '),
      '',
    ],
    account: folder.account,
    cwd: folder.path,
    quiet: true,
    ready: () => accepts(port),
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      await server.stop();
      folder.remove();
    },
  };
}

/**
 * @param {string} url
 * @param {string} text
 */
export async function query(url, text) {
  const { default: pg } = await import('pg');
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

/** A temporary folder of the account for servers: Postgres refuses to run as root. @param {string} name */
function createFolder(name) {
  const account = serverAccount();
  const path = mkdtempSync(join(account ? '/tmp' : tmpdir(), `nano-messaging-bench-${name}-`));
  if (account) chownSync(path, account.uid, account.gid);
  const remove = () => rmSync(path, { recursive: true, force: true, maxRetries: 10 });
  process.on('exit', remove);
  return { path, account, remove };
}

function serverAccount() {
  if (process.getuid?.() !== 0) return undefined;
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, user]));
    if (uid?.status === 0 && gid?.status === 0) {
      return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
    }
  }
  throw new Error('Running as root, and there is no user postgres or nobody to run servers as.');
}

function pathFolders() {
  return (process.env['PATH'] ?? '').split(delimiter);
}

function debianFolders() {
  const parent = '/usr/lib/postgresql';
  if (!existsSync(parent)) return [];
  const versions = readdirSync(parent).toSorted((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(parent, version, 'bin'));
}

/** @param {string} program @param {string[]} folders */
function findFolder(program, folders) {
  const account = serverAccount();
  const found = folders.find(
    (folder) => spawnSync(join(folder, program), ['--version'], { ...account }).status === 0,
  );
  if (found === undefined) throw new Error(`No ${program} in the PATH or /usr/lib/postgresql.`);
  return found;
}
