import { z } from 'zod';
import { MAX_INTEGER } from './values.js';

/*
 * The values that answers and frames of the server consist of, as schemas, for the documents of the API and for tests:
 * nothing is parsed by them.
 */

export const uuidShape = z
  .string()
  .meta({ format: 'uuid', examples: ['7d9f1c2e-58a4-4b0e-9c3d-0a1b2c3d4e5f'] });

export const instantShape = z
  .string()
  .meta({ format: 'date-time', examples: ['2026-01-15T09:30:00.000Z'] });

export const roomIdShape = z
  .int()
  .min(1)
  .max(MAX_INTEGER)
  .meta({ examples: [1] });

/** The number of an entry. */
export const seqShape = z
  .int()
  .min(1)
  .meta({ examples: [3] });

/** The number of a log's last entry, or of a reader's place in it. */
export const placeShape = z
  .int()
  .min(0)
  .meta({ examples: [8] });

/** The `data` of a message or a room. */
export const dataShape = z
  .record(z.string(), z.unknown())
  .meta({ description: "The application's own.", examples: [{ topic: 'lunch' }] });

/** Letters of `rwba`. */
export const permissionsShape = z
  .string()
  .meta({ pattern: '^[rwba]{0,4}$', description: 'Letters of `rwba`.', examples: ['rw'] });
