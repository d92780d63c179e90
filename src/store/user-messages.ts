import { QueryTypes, type Sequelize } from 'sequelize';
import type { FairLimit } from './fair-limit.js';
import type { Reader } from './history.js';

/** A message of a user, as it is now. */
export interface UserMessage {
  readonly roomId: number;
  readonly roomUUID: string;
  readonly seq: number;
  readonly ref: string | null;
  /** Empty only beside `data`. */
  readonly content: string;
  /** A JSON object, as text. */
  readonly data: string | null;
  /** Seq of the message that it answers. */
  readonly replyTo: number | null;
  /** UUIDs of users and of entities. */
  readonly mentions: readonly string[] | null;
  readonly createdAt: Date;
  /** When it got the text that it has; null if it was not edited. */
  readonly editedAt: Date | null;
}

export interface UserMessages {
  /**
   * All messages of a user that are not deleted, in every room, in the order of rooms and numbers, in pages that may be empty:
   * each passes a part of the log. Of what is written or deleted meanwhile, some may be in it.
   */
  read(userUUID: string, reader: Reader): AsyncGenerator<readonly UserMessage[], void, undefined>;
}

/** Entries of the log that one query passes, as that of an erasure: by an index alone. */
export const WINDOW_ENTRIES = 10_000;
/** Messages of a page, and the bytes after which it has no further one, as in a page of the history. */
const PAGE_MESSAGES = 250;
const PAGE_BYTES = 32_768;

interface Place {
  readonly roomId: number;
  readonly seq: number;
}

interface Page {
  readonly messages: readonly (Omit<UserMessage, 'createdAt' | 'editedAt'> & {
    readonly createdAt: string;
    readonly editedAt: string | null;
  })[];
  /** The place behind which the next page begins; null at the end of the log. */
  readonly next: Place | null;
}

/**
 * Of the WINDOW_ENTRIES entries behind the place $1, $2, the first messages of the user $3. A message does not pay for an
 * index by its emitter: the primary key has what it takes to pass those of others without reading them.
 */
const PAGE = `WITH passed AS MATERIALIZED (
    SELECT room_id, seq, kind, emitter FROM messages WHERE (room_id, seq) > ($1::integer, $2::bigint)
    ORDER BY room_id, seq LIMIT ${WINDOW_ENTRIES}
  ), own AS MATERIALIZED (
    SELECT room_id, seq FROM passed WHERE emitter = $3 AND kind = 'message' ORDER BY room_id, seq LIMIT ${PAGE_MESSAGES}
  ), measured AS MATERIALIZED (
    SELECT m.*, sum(bytes) OVER (ORDER BY m.room_id, m.seq ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before
    FROM own CROSS JOIN LATERAL (
      SELECT *, octet_length(content) + coalesce(octet_length(data), 0) AS bytes
      FROM messages WHERE room_id = own.room_id AND seq = own.seq LIMIT 1
    ) AS m
  ), page AS MATERIALIZED (SELECT * FROM measured WHERE bytes_before < ${PAGE_BYTES})
  SELECT
    (SELECT coalesce(json_agg(message), '[]') FROM (
       SELECT page.room_id AS "roomId", r.uuid AS "roomUUID", seq, ref, content, page.data, reply_to AS "replyTo", mentions,
         page."createdAt", CASE WHEN text_seq IS NOT NULL THEN page."updatedAt" END AS "editedAt"
       FROM page CROSS JOIN LATERAL (SELECT uuid FROM rooms WHERE id = page.room_id LIMIT 1) AS r
       WHERE deleted_by IS NULL ORDER BY page.room_id, seq
     ) AS message) AS messages,
    (SELECT json_build_object('roomId', room_id, 'seq', seq) FROM (
       SELECT room_id, seq FROM page
       WHERE (SELECT count(*) FROM own) = ${PAGE_MESSAGES} OR EXISTS (SELECT FROM measured WHERE bytes_before >= ${PAGE_BYTES})
       UNION ALL
       SELECT room_id, seq FROM passed
       WHERE (SELECT count(*) FROM own) < ${PAGE_MESSAGES}
         AND NOT EXISTS (SELECT FROM measured WHERE bytes_before >= ${PAGE_BYTES})
         AND (SELECT count(*) FROM passed) = ${WINDOW_ENTRIES}
     ) AS place ORDER BY room_id DESC, seq DESC LIMIT 1) AS next`;

/** @param readers bounds the queries that run at a time; its keys are users */
export function createUserMessages({
  sequelize,
  readers,
}: {
  sequelize: Sequelize;
  readers: FairLimit<string>;
}): UserMessages {
  return {
    async *read(userUUID, reader) {
      let place: Place | null = { roomId: 0, seq: 0 };
      while (place !== null) {
        const bind: unknown[] = [place.roomId, place.seq, userUUID];
        const [page]: Page[] = await readers.run(
          reader.userUUID,
          () => sequelize.query<Page>(PAGE, { bind, type: QueryTypes.SELECT }),
          reader.gone,
        );
        yield (page?.messages ?? []).map(({ createdAt, editedAt, ...message }) => ({
          ...message,
          createdAt: new Date(createdAt),
          editedAt: editedAt === null ? null : new Date(editedAt),
        }));
        place = page?.next ?? null;
      }
    },
  };
}
