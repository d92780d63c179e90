import { QueryTypes, Transaction, type Sequelize } from 'sequelize';
import type { Logger } from '../logger.js';
import { lockKey } from './advisory-locks.js';
import { sequelizeOptions, type Database } from './connect.js';
import { ruleContent } from './entry.js';
import { Outage } from './outage.js';
import { StoreSequelize } from './sequelize.js';

/** Why nothing is carried over. Its message is for the operator. */
export class CarryOverRefusal extends Error {
  override readonly name = 'CarryOverRefusal';
}

/** What was carried over. */
export interface CarriedOver {
  readonly rooms: number;
  readonly messages: number;
}

interface Options {
  /** Called after each batch with the number of messages that are stored, and of all that are to be. */
  readonly onProgress?: (stored: number, total: number) => void;
}

/** Entries of one transaction: some 2 MB. */
const BATCH = 5_000;
/** Stands for a sender or an owner that the old tables lack. */
const NOBODY = '00000000-0000-0000-0000-000000000000';
/** Lengths of columns of `rooms`; the old ones have 255 characters. */
const NAME_CHARACTERS = 100;
/** A user2user room has two members at most (docs/HTTP-API.md). */
const PAIR = 2;
const LETTERS = ['r', 'w', 'b', 'a'];

/** The tables of the proof of concept, as its migrations made them. */
const HAS_TABLES = `SELECT to_regclass('"Rooms"') IS NOT NULL AND to_regclass('"Messages"') IS NOT NULL
  AND to_regclass('"Room_permissions"') IS NOT NULL AS is_there`;

/** Old rooms that were not carried over. */
const LEFT = `"Rooms" AS old WHERE NOT EXISTS (SELECT FROM carried_rooms WHERE room_id = old.id)`;

/** Rules of these rooms. */
const RULES_LEFT = `"Room_permissions" WHERE room_id IN (SELECT id FROM ${LEFT})`;

/** Messages of these rooms. */
const MESSAGES_LEFT = `"Messages" WHERE room_id IN (SELECT id FROM ${LEFT})`;

/** From here on no new room gets the id of an old one: the proof of concept may have gone on since the migration. */
const KEEP_IDS_FREE = `SELECT setval(ids, max(id)) FROM "Rooms", pg_get_serial_sequence('rooms', 'id') AS ids
  GROUP BY ids HAVING max(id) > nextval(ids)`;

/**
 * Each finds a problem, if there is one. The unique index of the uuids is ours alone, and the other keys are missing if the
 * old tables were restored in parts. An erasure takes what was written until then, so nothing is of the future; and a date
 * of the wire has a year of four digits.
 */
const FIND_PROBLEMS = [
  `SELECT format('there is another room with the id or the uuid of the old room %s: delete it, or carry over into a new database', id)
     AS problem
   FROM ${LEFT} AND EXISTS (SELECT FROM rooms WHERE id = old.id OR uuid = old.uuid) ORDER BY id LIMIT 1`,
  `SELECT format('several old rooms have the id %s', id) AS problem FROM ${LEFT}
   GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 1`,
  `SELECT format('the old rooms %s and %s have the same uuid: give one of them another (UPDATE "Rooms" SET uuid = ...)',
     min(id), max(id)) AS problem
   FROM ${LEFT} GROUP BY uuid HAVING count(*) > 1 ORDER BY min(id) LIMIT 1`,
  `SELECT format('the old room %s has several rules of %s', room_id, "entity_UUID") AS problem
   FROM ${RULES_LEFT} GROUP BY room_id, "entity_UUID" HAVING count(*) > 1 ORDER BY room_id LIMIT 1`,
  `SELECT format('the old %s has the date %s: give it one from the year 1 on that is not in the future', what,
     coalesce(moment::text, 'NULL')) AS problem
   FROM (
     SELECT 'room ' || id AS what, unnest(ARRAY["createdAt", "updatedAt"]) AS moment FROM ${LEFT}
     UNION ALL
     SELECT format('rule of %s in the room %s', "entity_UUID", room_id), unnest(ARRAY["createdAt", "updatedAt"])
     FROM ${RULES_LEFT}
     UNION ALL
     SELECT 'message ' || id, "createdAt" FROM ${MESSAGES_LEFT}
   ) AS dated
   WHERE (moment BETWEEN '0001-01-01 UTC' AND now()) IS NOT TRUE LIMIT 1`,
];

