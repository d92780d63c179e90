import { createServer, loadConfig, type Server } from '../../src/server.js';
import { createLogger } from '../../src/logger.js';

/** The secret of every node of the tests. */
export const SECRET = 'a-secret-of-the-tests-with-48-characters-in-all';

export interface TestNode {
  readonly server: Server;
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** `ws://127.0.0.1:port/chat` */
  readonly chatUrl: string;
  close(): Promise<void>;
}

/** A node in this process, on a free port; `env` as .env.example has it. */
export async function startNode(
  env: Readonly<Record<string, string | undefined>>,
): Promise<TestNode> {
  const config = loadConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    LOG_LEVEL: 'silent',
    JWT_MASTER_SECRET: SECRET,
    ...env,
  });
  const server = await createServer(
    config,
    createLogger({ level: config.logLevel, production: true }),
  );
  const { port } = await server.listen();
  return {
    server,
    url: `http://127.0.0.1:${port}`,
    chatUrl: `ws://127.0.0.1:${port}/chat`,
    close: () => server.close(),
  };
}
