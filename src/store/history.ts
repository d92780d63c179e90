import { Op, QueryTypes, type Sequelize, type WhereOptions } from 'sequelize';
import type { MessageModel, MessageRow } from './models/message.js';

/** A message as the history shows it; its id is its number. */
export interface HistoryMessage {
  readonly id: number;
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Instants, the first included and the last not. */
export interface Period {
  readonly from: Date;
  readonly until: Date;
}

export interface Page {
  /** Oldest first. */
  readonly messages: HistoryMessage[];
  /** Whether there are more beyond the page's end, in the direction in which it was asked. */
  readonly more: boolean;
}

export interface History {
  /**
   * One page by number, up to `upTo` (or the end): the first `limit` messages beyond `after`, or else the last `limit`
   * before `before` (before the end, where that is not given either).
   */
  page(
    roomId: number,
    range: {
      upTo?: number | undefined;
      after?: number | undefined;
      before?: number | undefined;
      limit: number;
      period?: Period | undefined;
    },
  ): Promise<Page>;
  /** All messages of a period, up to the number `upTo` (or the end), a page at a time, however many they are. */
  pagesOf(
    roomId: number,
    period: Period,
    upTo?: number,
  ): AsyncGenerator<HistoryMessage[], void, undefined>;
}

const LAST_NUMBER = Number.MAX_SAFE_INTEGER;
/** Messages of one query while a period is read. */
const PAGE = 250;

export function createHistory({
  sequelize,
  models,
}: {
  sequelize: Sequelize;
  models: { message: MessageModel };
}): History {
  async function page(
    roomId: number,
    { upTo = LAST_NUMBER, after, before, limit, period }: Parameters<History['page']>[1],
  ): Promise<Page> {
    const forwards = after !== undefined;
    const where: WhereOptions<MessageRow> = {
      room_id: roomId,
      kind: 'message',
      seq: {
        [Op.gt]: after ?? 0,
        [Op.lte]: upTo,
        ...(before !== undefined && { [Op.lt]: before }),
      },
      ...(period && { createdAt: { [Op.gte]: period.from, [Op.lt]: period.until } }),
    };
    // One more than asked for tells whether there is more.
    const rows = await models.message.findAll({
      attributes: ['room_id', 'seq', 'emitter', 'content', 'createdAt', 'updatedAt'],
      where,
      order: [['seq', forwards ? 'ASC' : 'DESC']],
      limit: limit + 1,
    });
    const messages = rows.slice(0, limit).map((row) => {
      const { room_id, seq, emitter, content, createdAt, updatedAt } = row.get();
      return { id: seq, room_id, seq, emitter, content, createdAt, updatedAt };
    });
    return {
      messages: forwards ? messages : messages.toReversed(),
      more: rows.length > limit,
    };
  }

  return {
    page,

    async *pagesOf(roomId, period, upTo = LAST_NUMBER) {
      // `seq + 0`: a bare min(seq) would be read off the primary key, past all that is older.
      const [bounds] = await sequelize.query<{ first: number | null; last: number | null }>(
        `SELECT min(seq + 0) AS first, max(seq + 0) AS last FROM messages
         WHERE room_id = $1 AND "createdAt" >= $2 AND "createdAt" < $3`,
        { bind: [roomId, period.from, period.until], type: QueryTypes.SELECT },
      );
      if (bounds === undefined || bounds.first === null || bounds.last === null) return;
      const end = Math.min(bounds.last, upTo);
      let after = bounds.first - 1;
      for (let more = true; more;) {
        const next = await page(roomId, { upTo: end, after, limit: PAGE, period });
        const last = next.messages.at(-1);
        if (last === undefined) return;
        yield next.messages;
        after = last.seq;
        more = next.more;
      }
    },
  };
}