const READ_ROOMS = `SELECT id, uuid, name, type, entity_owner AS "entityOwner", level_admin AS "levelAdmin",
    max_entity_rules AS "maxEntityRules", "createdAt", "updatedAt"
  FROM ${LEFT} ORDER BY id`;

const READ_RULES = `SELECT "entity_UUID" AS "entityUUID", level, permissions, accepted, "createdAt", "updatedAt"
  FROM "Room_permissions" WHERE room_id = $1 ORDER BY "createdAt", "entity_UUID"`;

/** By room, in the order of their dates, which is that of their numbers where two have the same. */
const READ_MESSAGES = `DECLARE old_messages NO SCROLL CURSOR FOR
  SELECT room_id AS "roomId", coalesce(emitter, '${NOBODY}') AS emitter, coalesce(content, '') AS content, "createdAt"
  FROM ${MESSAGES_LEFT} ORDER BY room_id, "createdAt", id`;

const INSERT_ENTRIES = `INSERT INTO messages (room_id, seq, kind, emitter, content, "createdAt", "updatedAt")
  SELECT $1::int, seq, kind, emitter, content, moment, moment
  FROM unnest($2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[])
    AS e (seq, kind, emitter, content, moment)`;

/** The room $1 to $13 with its rules: all at once, so that nobody sees a part of its log. */
const INSERT_ROOM = `WITH room AS (
    INSERT INTO rooms (id, uuid, name, type, entity_owner, level_admin, max_entity_rules, head, rules_head, rules_date,
      rule_count, "createdAt", "updatedAt")
    VALUES ($1, $2, left($3, ${NAME_CHARACTERS}), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id, head
  ), rules AS (
    INSERT INTO room_permissions (room_id, "entity_UUID", level, permissions, accepted, since, "createdAt", "updatedAt")
    SELECT room.id, r.uuid, r.level, r.permissions, r.accepted, room.head, r.created, r.updated
    FROM room, unnest($14::uuid[], $15::int[], $16::text[], $17::boolean[], $18::timestamptz[], $19::timestamptz[])
      AS r (uuid, level, permissions, accepted, created, updated)
  )
  INSERT INTO carried_rooms SELECT id FROM room`;

/**
 * Erasures that pass, or have passed, a log in which rooms were missing (erasures.ts). One that goes on begins anew at its
 * end.
 */
const ERASE_ANEW = `UPDATE erasures
  SET "againAt" = CASE WHEN "finishedAt" IS NULL THEN coalesce("againAt", "requestedAt") END, "finishedAt" = NULL`;

