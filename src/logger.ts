import { pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

export type Logger = PinoLogger;

/** Writes a line of level debug: fields without contents or tokens, and what happened. */
export type DebugLog = (fields: Readonly<Record<string, unknown>>, event: string) => void;

/** Undefined if the level is off: `debug?.({ ... }, '...')` then builds nothing, so a message costs nothing more. */
export function debugLog(logger: Logger): DebugLog | undefined {
  if (!logger.isLevelEnabled('debug')) return undefined;
  return (fields, event) => {
    logger.debug(fields, event);
  };
}

/** Bytes of lines that the output has not taken yet; beyond them lines are dropped. A few thousand lines of 200 bytes. */
const MAX_UNWRITTEN_BYTES = 1_048_576;

/**
 * Clients choose how long a path is, and an error may repeat what they sent: both are cut. A path of ours has 60
 * characters, a stack of ten lines a thousand or two.
 */
const MAX_PATH_CHARACTERS = 200;
const MAX_ERROR_CHARACTERS = 4_000;

function cut(text: unknown, max: number): unknown {
  if (typeof text !== 'string' || text.length <= max) return text;
  return `${text.slice(0, max)}… (${text.length} characters)`;
}

/** Picks the keys of an error that are logged. The others may hold content: Sequelize adds the statement's parameters. */
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
 * Creates the process' log on stdout, or on stderr (`fd` 2) if stdout has something else: JSON in production, readable
 * lines otherwise. Callers never pass headers or tokens; `redact` is the second line of defence.
 * @param options.worker the number of this worker, which each line then has; 0: the process is none
 */
export function createLogger(options: {
  level: string;
  production: boolean;
  fd?: 1 | 2;
  worker?: number;
}): Logger {
  const settings = {
    level: options.level,
    serializers: {
      err: serializeError,
      path: (path: unknown) => cut(path, MAX_PATH_CHARACTERS),
    },
    redact: ['req.headers', 'headers', 'authorization', 'token', 'content', 'password', 'secret'],
  };
  const output = pino.destination({
    fd: options.fd ?? 1,
    sync: true,
    maxLength: MAX_UNWRITTEN_BYTES,
  });
  // If the disk is full, the node continues without its log. The waiting lines are written once there is room.
  output.on('error', () => undefined);
  const logger = options.production
    ? pino(settings, output)
    : // Not as a pino transport: its worker thread would lose the last lines when the process exits.
      pino(
        settings,
        pretty({
          ignore: 'pid,hostname',
          translateTime: 'HH:MM:ss.l',
          singleLine: true,
          sync: true,
          destination: output,
        }),
      );
  const { worker = 0 } = options;
  return worker > 0 ? logger.child({ worker }) : logger;
}
