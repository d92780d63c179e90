import type { Entry } from '../store/entry.js';
import type { Log } from '../store/log.js';
import { encodeEvent } from '../protocol/events.js';
import { encodeFrame } from './ws-frame.js';
import type { SocketWriter } from './socket-writer.js';

/** Entries of one page, at most and at least. */
const MAX_PAGE_ENTRIES = 250;
const MIN_PAGE = 16;
/** Bytes of a usual frame, until it is known how long they are in this room. */
const USUAL_FRAME_BYTES = 256;
/** Bytes written at once, before the socket is asked whether it takes more. */
const CHUNK_BYTES = 65_536;

/**
 * How long a page is kept for others who come back to the same place, after a restart say: they come in the course of
 * seconds, and it takes milliseconds to read a page.
 */
const KEEP_MS = 100;

/** A stretch of a room's log, as frames: built once for all sessions that read it at the same time. */
export interface FramePage {
  /** Frames that are written at once, in order, each with the number at which it ends. */
  readonly chunks: readonly Chunk[];
  /** The number at which the page ends. */
  readonly last: number;
}

interface Chunk {
  readonly frames: Buffer;
  readonly last: number;
}

/** Reads pages of one room's log; all that ask for the same one while it is read, or soon after, share the reading. */
export class CatchUpPages {
  readonly #roomId: number;
  readonly #log: Log;
  /** By the number that they are beyond. */
  readonly #shared = new Map<number, Promise<FramePage>>();
  /** Mean length of the frames of the last page. */
  #frameBytes = USUAL_FRAME_BYTES;

  constructor(roomId: number, log: Log) {
    this.#roomId = roomId;
    this.#log = log;
  }

  /**
   * The page beyond `after`, up to `upTo` or to where an earlier asker wanted it.
   * @param bytes about how much is wanted: what would not be written has not to be read
   * @param isKept for others who may come: it lives longer than the youngest garbage then, which is collected soonest
   */
  read(after: number, upTo: number, bytes: number, isKept: boolean): Promise<FramePage> {
    const shared = this.#shared.get(after);
    if (shared !== undefined) return shared;
    const limit = Math.max(
      MIN_PAGE,
      Math.min(MAX_PAGE_ENTRIES, Math.ceil(bytes / this.#frameBytes)),
    );
    const page = this.#readFresh({ after, upTo, limit });
    this.#shared.set(after, page);
    const forget = (): void => {
      this.#shared.delete(after);
    };
    page.then(() => (isKept ? setTimeout(forget, KEEP_MS).unref() : forget()), forget);
    return page;
  }

  async #readFresh(range: { after: number; upTo: number; limit: number }): Promise<FramePage> {
    const entries = await this.#log.read(this.#roomId, range);
    const chunks = chunksOf(entries);
    const bytes = chunks.reduce((sum, { frames }) => sum + frames.length, 0);
    if (bytes > 0) this.#frameBytes = bytes / entries.length;
    const { after, upTo, limit } = range;
    return { chunks, last: entries.at(-1)?.seq ?? Math.min(upTo, after + limit) };
  }
}

/** The frame of an entry's event; undefined if version 1 does not show the entry. */
export function frameOf(entry: Entry): Buffer | undefined {
  const event = encodeEvent(entry);
  return event === undefined ? undefined : encodeFrame(event);
}

/** Joined once for all that the page is written to: many wait for the same bytes. */
function chunksOf(entries: readonly Entry[]): Chunk[] {
  const chunks: Chunk[] = [];
  let frames: Buffer[] = [];
  let bytes = 0;
  for (const [index, entry] of entries.entries()) {
    const frame = frameOf(entry);
    if (frame !== undefined) {
      frames.push(frame);
      bytes += frame.length;
    }
    const isLast = index === entries.length - 1;
    if (bytes === 0 || (bytes < CHUNK_BYTES && !isLast)) continue;
    chunks.push({ frames: Buffer.concat(frames), last: entry.seq });
    frames = [];
    bytes = 0;
  }
  return chunks;
}

/**
 * Writes what fits of a page: at most a chunk more than the outbox' cap.
 * @returns the number up to which the page is written
 */
export function writePage(page: FramePage, writer: SocketWriter): number {
  for (const { frames, last } of page.chunks) {
    writer.write(frames);
    if (writer.isFull) return last;
  }
  return page.last;
}
