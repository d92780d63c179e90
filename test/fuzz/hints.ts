import fc from 'fast-check';
import type { Hints } from './schema-values.js';
import { ROLES } from './stage.js';

/*
 * What leads somewhere in fields and parameters of these names. `{name}` stands for a word of the stage.
 */

const users = fc.constantFrom(...ROLES.map((role) => `{${role}}`));

/** Numbers of the entries that the stage's room has, and some more. */
const seqs = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 12 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 12 }).map(String) },
);

const uuids = fc.oneof(users, fc.constantFrom('{entity}', '{new uuid}'), fc.uuid());

const dates = fc.oneof(
  fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  fc
    .date({ noInvalidDate: true, min: new Date('0000-01-01'), max: new Date('9999-12-31') })
    .map((date) => date.toISOString().slice(0, 10)),
  fc
    .tuple(fc.nat(9_999), fc.nat(13), fc.nat(32))
    .map(([y, m, d]) => `${pad(y, 4)}-${pad(m, 2)}-${pad(d, 2)}`),
);

function pad(value: number, length: number): string {
  return String(value).padStart(length, '0');
}

/** A cursor is a list as JSON, in base64url. */
const cursors = fc.oneof(
  fc.constant('{cursor}'),
  fc
    .array(fc.oneof(fc.integer(), fc.uuid(), fc.string({ maxLength: 8 }), fc.constant(null)), {
      maxLength: 4,
    })
    .map((place) => Buffer.from(JSON.stringify(place)).toString('base64url')),
);

const shared: Hints = {
  userUUID: users,
  entity_UUID: uuids,
  entityUUID: uuids,
  mentions: fc.array(uuids, { maxLength: 3 }),
  target: seqs,
  reply_to: seqs,
  upto: fc.nat(12),
  after: fc.nat(12),
  emoji: fc.constantFrom('👍', '❤️', '👨‍👩‍👧‍👦', 'x'),
  permissions: fc.constantFrom('r', 'rw', 'rwa', 'b', 'w', ''),
  level: fc.nat(1_100),
  epoch: fc.oneof(fc.constant('{epoch}'), fc.uuid()),
};

export const REST_HINTS: Hints = {
  ...shared,
  id: fc.constantFrom('{room}', '{room}', '{room}', '{room uuid}', '{own room}', '{new uuid}'),
  room: fc.constantFrom('{room}', '{room uuid}', '{own room}'),
  uuid: uuids,
  // Of the application's server alone.
  emitter: fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: users }),
  seq: seqs,
  before: seqs,
  thread: seqs,
  limit: fc.integer({ min: 1, max: 3 }),
  cursor: cursors,
  dateFrom: dates,
  dateTo: dates,
  timezone: fc.constantFrom('UTC', 'Asia/Tokyo', 'America/Santiago'),
  q: fc.constantFrom('message', 'the first', 'a', '上海', '%', "'", 'mess age*', ':*', '& |', '\\'),
  ids: fc.array(uuids, { minLength: 1, maxLength: 4 }).map((ids) => ids.join(',')),
  ref: fc.constantFrom('a', 'b', 'the first message'),
};

const roomIds = fc.constantFrom('{room}', '{room}', '{room as text}', '{own room}');

export const SOCKET_HINTS: Hints = {
  ...shared,
  room_id: roomIds,
  ref: fc.oneof(
    { weight: 6, arbitrary: fc.constant('{ref}') },
    { weight: 1, arbitrary: fc.constantFrom('a', 'b', 'the first message') },
  ),
};

/** Of a `join`, which takes uuids as well. */
export const JOIN_HINTS: Hints = {
  ...SOCKET_HINTS,
  room_id: fc.oneof(roomIds, fc.constantFrom('{room uuid}', '{own room uuid}', '{new uuid}')),
};

/** Of a `token`. */
export const TOKEN_HINTS: Hints = {
  ...SOCKET_HINTS,
  content: fc.oneof(
    { weight: 4, arbitrary: fc.constant('{own token}') },
    { weight: 1, arbitrary: fc.constantFrom(...ROLES.map((role) => `{token of ${role}}`)) },
    { weight: 1, arbitrary: fc.constantFrom('{old token}', '{forged token}', '{odd token}') },
  ),
};
