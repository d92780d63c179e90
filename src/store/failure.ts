import pg from 'pg';
import { BaseError, DatabaseError, ValidationError } from 'sequelize';

/**
 * SQLSTATE classes that say the server is in no state to answer, whatever was asked (appendix A of the
 * Postgres manual): connection exception, transaction rollback, insufficient resources, object not in
 * prerequisite state (a lock that is not to be had in time), operator intervention.
 */
const UNAVAILABLE_CLASSES = ['08', '40', '53', '55', '57'];

/** SQLSTATE lock_not_available. */
const LOCK_NOT_AVAILABLE = '55P03';
/** SQLSTATE unique_violation. */
const UNIQUE_VIOLATION = '23505';

/** Whether a statement gave up a lock; the error is Postgres' own, or Sequelize's around it. */
export function isLockTimeout(error: unknown): boolean {
  const own: unknown = error instanceof DatabaseError ? error.parent : error;
  return own instanceof pg.DatabaseError && own.code === LOCK_NOT_AVAILABLE;
}

/** Whether a prepared statement met a row that is there already; the error is Postgres' own, past Sequelize. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === UNIQUE_VIOLATION;
}

/**
 * Whether an error means that the database did not answer, so that the same may succeed later; else it
 * refused a statement, which is a fault of ours.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  if (!(error instanceof BaseError) || error instanceof ValidationError) return false;
  if (!(error instanceof DatabaseError)) return true;
  const { code } = error.parent as { code?: unknown };
  // Without a SQLSTATE the connection broke while the statement ran.
  if (typeof code !== 'string' || !/^[0-9A-Z]{5}$/.test(code)) return true;
  return UNAVAILABLE_CLASSES.some((sqlClass) => code.startsWith(sqlClass));
}
