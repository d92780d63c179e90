import { z } from 'zod';

/** The problem of a value that is not a UUID, without its subject. */
export const UUID_PROBLEM = 'must be a UUID: hexadecimal digits, 8-4-4-4-12 of them';

/**
 * A UUID of any version: the application chooses its own. Converted to lower case, as Postgres prints the type `uuid`.
 */
export const uuidSchema = z.guid(UUID_PROBLEM).toLowerCase();
