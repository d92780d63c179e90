import { z } from 'zod';
import {
  dataShape,
  instantShape,
  permissionsShape,
  placeShape,
  roomIdShape,
  seqShape,
  uuidShape,
} from '../protocol/shapes.js';
import { ENTRY_FRAMES } from '../protocol/v2/frames.js';
import { MAX_INTEGER } from '../protocol/values.js';
import { NOTIFY_LEVELS } from '../store/read-markers.js';

/*
 * What stands in the content of answers, as schemas, for the API's document and for tests: nothing is parsed by them.
 */

const epoch = uuidShape.describe('The identity of the log: numbers of another epoch mean nothing.');

const roomType = z.enum(['group', 'user2user']);

const uuidOfRoom = z
  .string()
  .meta({ format: 'uuid', examples: ['d36af36f-7ec7-405c-b536-af576dd26ba4'] });

/** The fields that all forms of a room have. */
const roomNames = {
  id: roomIdShape,
  uuid: uuidOfRoom,
  name: z.string().meta({ examples: ['general'] }),
  type: roomType,
};

const roomOwner = {
  level_admin: z.int().meta({ examples: [900] }),
  entity_owner: uuidShape.describe('The entity of who created the room.'),
};

const dates = { createdAt: instantShape, updatedAt: instantShape };

const room = z
  .object({
    ...roomNames,
    ...roomOwner,
    max_entity_rules: z
      .int()
      .meta({ description: 'How many rules the room may have.', examples: [10] }),
    ...dates,
  })
  .meta({ id: 'Room' });

export const roomContent = z.object({ room });

export const roomListContent = z.array(room);

export const wholeRoomContent = z.object({
  room: room.extend({ data: dataShape.nullable() }).meta({ id: 'WholeRoom' }),
});

const ruleFields = {
  room_id: roomIdShape,
  entity_UUID: uuidShape.describe('Of a user or of an entity.'),
  level: z
    .int()
    .min(0)
    .max(MAX_INTEGER)
    .meta({ examples: [10] }),
  permissions: permissionsShape,
  accepted: z.boolean(),
};

export const ruleContent = z
  .object({ ...ruleFields, ...dates })
  .meta({ id: 'Rule', description: 'What a user or an entity may do in a room.' });

export const bulkContent = z.object({
  seq: seqShape.nullable().describe('The number of the entry; `null` if nothing has changed.'),
});

export const ruleWithRoomListContent = z.array(
  z
    .object({ ...roomNames, ...roomOwner, ...ruleFields, ...dates })
    .meta({ id: 'RuleWithRoom', description: "The caller's rule in a room, with the room." }),
);

const name = z
  .string()
  .nullable()
  .meta({ examples: ['Ana'] });
const picture = z
  .string()
  .nullable()
  .meta({ examples: ['https://example.com/ana.png'] });

export const memberListContent = z.array(
  ruleContent
    .extend({ name, picture, online: z.boolean().describe('Whether the user is in the room now.') })
    .meta({
      id: 'Member',
      description: 'A rule of a room, and what tokens have told of its user.',
    }),
);

const user = z.object({ userUUID: uuidShape, name, picture }).meta({ id: 'User' });

export const userListContent = z.array(user);

export const reportContent = z
  .object({
    id: z.int().min(1).describe('Of the report.'),
    room_id: roomIdShape,
    seq: seqShape.describe('The number of the message.'),
    reporter: uuidShape,
    reason: z
      .string()
      .nullable()
      .meta({ examples: ['This is spam.'] }),
    createdAt: instantShape,
  })
  .meta({ id: 'Report', description: 'A message that a user has reported.' });

export const blockContent = z
  .object({ userUUID: uuidShape.describe('The blocked user.'), createdAt: instantShape })
  .meta({ id: 'Block', description: 'A user whom the caller blocks.' });

export const blockListContent = z.array(blockContent);

/** At which a count is cut. */
const MANY = 100;

export const messageContent = z
  .object({
    id: seqShape.describe('The same as `seq`.'),
    room_id: roomIdShape,
    seq: seqShape.describe('The number of the message in its room.'),
    emitter: uuidShape.describe('The `userUUID` of the sender.'),
    ref: z.string().describe("The caller's own name for it, if they have sent it.").optional(),
    content: z.string().meta({
      description: 'The text as it is now; empty beside `data` alone.',
      examples: ['Fueled up and ready to go'],
    }),
    data: dataShape.optional(),
    reply_to: seqShape.describe('The number of the message that this one answers.').optional(),
    mentions: z.array(uuidShape).optional(),
    createdAt: instantShape,
    updatedAt: instantShape.describe('When it got the text that it has.'),
    edited_at: instantShape.describe('When it was edited last.').optional(),
    rev: seqShape.describe('The number of the last entry that changed it.').optional(),
    replies: z
      .int()
      .min(1)
      .max(MANY)
      .describe('Messages that answer it; 100 means 100 or more.')
      .optional(),
    reactions: z
      .array(
        z.object({
          emoji: z.string().meta({ examples: ['👍'] }),
          count: z.int().min(1),
          mine: z.boolean().describe('Whether the caller is one of them.'),
        }),
      )
      .optional(),
  })
  .meta({
    id: 'Message',
    description: 'A message as it is now. What it does not have is left out.',
  });

