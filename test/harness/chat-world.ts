import { startNodeProcess, type NodeProcess } from './node-process.js';
import { startNode, type TestNode } from './node.js';
import { createMigratedDatabase, redisUrl } from './services.js';

/** A database and a Redis prefix of its own, and the nodes that share them. */
export interface ChatWorld {
  readonly databaseUrl: string;
  /** Starts a node; `env` as .env.example has it. */
  start(env?: Readonly<Record<string, string>>): Promise<TestNode>;
  /** Starts a node in a process of its own; `npm test` builds it first. */
  startProcess(env?: Readonly<Record<string, string>>, execPath?: string): Promise<NodeProcess>;
  /** Closes all running nodes, and drops the database. */
  close(): Promise<void>;
}

export async function createChatWorld(): Promise<ChatWorld> {
  const database = await createMigratedDatabase();
  const nodes: TestNode[] = [];
  const processes: NodeProcess[] = [];
  const services = {
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl(),
    REDIS_PREFIX: new URL(database.url).pathname.slice(1),
  };
  return {
    databaseUrl: database.url,
    async start(env = {}) {
      const node = await startNode({ ...services, ...env });
      nodes.push(node);
      return node;
    },
    async startProcess(env = {}, execPath) {
      const started = await startNodeProcess({ ...services, ...env }, execPath);
      processes.push(started);
      return started;
    },
    async close() {
      await Promise.all([
        ...nodes.map((node) => node.close()),
        ...processes.map((started) => started.end('SIGKILL')),
      ]);
      await database.drop();
    },
  };
}
