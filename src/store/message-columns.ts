/** "100" means 100 or more, as of unread messages: a count has to end. */
const REPLIES_COUNTED = 100;

/** An emoji that some users have on at a message. */
export interface EmojiCount {
  readonly emoji: string;
  readonly count: number;
  /** Whether the user who reads is one of them. */
  readonly mine: boolean;
}

/** A message that has never been changed has no reactions. */
function reactions(user: string): string {
  return `CASE WHEN m.rev IS NOT NULL THEN (
      SELECT json_agg(json_build_object('emoji', emoji, 'count', count, 'mine', mine) ORDER BY first)
      FROM (
        SELECT min(emoji) AS emoji, count(*) AS count, bool_or(emitter = ${user}) AS mine, min(seq) AS first
        FROM reactions WHERE room_id = m.room_id AND target = m.seq AND is_on GROUP BY emoji_key
      ) AS emojis
    ) END`;
}

function replies(head: string | undefined): string {
  const counts =
    head === undefined
      ? 'deleted_by IS NULL'
      : `seq <= ${head} AND (deleted_by IS NULL OR deleted_by > ${head})`;
  return `(SELECT count(*) FROM (
      SELECT FROM messages WHERE room_id = m.room_id AND reply_to = m.seq AND ${counts} LIMIT ${REPLIES_COUNTED}
    ) AS answers)`;
}

/**
 * The columns of a `HistoryMessage`, of a message `m`.
 * @param user the SQL of the UUID of who reads
 * @param head the SQL of the head at which replies are counted, however much later the statement reads; by default now
 */
export function messageColumns(user: string, head?: string): string {
  return `m.room_id AS "roomId", m.seq, m.emitter, m.content, m.data, m.reply_to AS "replyTo", m.mentions,
    CASE WHEN m.emitter = ${user} THEN m.ref END AS ref, ${reactions(user)} AS reactions, ${replies(head)} AS replies,
    m.rev, m.text_seq AS "textSeq", m."createdAt", m."updatedAt"`;
}