export const reportListContent = z.array(
  reportContent
    .extend({
      room_uuid: uuidOfRoom,
      message: messageContent.nullable().describe('As it is now; `null` if it was deleted.'),
    })
    .meta({ id: 'ListedReport', description: 'A report, with its message.' }),
);

export const messageListContent = z.array(messageContent);

export const deletionContent = z.object({ seq: seqShape.describe('The number of the deletion.') });

export const entryListContent = z.array(
  z.union(ENTRY_FRAMES).meta({ id: 'Entry', description: 'An entry, as its frame of version 2.' }),
);

export const roomSummaryContent = z
  .object({
    ...roomNames,
    data: dataShape.nullable(),
    head: placeShape.describe("The number of the room's last entry."),
    epoch,
    createdAt: instantShape,
    permissions: permissionsShape.describe('What the caller may do.'),
    accepted: z.boolean(),
    read: placeShape.describe("The caller's read marker."),
    unread: z.int().min(0).max(MANY).describe('100 means 100 or more.'),
    mentions: z.int().min(0).max(MANY),
    notify: z.enum(NOTIFY_LEVELS).describe('What the caller wants to be notified of.'),
    last_message: messageContent.nullable(),
    with: user.nullable().describe('The other user of a `user2user` room.').optional(),
  })
  .meta({ id: 'RoomSummary', description: 'A room as the caller sees it.' });

export const roomSummaryListContent = z.array(roomSummaryContent);

export const readContent = z.object({ upto: placeShape });

export const importContent = z.object({
  entries: z.int().min(0).describe('Entries of the file.'),
  added: z.int().min(0).describe('Those of them that were not stored before.'),
});

export const notifyContent = z.object({ level: z.enum(NOTIFY_LEVELS) });

export const nothingContent = z.object({});

export const claimsContent = z
  .record(z.string(), z.unknown())
  .meta({ description: 'The claims of the token.' });

export const revocationContent = z.object({
  userUUID: uuidShape,
  revokedAt: instantShape.describe('Tokens that were issued until then are refused.'),
});

export const erasureContent = z.object({
  userUUID: uuidShape,
  requestedAt: instantShape.describe('What was stored until then is erased.'),
  finishedAt: instantShape.nullable().describe('`null` while it goes on.'),
  rooms: z.int().min(0).describe('Rooms in which something was erased.'),
  messages: z.int().min(0),
  reactions: z.int().min(0),
});

export const userMessageLine = z
  .object({
    room_id: roomIdShape,
    room_uuid: uuidOfRoom,
    seq: seqShape.describe('The number of the message in its room.'),
    ref: z.string().describe("The sender's own name for it.").optional(),
    content: z.string().meta({
      description: 'The text as it is now; empty beside `data` alone.',
      examples: ['Fueled up and ready to go'],
    }),
    data: dataShape.optional(),
    reply_to: seqShape.describe('The number of the message that this one answers.').optional(),
    mentions: z.array(uuidShape).optional(),
    createdAt: instantShape,
    edited_at: instantShape.describe('When it was edited last.').optional(),
  })
  .meta({
    id: 'UserMessage',
    description: 'A message of a user, as a line of JSON. Empty lines say nothing.',
  });

export const devNamesContent = z.object({ names: z.array(z.string()) });

export const devTokenContent = z.object({ token: z.string() });

export const healthContent = z.object({ status: z.literal('ok') });

export const readinessContent = healthContent.extend({ broker: z.enum(['up', 'down']) });

/** What stands in `meta` if the answer says so: the end of the room's log, and the next page. */
export const snapshotMeta = z.object({
  head: placeShape.describe("The number of the room's last entry when the answer was begun."),
  epoch,
});

export const fromMeta = z.object({
  from: placeShape
    .describe(
      'Only if it is greater than `after`: the entries up to this number are deleted, because they are old.',
    )
    .optional(),
});

export const nextMeta = z.object({
  next: z
    .string()
    .meta({ description: 'The query of the next page.', examples: ['?limit=1&before=4'] })
    .optional(),
});
