import { join } from 'node:path';
import { query } from './database.js';
import { createPostgres, findPostgres } from './postgres.js';
import { createServerFolder, findFreePort } from './server-process.js';

/** A Postgres, and a streaming replica of it. */
export interface ReplicatedPostgres {
  /** Connects as a user who may create databases. */
  readonly url: string;
  readonly replicaUrl: string;
  readonly replicaPid: number;
  stop(): Promise<void>;
}

const MAX_CONNECTIONS = 50;

/** Starts both, from the programs of this machine. */
export async function startReplicatedPostgres(): Promise<ReplicatedPostgres> {
  const programs = findPostgres('pg_basebackup');
  if (programs === undefined) throw new Error('This test needs a Postgres server on the machine.');
  const folder = createServerFolder('postgres');
  const port = await findFreePort();
  const made = await createPostgres(folder, { programs, port, maxConnections: MAX_CONNECTIONS });
  const { url, options } = made;
  const primary = await folder.start(options);

  const replicaFolder = createServerFolder('replica');
  const dataDir = join(replicaFolder.path, 'data');
  const copy = ['--pgdata', dataDir, '--dbname', url, '--write-recovery-conf', '--no-sync'];
  await replicaFolder.run(join(programs, 'pg_basebackup'), [...copy, '--checkpoint=fast']);
  const replicaPort = String(await findFreePort());
  const replicaUrl = Object.assign(new URL(url), { port: replicaPort }).href;
  const own = [`port=${replicaPort}`, `unix_socket_directories=${replicaFolder.path}`];
  const replica = await replicaFolder.start({
    ...options,
    // The later of two settings counts.
    args: ['-D', dataDir, ...options.args.slice(2), ...own.flatMap((each) => ['-c', each])],
    ready: async () => void (await query(replicaUrl, 'SELECT')),
  });
  return {
    url,
    replicaUrl,
    replicaPid: replica.pid,
    async stop() {
      await replica.stop();
      await primary.stop();
    },
  };
}
