import { chmodSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { startContainer } from './container.js';
import { findFolder, homebrewFolders, pathFolders } from './programs.js';
import {
  createServerFolder,
  findFreePort,
  type ServerFolder,
  type ServerOptions,
} from './server-process.js';
import { startService } from './service-source.js';

/** A Redis (or Valkey) server for the tests. */
export interface Redis {
  url: string;
  /** Ends the server, unless it was given by TEST_REDIS_URL. */
  stop(): Promise<void>;
  pid?: number;
}

const IN_MEMORY = ['--save', '', '--appendonly', 'no'];

/** Starts Redis: that of TEST_REDIS_URL, else from local programs, apt-get or Docker. */
export function startRedis(): Promise<Redis> {
  return startService<Redis>({
    givenUrl: process.env['TEST_REDIS_URL'],
    find: findRedis,
    debianPackage: 'redis-server',
    startLocal,
    startContainer: startRedisContainer,
    missing:
      'No Redis for the tests: set TEST_REDIS_URL, install Redis or Valkey ' +
      '(apt-get install redis-server, brew install redis), or start Docker.',
  });
}

/** The program; undefined if it is not on this machine. */
export function findRedis(): string | undefined {
  const folders = [...pathFolders(), ...homebrewFolders(/^(redis|valkey)$/)];
  for (const program of ['redis-server', 'valkey-server']) {
    const folder = findFolder(folders, [program]);
    if (folder !== undefined) return join(folder, program);
  }
  return undefined;
}

async function startLocal(file: string): Promise<Redis> {
  const folder = createServerFolder('redis');
  const port = await findFreePort();
  const server = await folder.start(redisOptions(folder, { file, port }));
  return { url: `redis://127.0.0.1:${port}`, ...server };
}

/** A Redis of its own, from the programs of this machine. */
export interface OwnRedis {
  readonly port: number;
  readonly folder: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts the program with the arguments that `argsOf` makes in the server's folder. */
export async function startOwnRedis(
  argsOf: (folder: string) => string[] | Promise<string[]> = () => [],
): Promise<OwnRedis> {
  const file = findRedis();
  if (file === undefined) throw new Error('This test needs redis-server on the machine.');
  const folder = createServerFolder('redis');
  const port = await findFreePort();
  const more = await argsOf(folder.path);
  const options = redisOptions(folder, { file, port });
  const server = await folder.start({ ...options, args: [...options.args, ...more] });
  return { port, folder: folder.path, ...server };
}

/** Starts a Sentinel, which watches as its configuration says. */
export async function startSentinel(config: string): Promise<OwnRedis> {
  const file = findRedis();
  if (file === undefined) throw new Error('This test needs redis-server on the machine.');
  const folder = createServerFolder('sentinel');
  const port = await findFreePort();
  const path = join(folder.path, 'sentinel.conf');
  // It writes there what it learns, and a folder of its own account is needed for that.
  writeFileSync(path, `port ${port}\nbind 127.0.0.1\ndir ${folder.path}\n${config}`);
  chmodSync(path, 0o666);
  const options = redisOptions(folder, { file, port });
  const server = await folder.start({ ...options, args: [path, '--sentinel'] });
  return { port, folder: folder.path, ...server };
}

/** How to start a Redis that keeps nothing. */
export function redisOptions(
  folder: ServerFolder,
  { file, port }: { file: string; port: number },
): ServerOptions {
  return {
    file,
    args: ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder.path, ...IN_MEMORY],
    ready: () => ping(port),
    stopSignal: 'SIGTERM',
    orphanSignal: 'SIGTERM',
  };
}

async function startRedisContainer(): Promise<Redis> {
  const container = await startContainer({
    port: 6379,
    environment: {},
    image: ['redis:7-alpine', 'redis-server', ...IN_MEMORY],
    ready: ping,
  });
  return { url: `redis://127.0.0.1:${container.port}`, stop: () => container.stop() };
}

function ping(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
    socket.setTimeout(2_000, () => socket.destroy());
    socket.once('data', (answer) => {
      // With a password it refuses, and so answers.
      if (/^(\+PONG|-NOAUTH)/.test(answer.toString())) resolve();
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('No answer to PING')));
  });
}
