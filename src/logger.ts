import { pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

export type Logger = PinoLogger;

/**
 * The process' log on stdout: JSON in production, readable lines otherwise. Headers and tokens are never
 * passed to it; `redact` is the second line of defence.
 */
export function createLogger(options: { level: string; production: boolean }): Logger {
  const settings = {
    level: options.level,
    redact: ['req.headers', 'headers', 'authorization', 'token', 'content', 'password', 'secret'],
  };
  return options.production
    ? pino(settings)
    : // In the same thread: a worker would lose the last lines of a process that ends.
      pino(
        settings,
        pretty({
          ignore: 'pid,hostname',
          translateTime: 'HH:MM:ss.l',
          singleLine: true,
          sync: true,
        }),
      );
}
