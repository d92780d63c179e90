import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { DatabaseAddress } from '../config/load.js';
import { StartError } from '../errors.js';
import type { Logger } from '../logger.js';
import { isReadOnly } from './pg-errors.js';
import { withSettings } from './settings.js';

const Client = withSettings(pg.Client);

/** A database that starts, or recovers from a crash, may take as long. */
const PATIENCE_MS = 60_000;
/** How long an attempt may take. */
const ATTEMPT_TIMEOUT_MS = 5_000;
const PAUSE_MS = 500;
/** How often it is said that the database is waited for. */
const SAY_INTERVAL_MS = 10_000;

/** Errors of Node that say there is nobody at the address, at the moment. */
const NOBODY = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENOENT',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
]);
/** SQLSTATEs that say the server is there, and not ready: connection exception, insufficient resources, shutdown. */
const NOT_READY = ['08', '53', '57P'];

export interface ReachOptions {
  /** How long a database is waited for that does not answer. */
  readonly patienceMs?: number;
  readonly logger: Logger;
}

/**
 * Asks a database something over a connection of its own, as soon as it answers: one that is not there yet, or still
 * starts, is tried again, and the log says so.
 * @throws {StartError} if it did not answer in time, or refuses what it is given: a password, the name of a database
 */
export async function reachDatabase<T>(
  address: DatabaseAddress,
  { patienceMs = PATIENCE_MS, logger }: ReachOptions,
  ask: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { host, port, database } = address;
  const deadline = performance.now() + patienceMs;
  let saidAt = -Infinity;
  for (;;) {
    const attempt = await tryToAsk(address, ask);
    if ('answer' in attempt) return attempt.answer;
    const { error, mayPass } = attempt;
    if (error instanceof StartError) throw error;
    const reason = reasonOf(error);
    if (!mayPass) throw new StartError(`the database cannot be used: ${reason}`, { cause: error });
    const now = performance.now();
    if (now >= deadline) {
      throw new StartError(
        `the database could not be used for ${Math.round(patienceMs / 1000)} s: ${reason}`,
        { cause: error },
      );
    }
    if (now - saidAt >= SAY_INTERVAL_MS) {
      saidAt = now;
      logger.warn({ host, port, database, reason }, 'waiting for the database');
    }
    await delay(PAUSE_MS);
  }
}

type Attempt<T> = { readonly answer: T } | { readonly error: Error; readonly mayPass: boolean };

async function tryToAsk<T>(
  { host, port, database, username, password, ssl, options, applicationName }: DatabaseAddress,
  ask: (client: pg.Client) => Promise<T>,
): Promise<Attempt<T>> {
  const client = new Client({
    host,
    port,
    database,
    user: username,
    password,
    ssl,
    options,
    application_name: applicationName ?? 'nano-messaging',
    connectionTimeoutMillis: ATTEMPT_TIMEOUT_MS,
    query_timeout: ATTEMPT_TIMEOUT_MS,
  });
  let isGone = false;
  client.once('end', () => {
    isGone = true;
  });
  // What breaks the connection rejects what was asked of it, too.
  client.on('error', () => undefined);
  const begin = performance.now();
  try {
    await client.connect();
    return { answer: await ask(client) };
  } catch (error) {
    const { code = '' } = error as { code?: string };
    // The errors of `pg` itself have no code: those of a time that is over, or of a server that hung up, are told from
    // those of a password that is missing, or of a server without TLS, by what happened.
    const isLate = performance.now() - begin >= ATTEMPT_TIMEOUT_MS;
    const mayPass =
      code === ''
        ? isGone || isLate
        : NOBODY.has(code) ||
          // A standby, which may be the primary in a moment, or another may be it at this address.
          isReadOnly(error) ||
          NOT_READY.some((state) => code.startsWith(state));
    return { error: error as Error, mayPass };
  } finally {
    client.end().catch(() => undefined);
  }
}

/** An address with several IPs fails with an error for each, whose own message is empty. */
function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors.map((each: Error) => each.message).join(', ');
}
