import pg from 'pg';
import { BaseError, ConnectionError, DatabaseError, ValidationError } from 'sequelize';
import { ChatError } from '../errors.js';

/** SQLSTATE read_only_sql_transaction: a standby, or a database that was made read-only. */
const READ_ONLY = '25006';
/** SQLSTATE lock_not_available. */
const LOCK_NOT_AVAILABLE = '55P03';
/** SQLSTATE query_canceled: by statement_timeout or an operator. */
const CANCELLED = '57014';
/** SQLSTATE serialization_failure: of a standby, a conflict with recovery. */
const SERIALIZATION_FAILURE = '40001';
/** SQLSTATE deadlock_detected. */
const DEADLOCK = '40P01';
/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';
/** SQLSTATE foreign_key_violation. */
const FOREIGN_KEY_VIOLATION = '23503';

/**
 * SQLSTATE classes (appendix A of the Postgres manual) of errors that come of the server's state, not of the statement:
 * connection exception, transaction rollback, insufficient resources, object not in prerequisite state (a lock
 * timeout), operator intervention, system error, internal error.
 */
const UNAVAILABLE_CLASSES = ['08', '40', '53', '55', '57', '58', 'XX'];

/**
 * SQLSTATE classes of statements that are refused for their values: data exception, integrity constraint violation,
 * WITH CHECK OPTION violation, program limit exceeded, PL/pgSQL error (an exception that a trigger raises).
 */
const DATA_CLASSES = ['22', '23', '44', '54', 'P0'];

/** SQLSTATE classes of errors that a disk may cause: insufficient resources, system error, internal error. */
const DISK_CLASSES = ['53', '58', 'XX'];

/** Severities of errors that end a connection. */
const LAST_WORDS = new Set(['FATAL', 'PANIC']);
/** SQLSTATEs of such errors, as severities may be translated (lc_messages): connection exception, shutdown. */
const LAST_STATES = ['08', '57P'];

/** Whether the database is read-only: a standby, after a failover. */
export function isReadOnly(error: unknown): boolean {
  return sqlStateOf(error) === READ_ONLY;
}

/** Whether Postgres ends the connection with this error. */
export function endsConnection(error: pg.DatabaseError): boolean {
  const { severity = '', code = '' } = error;
  return LAST_WORDS.has(severity) || LAST_STATES.some((state) => code.startsWith(state));
}

/** Whether a statement waited for a lock for longer than lock_timeout. */
export function isLockTimeout(error: unknown): boolean {
  return sqlStateOf(error) === LOCK_NOT_AVAILABLE;
}

/** Whether a transaction was undone, as it and another one waited for each other's locks. */
export function isDeadlock(error: unknown): boolean {
  return sqlStateOf(error) === DEADLOCK;
}

/** Whether a statement was cancelled; its connection is still usable. */
export function isCancelled(error: unknown): boolean {
  return sqlStateOf(error) === CANCELLED;
}

/** Whether a row with the same unique key exists. */
export function isUniqueViolation(error: unknown): boolean {
  return sqlStateOf(error) === UNIQUE_VIOLATION;
}

/** Whether the row that a new row refers to does not exist. */
export function isForeignKeyViolation(error: unknown): boolean {
  return sqlStateOf(error) === FOREIGN_KEY_VIOLATION;
}

/** Whether a standby has cancelled a query, because it would otherwise have had to wait with what the primary did. */
export function isConflictWithRecovery(error: unknown): boolean {
  return sqlStateOf(error) === SERIALIZATION_FAILURE;
}

/** Whether a statement was refused for its values. */
export function isRefusalOfData(error: unknown): boolean {
  const code = sqlStateOf(error) ?? '';
  return DATA_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/** Whether the database did not answer, so that the same may succeed later. Other errors are bugs or refused values. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof ChatError) return error.code === 'UNAVAILABLE';
  if (error instanceof ConnectionError) return true;
  if (error instanceof ValidationError) return false;
  const postgresError = postgresErrorOf(error);
  if (postgresError === undefined) return error instanceof BaseError;
  const { code = '' } = postgresError;
  if (code === READ_ONLY || endsConnection(postgresError)) return true;
  return UNAVAILABLE_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/** Whether the disk may be full or broken: the database answers, but may be unable to store anything. */
export function mayLackDisk(error: unknown): boolean {
  const code = sqlStateOf(error) ?? '';
  return DISK_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/** Wraps an error of a connection in Sequelize's ConnectionError, unless it came from Postgres, Sequelize or us. */
export function connectionError(error: unknown): Error {
  const isKnown = [pg.DatabaseError, BaseError, ChatError].some((kind) => error instanceof kind);
  if (isKnown) return error as Error;
  return new ConnectionError(error instanceof Error ? error : new Error(String(error)));
}

function sqlStateOf(error: unknown): string | undefined {
  return postgresErrorOf(error)?.code;
}

/**
 * The error of Postgres in an error: itself if `pg` ran the statement, else in Sequelize's error or a ChatError's
 * cause.
 */
function postgresErrorOf(error: unknown): pg.DatabaseError | undefined {
  if (error instanceof pg.DatabaseError) return error;
  if (error instanceof DatabaseError) return postgresErrorOf(error.parent);
  return error instanceof Error ? postgresErrorOf(error.cause) : undefined;
}
