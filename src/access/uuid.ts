import { z } from 'zod';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Any 8-4-4-4-12 hexadecimal, whatever its version: the application chooses its own. Case is
 * ignored, and kept in lower case, as Postgres' `uuid` prints it.
 */
export const uuidSchema = z
  .string('must be a UUID')
  .regex(UUID, 'must be a UUID')
  .transform((value) => value.toLowerCase());
