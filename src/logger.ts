import { pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

export type Logger = PinoLogger;

/** Lines that could not be written and wait for it; later ones are dropped. */
const MAX_UNWRITTEN_BYTES = 1_048_576;

/** What clients send, and errors that repeat it, may be as long as a head or a statement: so much of it is logged. */
const MAX_PATH_CHARACTERS = 200;
const MAX_ERROR_CHARACTERS = 4_000;

function cut(text: unknown, max: number): unknown {
  if (typeof text !== 'string' || text.length <= max) return text;
  return `${text.slice(0, max)}… (${text.length} characters)`;
}

/** What of an error is logged: no other keys, as Sequelize's hold the statement with its parameters. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: name,
    message: cut(message, MAX_ERROR_CHARACTERS),
    ...(code !== undefined && { code }),
    stack: cut(stack, MAX_ERROR_CHARACTERS),
    ...(cause !== undefined && { cause: serializeError(cause) }),
  };
}

/**
 * The process' log on stdout: JSON in production, readable lines otherwise. Headers and tokens are never
 * passed to it; `redact` is the second line of defence.
 */
export function createLogger(options: { level: string; production: boolean }): Logger {
  const settings = {
    level: options.level,
    serializers: {
      err: serializeError,
      path: (path: unknown) => cut(path, MAX_PATH_CHARACTERS),
    },
    redact: ['req.headers', 'headers', 'authorization', 'token', 'content', 'password', 'secret'],
  };
  const stdout = pino.destination({ fd: 1, sync: true, maxLength: MAX_UNWRITTEN_BYTES });
  // On a full disk the node goes on without its log; what fits is written once there is room.
  stdout.on('error', () => undefined);
  return options.production
    ? pino(settings, stdout)
    : // In the same thread: a worker would lose the last lines of a process that ends.
      pino(
        settings,
        pretty({
          ignore: 'pid,hostname',
          translateTime: 'HH:MM:ss.l',
          singleLine: true,
          sync: true,
          destination: stdout,
        }),
      );
}
