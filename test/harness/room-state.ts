import { query } from './database.js';

/** What a user sees of a room, in a form that can be compared. */
export interface RoomState {
  /** Those that are not deleted, by number. */
  readonly messages: readonly MessageState[];
  /** By UUID. */
  readonly members: readonly MemberState[];
  /** Undefined if nothing is known of them. */
  readonly settings: { readonly name: string; readonly data: object | null } | undefined;
}

export interface MessageState {
  readonly seq: number;
  readonly emitter: string;
  readonly content: string | undefined;
  readonly data: object | undefined;
  readonly replyTo: number | undefined;
  readonly mentions: readonly string[] | undefined;
  /** By emoji, those with a count above 0. */
  readonly reactions: readonly { emoji: string; count: number; isMine: boolean }[];
}

/** A rule of the room. */
export interface MemberState {
  readonly uuid: string;
  readonly permissions: string;
  readonly level: number;
  readonly accepted: boolean;
}

/** A state with all parts in their order. */
export function roomStateOf(
  messages: readonly MessageState[],
  members: readonly MemberState[],
  settings: RoomState['settings'],
): RoomState {
  return {
    messages: messages
      .map((message) => ({
        ...message,
        reactions: message.reactions.toSorted((one, other) => order(one.emoji, other.emoji)),
      }))
      .toSorted((one, other) => one.seq - other.seq),
    members: members.toSorted((one, other) => order(one.uuid, other.uuid)),
    settings,
  };
}

function order(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

type MessageRow = Omit<MessageState, 'data' | 'replyTo' | 'mentions' | 'reactions'> & {
  readonly data: string | null;
  readonly replyTo: number | null;
  readonly mentions: readonly string[] | null;
  readonly reactions: readonly { emoji: string; by: readonly string[] }[];
};

interface RoomRow {
  readonly name: string;
  readonly data: string | null;
  readonly head: number;
  readonly messages: readonly MessageRow[];
  readonly members: readonly MemberState[];
}

const READ = `
  SELECT name, data, head::int,
    (SELECT coalesce(json_agg(message), '[]') FROM (
       SELECT seq, emitter, content, data, reply_to AS "replyTo", mentions,
         (SELECT coalesce(json_agg(reaction), '[]') FROM (
            SELECT min(emoji) AS emoji, json_agg(emitter) AS by FROM reactions
            WHERE room_id = messages.room_id AND target = messages.seq AND is_on GROUP BY emoji_key
          ) AS reaction) AS reactions
       FROM messages WHERE room_id = rooms.id AND kind = 'message' AND deleted_by IS NULL
     ) AS message) AS messages,
    (SELECT coalesce(json_agg(member), '[]') FROM (
       SELECT "entity_UUID" AS uuid, permissions, level, accepted FROM room_permissions
       WHERE room_id = rooms.id
     ) AS member) AS members
  FROM rooms WHERE id = $1`;

/** A room as the tables have it. */
export interface StoredRoom {
  /** Number of its last entry. */
  readonly head: number;
  /** As it is for one user. */
  stateFor(userUUID: string): RoomState;
}

/** Reads a room from the tables, in one statement. */
export async function readStoredRoom(databaseUrl: string, roomId: number): Promise<StoredRoom> {
  const [row] = await query<RoomRow>(databaseUrl, READ, [roomId]);
  if (row === undefined) throw new Error(`there is no room ${roomId}`);
  const { head, members, name } = row;
  const settings = { name, data: parsed(row.data) ?? null };
  return {
    head,
    stateFor: (userUUID) =>
      roomStateOf(
        row.messages.map(({ data, replyTo, mentions, reactions, ...message }) => ({
          ...message,
          data: parsed(data),
          replyTo: replyTo ?? undefined,
          mentions: mentions ?? undefined,
          reactions: reactions.map(({ emoji, by }) => ({
            emoji,
            count: by.length,
            isMine: by.includes(userUUID),
          })),
        })),
        members,
        settings,
      ),
  };
}

function parsed(json: string | null): object | undefined {
  return json === null ? undefined : (JSON.parse(json) as object);
}
