import { createServer, loadConfig, type Server } from '../../src/server.js';
import { createLogger } from '../../src/logger.js';

/** The secret of every node of the tests. */
export const SECRET = 'a-secret-of-the-tests-with-48-characters-in-all';

/** Without the limits of how much one user, room or address may do: most tests do more, and say nothing of it. */
export const UNLIMITED: Readonly<Record<string, string>> = {
  MESSAGES_PER_SECOND: '0',
  ROOM_MESSAGES_PER_SECOND: '0',
  REQUESTS_PER_SECOND: '0',
  FAILED_TOKENS_PER_MINUTE: '0',
  SOCKETS_PER_USER: '0',
  SOCKETS_PER_ADDRESS: '0',
  SOCKETS_BEFORE_READY: '0',
};

export interface TestNode {
  readonly server: Server;
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** `ws://127.0.0.1:port/chat` */
  readonly chatUrl: string;
  close(): Promise<void>;
}

/** A node in this process, on a free port and without limits; `env` as .env.example has it. */
export async function startNode(
  env: Readonly<Record<string, string | undefined>>,
): Promise<TestNode> {
  const config = loadConfig({
    PORT: '0',
    HOST: '127.0.0.1',
    LOG_LEVEL: 'silent',
    JWT_MASTER_SECRET: SECRET,
    ...UNLIMITED,
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
