import type { Caller } from '../access/permissions.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Report, ReportedMessage, Reports } from '../store/reports.js';
import type { MessageActions } from './messages.js';

/** A report that was put. */
export interface PutReport {
  readonly report: Report;
  readonly created: boolean;
}

export interface ReportActions {
  /**
   * Reports a message to the application; once, however often the caller does.
   * @param gone aborted if the client has gone: then nothing more is read
   * @throws {ChatError} as `MessageActions.get`
   */
  put(
    caller: Caller,
    message: { roomId: number; seq: number; reason: string | null },
    gone: AbortSignal,
  ): Promise<PutReport>;
  /**
   * Reports with ids above `after`, the oldest first, each with its message.
   * @throws {ChatError} UNAVAILABLE
   */
  list(caller: Caller, range: { after: number; limit: number }): Promise<ReportedMessage[]>;
  /** @throws {ChatError} NOT_FOUND, UNAVAILABLE */
  close(id: number): Promise<Report>;
}

export function createReportActions({
  reports,
  messages,
}: {
  reports: Reports;
  messages: Pick<MessageActions, 'get'>;
}): ReportActions {
  return {
    async put(caller, { roomId, seq, reason }, gone) {
      // Whoever may read it may report it.
      await messages.get(caller, roomId, seq, gone);
      const put = await reports.put({ roomId, seq, reason, reporter: caller.userUUID });
      if (put === undefined) throw noSuchRoom();
      return { report: put.report, created: put.isNew };
    },

    list: ({ userUUID }, range) => reports.page(userUUID, range),

    async close(id) {
      const report = await reports.remove(id);
      if (report !== undefined) return report;
      throw new ChatError('NOT_FOUND', { detail: 'there is no such report' });
    },
  };
}
