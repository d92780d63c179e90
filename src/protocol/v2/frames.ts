import { z } from 'zod';
import { ENTRY_KIND_NAMES, type EntryKind } from '../entry-kinds.js';
import { dataShape, instantShape, permissionsShape, seqShape, uuidShape } from '../shapes.js';
import { MAX_INTEGER } from '../values.js';

/*
 * The frames of the server as schemas, for the documents of the API and for tests: nothing is parsed by them.
 */

/** The fields of every entry. */
const entry = {
  room_id: z
    .int()
    .min(1)
    .max(MAX_INTEGER)
    .meta({ examples: [1] }),
  seq: seqShape.describe('The number of the entry in the log of its room.'),
  emitter: uuidShape.describe('The `userUUID` of who did it.'),
  createdAt: instantShape.describe('When it was stored.'),
  ref: z
    .string()
    .meta({ description: "The emitter's own, if they gave one.", examples: ['4'] })
    .optional(),
};

const target = seqShape.describe('The number of the message.');

const text = {
  content: z
    .string()
    .meta({ examples: ['Fueled up and ready to go'] })
    .optional(),
  data: dataShape.optional(),
};

/** By kind, what an entry says beside these: its fields, and a sentence. */
const ENTRIES = {
  message: {
    says: 'A message was sent. What was replaced or deleted later is left out.',
    fields: { ...text, reply_to: target.optional(), mentions: z.array(uuidShape).optional() },
  },
  edit: {
    says: 'A message was edited. What was replaced or deleted later is left out.',
    fields: { target, ...text },
  },
  delete: { says: 'A message was deleted.', fields: { target } },
  reaction: {
    says: 'An emoji was put on a message, or taken off. If the message was deleted, only `target` is left.',
    fields: {
      target,
      emoji: z
        .string()
        .meta({ examples: ['👍'] })
        .optional(),
      on: z.boolean().optional(),
      count: z.int().min(0).describe('Users who have it on from this entry on.').optional(),
    },
  },
  member: {
    says: 'A rule was added, changed or accepted; with empty `permissions` it was removed.',
    fields: {
      entity_UUID: uuidShape,
      level: z.int().min(0).max(MAX_INTEGER),
      permissions: permissionsShape,
      accepted: z.boolean(),
    },
  },
  room: {
    says: 'The room was changed: these are all of its settings now.',
    fields: {
      name: z.string(),
      data: dataShape.nullable(),
      level_admin: z.int(),
      max_entity_rules: z.int(),
    },
  },
} satisfies Record<EntryKind, { says: string; fields: z.core.$ZodLooseShape }>;

/** The frame of an entry, by its kind. */
export const ENTRY_FRAMES = ENTRY_KIND_NAMES.map((kind) => {
  const { says, fields } = ENTRIES[kind];
  const id = `${kind.charAt(0).toUpperCase()}${kind.slice(1)}Entry`;
  return z
    .object({ type: z.literal(kind), data: z.object({ ...entry, ...fields }) })
    .meta({ id, description: says });
});
