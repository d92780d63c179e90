import { z } from 'zod';
import { dataSchema } from './data.js';
import { textSchema } from './values.js';

/*
 * What a room may have, over REST and in the file of a room; docs/HTTP-API.md promises these limits.
 */

/** The width of the column (store/models/room.ts). */
const MAX_NAME_CHARACTERS = 100;
/** For a topic, a colour and a link or two; it comes with every list of rooms. */
const MAX_DATA_BYTES = 4_096;
export const MAX_LEVEL_ADMIN = 1_000;
export const MAX_RULES = 10_000;

export const roomName = textSchema('', MAX_NAME_CHARACTERS);
export const roomType = z.enum(['group', 'user2user'], 'must be group or user2user');
export const roomData = dataSchema(MAX_DATA_BYTES, '');