interface OldRoom {
  readonly id: number;
  readonly uuid: string;
  readonly name: string;
  readonly type: string | null;
  readonly entityOwner: string | null;
  readonly levelAdmin: number;
  readonly maxEntityRules: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

interface OldRule {
  readonly entityUUID: string;
  readonly level: number;
  readonly permissions: string;
  readonly accepted: boolean;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

interface OldMessage {
  readonly roomId: number;
  readonly emitter: string;
  readonly content: string;
  readonly createdAt: Date;
}

interface NewEntry {
  readonly kind: 'message' | 'member';
  readonly emitter: string;
  readonly content: string;
  readonly createdAt: Date;
}

/**
 * Copies the rooms, rules and messages of the proof of concept, whose tables are in the same database and stay as they
 * are: each room with its id, its entries numbered by their dates. A room appears when all of it is stored. One that was
 * carried over is not again; a run that was killed is gone on with by the next one, at its first room that is not whole.
 * @throws {CarryOverRefusal} before anything is stored: if the old tables are missing, a room has the id or the uuid of
 *   an old one, two old ones have one uuid, a date can't be that of an entry, or another process carries over
 */
export async function carryOver(
  { directAddress }: Pick<Database, 'directAddress'>,
  logger: Logger,
  { onProgress = () => undefined }: Options = {},
): Promise<CarriedOver> {
  // One connection reads all as of one moment, the other one stores. They wait for a large sort as long as it takes.
  const pool = { ...sequelizeOptions(directAddress), pool: { max: 2 } };
  const sequelize: Sequelize = new StoreSequelize(pool, new Outage(logger));
  const { REPEATABLE_READ: isolationLevel } = Transaction.ISOLATION_LEVELS;
  try {
    await requireTables(sequelize);
    await sequelize.query(KEEP_IDS_FREE);
    return await sequelize.transaction({ isolationLevel }, async (reading) => {
      const options = { transaction: reading } as const;
      await sequelize.query(
        'SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0',
        options,
      );
      const rooms = await roomsLeft(sequelize, reading);
      const [counted] = await sequelize.query<{ count: number }>(
        `SELECT count(*) FROM ${MESSAGES_LEFT}`,
        { ...options, type: QueryTypes.SELECT },
      );
      const messages = new OldMessages(sequelize, reading);
      await messages.open();
      let stored = 0;
      for (const room of rooms) {
        await carryRoom({ sequelize, reading, room, messages }, (count) => {
          stored += count;
          onProgress(stored, counted?.count ?? 0);
        });
      }
      await sequelize.query(ERASE_ANEW);
      return { rooms: rooms.length, messages: stored };
    });
  } finally {
    await sequelize.close();
  }
}

/** @throws {CarryOverRefusal} */
async function requireTables(sequelize: Sequelize): Promise<void> {
  const [tables] = await sequelize.query<{ is_there: boolean }>(HAS_TABLES, {
    type: QueryTypes.SELECT,
  });
  if (tables?.is_there === true) return;
  throw new CarryOverRefusal(
    'the database has no tables of the proof of concept: "Rooms", "Room_permissions" and "Messages"',
  );
}

/** @throws {CarryOverRefusal} */
async function roomsLeft(sequelize: Sequelize, transaction: Transaction): Promise<OldRoom[]> {
  const options = { type: QueryTypes.SELECT, transaction } as const;
  const [lock] = await sequelize.query<{ is_ours: boolean }>(
    `SELECT pg_try_advisory_xact_lock(${lockKey('carryOver')}) AS is_ours`,
    options,
  );
  if (lock?.is_ours !== true) throw new CarryOverRefusal('another process carries over already');
  for (const statement of FIND_PROBLEMS) {
    const [found] = await sequelize.query<{ problem: string }>(statement, options);
    if (found !== undefined) throw new CarryOverRefusal(found.problem);
  }
  return sequelize.query<OldRoom>(READ_ROOMS, options);
}

interface Carrying {
  readonly sequelize: Sequelize;
  readonly reading: Transaction;
  readonly room: OldRoom;
  readonly messages: OldMessages;
}

/** Stores the log of a room in batches, and then the room. */
async function carryRoom(
  { sequelize, reading, room, messages }: Carrying,
  onStored: (messages: number) => void,
): Promise<void> {
  const old = await sequelize.query<OldRule>(READ_RULES, {
    type: QueryTypes.SELECT,
    transaction: reading,
    bind: [room.id],
  });
  const { type, rules } = rulesOf(room, old);
  const left = rules.map((rule): NewEntry => ({
    kind: 'member',
    emitter: rule.entityUUID,
    content: ruleContent(rule),
    createdAt: rule.createdAt,
  }));
  // Of a run that was killed; not of a room that was created with this id at the last moment.
  await sequelize.query(
    'DELETE FROM messages WHERE room_id = $1 AND NOT EXISTS (SELECT FROM rooms WHERE id = $1)',
    { bind: [room.id] },
  );
  let head = 0;
  let rulesHead = 0;
  async function store(entries: readonly NewEntry[]): Promise<void> {
    const rule = entries.findLastIndex(({ kind }) => kind === 'member');
    if (rule >= 0) rulesHead = head + rule + 1;
    await sequelize.query(INSERT_ENTRIES, {
      bind: [
        room.id,
        entries.map((_, index) => head + index + 1),
        entries.map(({ kind }) => kind),
        entries.map(({ emitter }) => emitter),
        entries.map(({ content }) => content),
        entries.map(({ createdAt }) => createdAt),
      ],
    });
    head += entries.length;
  }
  for (let page = await messages.next(room.id); page.length > 0;) {
    const entries: NewEntry[] = [];
    for (const { emitter, content, createdAt } of page) {
      while (left[0] !== undefined && left[0].createdAt <= createdAt)
        entries.push(...left.splice(0, 1));
      entries.push({ kind: 'message', emitter, content, createdAt });
    }
    await store(entries);
    onStored(page.length);
    page = await messages.next(room.id);
  }
  await store(left);
  await sequelize.query(INSERT_ROOM, {
    bind: [
      room.id,
      room.uuid,
      room.name,
      type,
      room.entityOwner ?? NOBODY,
      room.levelAdmin,
      Math.max(room.maxEntityRules, rules.length),
      head,
      rulesHead,
      rules.at(-1)?.createdAt ?? null,
      rules.length,
      room.createdAt,
      room.updatedAt,
      rules.map(({ entityUUID }) => entityUUID),
      rules.map(({ level }) => level),
      rules.map(({ permissions }) => permissions),
      rules.map(({ accepted }) => accepted),
      rules.map(({ createdAt }) => createdAt),
      rules.map(({ updatedAt }) => updatedAt),
    ],
  });
}

/**
 * The type of a room and its rules, in the order of their dates. A rule without a letter grants nothing. The proof of
 * concept gave the owner's entity a rule in user2user rooms, too, in which no entity's rule counts; with more than two
 * others, it was used as a group.
 */
function rulesOf(
  { type, entityOwner }: OldRoom,
  old: readonly OldRule[],
): { readonly type: 'group' | 'user2user'; readonly rules: readonly OldRule[] } {
  const rules = old.flatMap((rule) => {
    const permissions = LETTERS.filter((letter) => rule.permissions.includes(letter)).join('');
    return permissions === '' ? [] : [{ ...rule, permissions }];
  });
  if (type !== 'user2user') return { type: 'group', rules };
  const users = rules.filter(({ entityUUID }) => entityUUID !== entityOwner);
  return users.length > PAIR ? { type: 'group', rules } : { type, rules: users };
}

/** The old messages that are to be carried over, by room and date, read by a cursor. */
class OldMessages {
  readonly #sequelize: Sequelize;
  readonly #transaction: Transaction;
  #page: OldMessage[] = [];

  constructor(sequelize: Sequelize, transaction: Transaction) {
    this.#sequelize = sequelize;
    this.#transaction = transaction;
  }

  async open(): Promise<void> {
    await this.#sequelize.query(READ_MESSAGES, { transaction: this.#transaction });
  }

  /** The next messages of a room; none if there are no more. Rooms are asked for in the order of their ids. */
  async next(roomId: number): Promise<readonly OldMessage[]> {
    if (this.#page.length === 0) {
      this.#page = await this.#sequelize.query<OldMessage>(`FETCH ${BATCH} FROM old_messages`, {
        type: QueryTypes.SELECT,
        transaction: this.#transaction,
      });
    }
    const end = this.#page.findIndex((message) => message.roomId !== roomId);
    return this.#page.splice(0, end < 0 ? this.#page.length : end);
  }
}
