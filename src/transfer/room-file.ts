import { z } from 'zod';
import { LEEWAY_S } from '../access/signature.js';
import { profileFields } from '../access/token.js';
import { messageFields, messageSeqSchema, type TextLimits } from '../protocol/message-fields.js';
import {
  MAX_LEVEL_ADMIN,
  MAX_RULES,
  roomData,
  roomName,
  roomType,
} from '../protocol/room-fields.js';
import { emojiSchema } from '../protocol/v2/decode.js';
import { MAX_INTEGER, permissionsSchema, refSchema, uuidSchema } from '../protocol/values.js';
import { erasedUserOf, erasureContent, reactionOf } from '../store/entry.js';
import { NOTIFY_LEVELS } from '../store/read-markers.js';
import type { DatedRule, ExportedRoom, MessageEntry, RoomUser } from '../store/room-export.js';
import { printableJson } from './printable.js';

/** The version of the lines. */
const FORMAT = 1;

/** The first line of a room, as JSON. */
export function roomLine({ room, head, count }: ExportedRoom): string {
  const { id, uuid, name, type, data, levelAdmin, maxEntityRules } = room;
  return printableJson({
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

export function ruleLine({ entityUUID, ...rule }: DatedRule): string {
  return printableJson({ kind: 'rule', entity_UUID: entityUUID, ...rule });
}

export function userLine({ userUUID, name, picture, upto, notify }: RoomUser): string {
  return printableJson({
    kind: 'user',
    userUUID,
    name: name ?? undefined,
    picture: picture ?? undefined,
    read: upto ?? undefined,
    notify: notify ?? undefined,
  });
}

export function entryLine(entry: MessageEntry): string {
  const { kind, seq, emitter, createdAt, content, ref, target } = entry;
  const { data, replyTo, mentions, isDeleted } = entry;
  return printableJson({
    kind,
    seq,
    emitter,
    createdAt,
    ref: ref ?? undefined,
    target,
    reply_to: replyTo,
    mentions,
    deleted: isDeleted,
    content: kind === 'message' && isDeleted === undefined ? content : undefined,
    data: data === undefined ? undefined : (JSON.parse(data) as unknown),
    ...(kind === 'reaction' && content !== '' && reactionOf(entry)),
    ...(kind === 'erase' && { userUUID: erasedUserOf(entry) }),
  });
}

const wholeNumber = (min: number, max: number) => {
  const problem = `must be a whole number from ${min} to ${max}`;
  return z.int(problem).min(min, problem).max(max, problem);
};

/** A number of the log, or 0. */
const anySeq = wholeNumber(0, Number.MAX_SAFE_INTEGER);

/** Direct rooms have no name. */
const nameOrNone = z.string('must be a string').superRefine((name, context) => {
  const problem = name === '' ? undefined : roomName.safeParse(name).error?.issues[0]?.message;
  if (problem !== undefined) context.addIssue(problem);
});

const room = z
  .strictObject({
    kind: z.literal('room'),
    format: z.literal(FORMAT, `must be ${FORMAT}: the file is of another version`),
    id: z.unknown().optional(),
    uuid: z.unknown().optional(),
    head: z.unknown().optional(),
    name: nameOrNone,
    type: roomType,
    data: roomData.nullish(),
    level_admin: wholeNumber(0, MAX_LEVEL_ADMIN),
    max_entity_rules: wholeNumber(1, MAX_RULES),
    entries: anySeq,
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
    since: anySeq.optional(),
  })
  .transform(({ kind, entity_UUID, since, ...others }) => ({
    kind,
    rule: { ...others, entityUUID: entity_UUID },
    since,
  }));

const user = z
  .strictObject({
    kind: z.literal('user'),
    userUUID: uuidSchema,
    name: profileFields.name.nullish(),
    picture: profileFields.picture.nullish(),
    read: anySeq.nullish(),
    notify: z.enum(NOTIFY_LEVELS, `must be one of ${NOTIFY_LEVELS.join(', ')}`).nullish(),
  })
  .transform(({ kind, userUUID, name, picture, read, notify }) => ({
    kind,
    user: {
      userUUID,
      name: name ?? null,
      picture: picture ?? null,
      upto: read ?? null,
      notify: notify ?? null,
    },
  }));

/** The clocks of two servers may differ by so much, as of tokens. */
const FUTURE_MS = 1_000 * LEEWAY_S;

/** Milliseconds since 1970. */
function latestDate(): number {
  // oxlint-disable-next-line no-restricted-properties -- another server wrote the date
  return Date.now() + FUTURE_MS;
}

const about = {
  seq: messageSeqSchema(''),
  emitter: uuidSchema,
  createdAt: z.iso
    .datetime({ offset: true, error: 'must be a date like 2026-01-31T23:59:59.999Z' })
    .transform((date) => new Date(date).toISOString())
    // Those that Postgres has, and that a date of four digits can name.
    .refine((date) => /^(?!0000)\d{4}-/.test(date), {
      error: 'must be of the years 1 to 9999',
      abort: true,
    })
    // An erasure takes what was written until then.
    .refine((date) => Date.parse(date) <= latestDate(), 'must not be in the future'),
  ref: refSchema('').nullish(),
};
const target = messageSeqSchema('');

/** Of the longest line: the longest message fits into a frame; here its sender, date and number stand beside it. */
export function maxLineBytes({ frameBytes }: { readonly frameBytes: number }): number {
  return 2 * frameBytes;
}

/** The schema of a line, for texts of limited size. */
export function lineSchema(limits: TextLimits) {
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
    .transform(({ deleted, kind, seq, emitter, createdAt, ref, ...said }, context): EntryLine => {
      const place = { kind, seq, emitter, createdAt, ref: ref ?? null };
      const replyTo = said.reply_to ?? undefined;
      const isEmpty = !said.content && !said.data && !said.mentions?.length;
      if (deleted) {
        if (!isEmpty)
          context.addIssue({
            code: 'custom',
            path: ['deleted'],
            message: 'message says something',
          });
        return { kind: 'entry', entry: { ...place, content: '', replyTo, isDeleted: true } };
      }
      // The proof of concept has stored messages without a text, which are carried over.
      if (isEmpty && said.content === '') {
        return { kind: 'entry', entry: { ...place, content: '', replyTo } };
      }
      const { content, data, mentions } = fields.messageOf(said, context);
      return { kind: 'entry', entry: { ...place, content, data, replyTo, mentions } };
    });
  const change = z
    .strictObject({ kind: z.enum(['edit', 'delete']), ...about, target })
    .transform(({ ref, ...entry }): EntryLine => ({
      kind: 'entry',
      entry: { ...entry, ref: ref ?? null, content: '' },
    }));
  const reaction = z
    .strictObject({
      kind: z.literal('reaction'),
      ...about,
      target,
      emoji: emojiSchema('').optional(),
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
    .transform(({ emoji, on, count, ref, ...entry }): EntryLine => ({
      kind: 'entry',
      entry: {
        ...entry,
        ref: ref ?? null,
        content: emoji === undefined ? '' : JSON.stringify({ emoji, on, count }),
      },
    }));
  const erasure = z
    .strictObject({ kind: z.literal('erase'), ...about, userUUID: uuidSchema })
    .transform(({ userUUID, ref, ...entry }): EntryLine => ({
      kind: 'entry',
      entry: { ...entry, ref: ref ?? null, content: erasureContent(userUUID) },
    }));
  return z.discriminatedUnion('kind', [room, rule, user, message, change, reaction, erasure], {
    error: 'must be room, rule, user, message, edit, delete, reaction or erase',
  });
}

interface EntryLine {
  readonly kind: 'entry';
  readonly entry: MessageEntry;
}

export type Line = z.infer<ReturnType<typeof lineSchema>>;
export type RoomLine = z.infer<typeof room>;
