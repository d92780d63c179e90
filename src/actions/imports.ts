import { requireServer, type Caller } from '../access/permissions.js';
import type { Limits } from '../config/load.js';
import { ChatError, noSuchRoom } from '../errors.js';
import type { Hub } from '../feeds/hub.js';
import type { Imports } from '../store/imports.js';
import type { MessageEntry } from '../store/room-export.js';
import { importLines, type Imported } from '../transfer/import-lines.js';
import { FileError, LineError, parseLines } from '../transfer/lines.js';
import { lineSchema, maxLineBytes } from '../transfer/room-file.js';

export interface ImportActions {
  /**
   * Imports a file of a room into an empty room, batch by batch as it comes. If it ends early, the same file again goes on
   * behind what is stored; rules come last, so that nobody is let in too early.
   * @param file lines of JSON, as the command export writes them
   * @throws {ChatError} FORBIDDEN if the caller is not the application's server; NOT_FOUND; INVALID, which names the line;
   * UNAVAILABLE; errors of reading `file`
   */
  importRoom(
    caller: Caller,
    roomId: number,
    file: AsyncIterable<Buffer>,
  ): Promise<Pick<Imported, 'count' | 'added'>>;
}

export function createImportActions({
  imports,
  hub,
  limits,
}: {
  imports: Imports;
  hub: Pick<Hub, 'announceStored' | 'invite' | 'publish'>;
  limits: Pick<Limits, 'contentCharacters' | 'dataBytes' | 'frameBytes'>;
}): ImportActions {
  const options = { schema: lineSchema(limits), maxBytes: maxLineBytes(limits) };

  /** Feeds read imported entries from the log; without the announcement they would count as lost by the broker. */
  async function storeEntries(roomId: number, entries: readonly MessageEntry[]): Promise<number> {
    const added = await imports.storeEntries(roomId, entries);
    hub.announceStored(roomId, entries.slice(entries.length - added));
    return added;
  }

  return {
    async importRoom(caller, roomId, file) {
      requireServer(caller);
      const target = await imports.open(roomId);
      if (target === undefined) {
        throw noSuchRoom();
      }
      try {
        const imported = await importLines(
          { ...imports, storeEntries },
          target,
          parseLines(file, options),
        );
        for (const { entries, inviting } of imported.changes) {
          if (entries.length > 0) void hub.publish(roomId, entries);
          hub.invite(roomId, inviting);
        }
        return imported;
      } catch (error) {
        throw error instanceof FileError ? invalid(error) : error;
      }
    },
  };
}

function invalid(error: FileError): ChatError {
  const { message: detail } = error;
  if (!(error instanceof LineError)) return new ChatError('INVALID', { detail });
  const errors = [{ field: error.line, message: error.problem }];
  return new ChatError('INVALID', { detail, errors });
}
