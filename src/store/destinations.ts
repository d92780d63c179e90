import { QueryTypes, type Sequelize } from 'sequelize';
import type { RoomType } from './models/room.js';
import { StatementBatches } from './statement-batches.js';

/** Where a message is to be stored. */
export interface Destination {
  readonly room: {
    readonly id: number;
    readonly uuid: string;
    readonly type: RoomType;
    /** A JSON object of the application, as text; null if it gave none. */
    readonly data: string | null;
  };
  /** Whether an entry of the room has the emitter's ref. */
  readonly isKnown: boolean;
}

/** A message that is to be stored. */
interface Asked {
  readonly roomId: number;
  readonly emitter: string;
  readonly ref: string | undefined;
}

export interface Destinations {
  /**
   * The destination of a message; undefined if there is no such room. Those that are asked for in the same moment share a
   * query.
   * @throws {ChatError} UNAVAILABLE
   */
  find(message: Asked): Promise<Destination | undefined>;
}

/** Messages of one query, as many as of one that stores them (group-commit.ts). */
const MAX_MESSAGES = 1_000;

/** By LIMIT, so that each is looked up by its key, whatever the planner thinks of how many there are. */
const FIND = `
  SELECT r.id, r.uuid, r.type, r.data, known.is_known AS "isKnown"
  FROM unnest($1::int[], $2::uuid[], $3::text[]) WITH ORDINALITY AS asked (room_id, emitter, ref, place)
  LEFT JOIN LATERAL (SELECT id, uuid, type, data FROM rooms WHERE id = asked.room_id LIMIT 1) AS r ON true
  LEFT JOIN LATERAL (
    SELECT true AS is_known FROM messages
    WHERE room_id = asked.room_id AND emitter = asked.emitter AND ref = asked.ref LIMIT 1
  ) AS known ON true
  ORDER BY asked.place`;

type Row = { readonly isKnown: boolean | null } & (
  Destination['room'] | { readonly [Key in keyof Destination['room']]: null }
);

export function createDestinations({ sequelize }: { sequelize: Sequelize }): Destinations {
  async function find(messages: readonly Asked[]): Promise<(Destination | undefined)[]> {
    const rows = await sequelize.query<Row>(FIND, {
      bind: [
        messages.map(({ roomId }) => roomId),
        messages.map(({ emitter }) => emitter),
        messages.map(({ ref }) => ref ?? null),
      ],
      type: QueryTypes.SELECT,
    });
    return rows.map(({ isKnown, ...room }) =>
      room.id === null ? undefined : { room, isKnown: isKnown ?? false },
    );
  }

  const batches = new StatementBatches(find, (waiting) => Math.min(waiting.length, MAX_MESSAGES));

  return { find: (message) => batches.add(message) };
}
