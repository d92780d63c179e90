import { z } from 'zod';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** The sentence about a value that is no UUID. */
export const UUID_PROBLEM = 'must be a UUID: hexadecimal digits, 8-4-4-4-12 of them';

/**
 * Any 8-4-4-4-12 hexadecimal, whatever its version: the application chooses its own. Case is
 * ignored, and kept in lower case, as Postgres' `uuid` prints it.
 */
export const uuidSchema = z
  .string(UUID_PROBLEM)
  .regex(UUID, UUID_PROBLEM)
  .transform((value) => value.toLowerCase());
