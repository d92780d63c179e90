import { z } from 'zod';
import type { Rule } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { dataSchema } from '../protocol/data.js';
import { messageFields, messageSeqSchema } from '../protocol/message-fields.js';
import { MAX_INTEGER, permissionsSchema, textSchema, uuidSchema } from '../protocol/values.js';
import { reactionOf } from '../store/entry.js';
import type { ExportedRoom, MessageEntry } from '../store/room-export.js';

/** The version of the lines. */
const FORMAT = 1;
/** The limits of rooms and rules, as docs/HTTP-API.md has them. */
const MAX_NAME_CHARACTERS = 100;
const MAX_LEVEL_ADMIN = 1_000;
export const MAX_RULES = 10_000;
const MAX_DATA_BYTES = 4_096;
/** As over the socket (protocol/v2/decode.ts). */
const MAX_EMOJI_CHARACTERS = 32;

/** The first line of a room, as JSON. */
export function roomLine({ room, head, count }: ExportedRoom): string {
  const { id, uuid, name, type, data, levelAdmin, maxEntityRules } = room;
  return JSON.stringify({
    kind: 'room',
    format: FORMAT,
    id,
    uuid,
    name,
    type,
    data: data === null ? undefined : (JSON.parse(data) as unknown),
    level_admin: levelAdmin,
    max_entity_rules: maxEntityRules,
    head,
    entries: count,
  });
}

export function ruleLine({ entityUUID, level, permissions, accepted }: Rule): string {
  return JSON.stringify({ kind: 'rule', entity_UUID: entityUUID, level, permissions, accepted });
}

export function entryLine(entry: MessageEntry): string {
  const { kind, seq, emitter, createdAt, content, target, data, replyTo, mentions, isDeleted } =
    entry;
  return JSON.stringify({
    kind,
    seq,
    emitter,
    createdAt,
    target,
    reply_to: replyTo,
    mentions,
    deleted: isDeleted,
    content: kind === 'message' && isDeleted === undefined ? content : undefined,
    data: data === undefined ? undefined : (JSON.parse(data) as unknown),
    ...(kind === 'reaction' && content !== '' && reactionOf({ ...entry, roomId: 0, ref: null })),
  });
}

const wholeNumber = (min: number, max: number) => {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z.int(problem).min(min, problem).max(max, problem);
};

const room = z
  .strictObject({
    kind: z.literal('room'),
    format: z.literal(FORMAT, `must be ${FORMAT}: the file is of another version`),
    id: z.unknown().optional(),
    uuid: z.unknown().optional(),
    head: z.unknown().optional(),
    name: textSchema('', MAX_NAME_CHARACTERS),
    type: z.enum(['group', 'user2user'], 'must be group or user2user'),
    data: dataSchema(MAX_DATA_BYTES, '').nullish(),
    level_admin: wholeNumber(0, MAX_LEVEL_ADMIN),
    max_entity_rules: wholeNumber(1, MAX_RULES),
    entries: wholeNumber(0, Number.MAX_SAFE_INTEGER),
  })
  .transform(({ kind, name, type, data, level_admin, max_entity_rules, entries }) => ({
    kind,
    type,
    entries,
    settings: {
      name,
      data: data ?? null,
      levelAdmin: level_admin,
      maxEntityRules: max_entity_rules,
    },
  }));

const rule = z
  .strictObject({
    kind: z.literal('rule'),
    entity_UUID: uuidSchema,
    level: wholeNumber(0, MAX_INTEGER),
    permissions: permissionsSchema,
    accepted: z.boolean('must be true or false'),
  })
  .transform(({ kind, entity_UUID, ...others }) => ({
    kind,
    rule: { ...others, entityUUID: entity_UUID },
  }));

const about = {
  seq: messageSeqSchema(''),
  emitter: uuidSchema,
  createdAt: z.iso
    .datetime({ offset: true, error: 'must be a date like 2026-01-31T23:59:59.999Z' })
    .transform((date) => new Date(date).toISOString()),
};
const target = messageSeqSchema('');

/** The schema of a line, for texts of limited size. */
export function lineSchema(limits: Limits) {
  const fields = messageFields(limits, () => '');
  const message = z
    .strictObject({
      kind: z.literal('message'),
      ...about,
      content: fields.message.content,
      data: fields.message.data,
      reply_to: fields.message.reply_to,
      mentions: fields.message.mentions,
      deleted: z.literal(true, 'must be true, or be left out').optional(),
    })
    .transform(({ deleted, kind, seq, emitter, createdAt, ...said }, context): EntryLine => {
      const place = { kind, seq, emitter, createdAt };
      const replyTo = said.reply_to ?? undefined;
      if (deleted) {
        const isEmpty = !said.content && !said.data && !said.mentions?.length;
        if (!isEmpty)
          context.addIssue({
            code: 'custom',
            path: ['deleted'],
            message: 'message says something',
          });
        return { kind: 'entry', entry: { ...place, content: '', replyTo, isDeleted: true } };
      }
      const { content, data, mentions } = fields.messageOf(said, context);
      return { kind: 'entry', entry: { ...place, content, data, replyTo, mentions } };
    });
  const change = z
    .strictObject({ kind: z.enum(['edit', 'delete']), ...about, target })
    .transform((entry): EntryLine => ({ kind: 'entry', entry: { ...entry, content: '' } }));
  const reaction = z
    .strictObject({
      kind: z.literal('reaction'),
      ...about,
      target,
      emoji: textSchema('', MAX_EMOJI_CHARACTERS).regex(/^\S*$/, 'contains white space').optional(),
      on: z.boolean('must be true or false').optional(),
      count: wholeNumber(0, MAX_INTEGER).optional(),
    })
    .refine(
      ({ emoji, on, count }) =>
        [emoji, on, count].every((part) => part === undefined) ||
        [emoji, on, count].every((part) => part !== undefined),
      {
        path: ['emoji'],
        message: 'on and count must be given together, or none of them',
      },
    )
    .transform(({ emoji, on, count, ...entry }): EntryLine => ({
      kind: 'entry',
      entry: { ...entry, content: emoji === undefined ? '' : JSON.stringify({ emoji, on, count }) },
    }));
  return z.discriminatedUnion('kind', [room, rule, message, change, reaction], {
    error: 'must be room, rule, message, edit, delete or reaction',
  });
}

interface EntryLine {
  readonly kind: 'entry';
  readonly entry: MessageEntry;
}

export type Line = z.infer<ReturnType<typeof lineSchema>>;
export type RoomLine = z.infer<typeof room>;
