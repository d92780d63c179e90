import pg from 'pg';
import { BaseError, ConnectionError, DatabaseError, ValidationError } from 'sequelize';
import { ChatError } from '../errors.js';

/** SQLSTATE read_only_sql_transaction: a standby, or a database that was made read-only. */
const READ_ONLY = '25006';
/** SQLSTATE lock_not_available. */
const LOCK_NOT_AVAILABLE = '55P03';
/** SQLSTATE query_canceled: by a limit of its time, or an operator. */
const CANCELLED = '57014';
/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';

/**
 * SQLSTATE classes that say the server is in no state to answer, whatever was asked (appendix A of the
 * Postgres manual): connection exception, transaction rollback, insufficient resources, object not in
 * prerequisite state (a lock that is not to be had in time), operator intervention, system error, internal error.
 */
const UNAVAILABLE_CLASSES = ['08', '40', '53', '55', '57', '58', 'XX'];

/**
 * SQLSTATE classes of what is refused for the rows that it would make: data exception, integrity constraint, check of a
 * view, program limit, an exception that a trigger raises.
 */
const DATA_CLASSES = ['22', '23', '44', '54', 'P0'];

/** SQLSTATE classes of those that a disk brings about: insufficient resources, system error, internal error. */
const DISK_CLASSES = ['53', '58', 'XX'];

/** Severities of errors that end a connection. */
const LAST_WORDS = new Set(['FATAL', 'PANIC']);
/** SQLSTATEs of the same, as a severity is in the server's own language: connection exception, shutdown. */
const LAST_STATES = ['08', '57P'];

/** Whether a database cannot be written to: another one may be the primary by now. */
export function isReadOnly(error: unknown): boolean {
  return sqlStateOf(error) === READ_ONLY;
}

/** Whether Postgres ends the connection with this error. */
export function endsConnection(error: pg.DatabaseError): boolean {
  const { severity = '', code = '' } = error;
  return LAST_WORDS.has(severity) || LAST_STATES.some((state) => code.startsWith(state));
}

/** Whether a lock was not to be had in time. */
export function isLockTimeout(error: unknown): boolean {
  return sqlStateOf(error) === LOCK_NOT_AVAILABLE;
}

/** Whether a statement was ended before it was through; the connection goes on. */
export function isCancelled(error: unknown): boolean {
  return sqlStateOf(error) === CANCELLED;
}

/** Whether a row is there already. */
export function isUniqueViolation(error: unknown): boolean {
  return sqlStateOf(error) === UNIQUE_VIOLATION;
}

/** Whether a statement was refused for the values that it was given. */
export function isRefusalOfData(error: unknown): boolean {
  const code = sqlStateOf(error) ?? '';
  return DATA_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/**
 * Whether an error means that the database did not answer, so that the same may succeed later; else it
 * refused a statement, which is a fault of ours.
 */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof ChatError) return error.code === 'UNAVAILABLE';
  if (error instanceof ConnectionError) return true;
  if (error instanceof ValidationError) return false;
  const word = wordOf(error);
  if (word === undefined) return error instanceof BaseError;
  const { code = '' } = word;
  if (code === READ_ONLY || endsConnection(word)) return true;
  return UNAVAILABLE_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/** Whether it may be that nothing can be stored, though the database answers: its disk is full, or broken. */
export function mayLackDisk(error: unknown): boolean {
  const code = sqlStateOf(error) ?? '';
  return DISK_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}

/** An error of a connection: what Postgres or we said as it is, anything else as Sequelize's ConnectionError. */
export function connectionError(error: unknown): Error {
  const isKnown = [pg.DatabaseError, BaseError, ChatError].some((kind) => error instanceof kind);
  if (isKnown) return error as Error;
  return new ConnectionError(error instanceof Error ? error : new Error(String(error)));
}

function sqlStateOf(error: unknown): string | undefined {
  return wordOf(error)?.code;
}

/** What Postgres said: as it is where a statement was prepared, else in Sequelize's error, and in a ChatError's cause. */
function wordOf(error: unknown): pg.DatabaseError | undefined {
  if (error instanceof pg.DatabaseError) return error;
  if (error instanceof DatabaseError) return wordOf(error.parent);
  return error instanceof Error ? wordOf(error.cause) : undefined;
}
