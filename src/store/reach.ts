import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { DatabaseAddress } from '../config/load.js';
import { StartError } from '../errors.js';
import type { Logger } from '../logger.js';
import { isReadOnly } from './pg-errors.js';
import { clientWithSettings } from './pooled-client.js';

/** Long enough for a database to start or to recover from a crash. */
const PATIENCE_MS = 60_000;
/** For connecting, and for each query: the default of STORE_TIMEOUT_MS. */
const ATTEMPT_TIMEOUT_MS = 5_000;
/** A timer may end a little early by `performance.now()`, as the event loop counts whole milliseconds of its own. */
const TIMER_EARLY_MS = 10;
/** Between two attempts: short beside the seconds that a database needs to start. */
const PAUSE_MS = 500;
/** Between two log lines: six in PATIENCE_MS. */
const LOG_INTERVAL_MS = 10_000;

/** Errors of Node: no server answers at the address at the moment. */
const NO_SERVER = new Set([
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
/** SQLSTATEs of a server that is not ready: connection exception, insufficient resources, shutdown or start. */
const NOT_READY = ['08', '53', '57P'];

export interface ReachOptions {
  /** How long to wait for a database that does not answer. */
  readonly patienceMs?: number;
  readonly logger: Logger;
}

/**
 * Runs `ask` on a connection of its own. If the database does not answer yet, it logs that and tries again.
 * @throws {StartError} if the database did not answer in time, or refuses a password or the name of a database, say
 */
export async function reachDatabase<T>(
  address: DatabaseAddress,
  { patienceMs = PATIENCE_MS, logger }: ReachOptions,
  ask: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { host, port, database } = address;
  const deadline = performance.now() + patienceMs;
  let loggedAt = -Infinity;
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
    if (now - loggedAt >= LOG_INTERVAL_MS) {
      loggedAt = now;
      logger.warn({ host, port, database, reason }, 'waiting for the database');
    }
    await delay(PAUSE_MS);
  }
}

type Attempt<T> = { readonly answer: T } | { readonly error: Error; readonly mayPass: boolean };

async function tryToAsk<T>(
  address: DatabaseAddress,
  ask: (client: pg.Client) => Promise<T>,
): Promise<Attempt<T>> {
  const { host, port, database, username, password, ssl, options, applicationName } = address;
  const client = new (clientWithSettings(pg.Client, address))({
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
  // An error of the connection also rejects its query.
  client.on('error', () => undefined);
  const begin = performance.now();
  try {
    await client.connect();
    return { answer: await ask(client) };
  } catch (error) {
    const { code = '' } = error as { code?: string };
    // Errors of `pg` itself have no code. A timeout and a server that hung up may pass, a missing password or a server
    // without TLS may not: they are told apart by what happened to the connection.
    const isLate = performance.now() - begin >= ATTEMPT_TIMEOUT_MS - TIMER_EARLY_MS;
    const mayPass =
      code === ''
        ? isGone || isLate
        : NO_SERVER.has(code) ||
          // A standby: it may become the primary, or the address may lead to another server soon.
          isReadOnly(error) ||
          NOT_READY.some((state) => code.startsWith(state));
    return { error: error as Error, mayPass };
  } finally {
    client.end().catch(() => undefined);
  }
}

/** The error of a host with several IP addresses has one error for each, and no message of its own. */
function reasonOf(error: Error): string {
  if (!(error instanceof AggregateError)) return error.message;
  return error.errors.map((each: Error) => each.message).join(', ');
}
