import type { Entry } from '../store/entry.js';
import type { Log } from '../store/log.js';
import { encodeEvent } from '../protocol/v1/events.js';
import { encodeEntry } from '../protocol/v2/events.js';
import type { Version } from '../protocol/versions.js';
import { encodeFrame } from './ws-frame.js';
import type { SocketWriter } from './socket-writer.js';

/**
 * Entries of one page, at most. A trade-off, not a measurement: a usual page is one write of CHUNK_BYTES (250 frames of
 * USUAL_FRAME_BYTES), one of the longest messages has 8 MB, and up to four may be read at a time (connect.ts).
 */
const MAX_PAGE_ENTRIES = 250;
/** At least; a trade-off, too: neither long frames nor an almost full writer cost a query an entry. */
const MIN_PAGE_ENTRIES = 16;
/** The assumed length of a frame, until a page of this room was read: a message of 100 characters. */
const USUAL_FRAME_BYTES = 256;
/** Bytes per write; the socket is asked between two whether it is full. 64 KiB is what the kernel takes at once. */
const CHUNK_BYTES = 65_536;

/**
 * How long a page is kept for other sessions at the same position: after a restart they come back over seconds, and
 * reading a page takes milliseconds.
 */
const KEEP_MS = 100;

/** A page of a room's log as frames, built once for all sessions that read it at the same time. */
export interface FramePage {
  /** In order; each is one write. */
  readonly chunks: readonly Chunk[];
  /** The seq at which the page ends. */
  readonly last: number;
}

interface Chunk {
  readonly frames: Buffer;
  readonly last: number;
}

/**
 * Reads pages of one room's log for the sessions of a version. Sessions that ask for the same page at the same time, or
 * soon after, share one read.
 */
export class CatchUpPages {
  readonly #roomId: number;
  readonly #log: Log;
  readonly #reach: Reach;
  readonly #version: Version;
  /** By the position before the page. */
  readonly #shared = new Map<number, Promise<FramePage>>();
  /** Mean length of a frame of the last page, in bytes. */
  #frameBytes = USUAL_FRAME_BYTES;

  constructor(options: { roomId: number; log: Log; reach: Reach; version: Version }) {
    this.#roomId = options.roomId;
    this.#log = options.log;
    this.#reach = options.reach;
    this.#version = options.version;
  }

  /**
   * The page beyond `after`, up to `upTo` at most; a shared page may end earlier.
   * @param bytes about how much the session can take, so that no more is read
   * @param isKept keeps the page for others; such a page outlives V8's young generation, which costs more to collect
   */
  read(after: number, upTo: number, bytes: number, isKept: boolean): Promise<FramePage> {
    const shared = this.#shared.get(after);
    if (shared !== undefined) return shared;
    const limit = Math.max(
      MIN_PAGE_ENTRIES,
      Math.min(MAX_PAGE_ENTRIES, Math.ceil(bytes / this.#frameBytes)),
    );
    const page = this.#readFresh({ after, upTo, limit });
    this.#shared.set(after, page);
    const forget = (): void => {
      if (this.#shared.get(after) === page) this.#shared.delete(after);
    };
    page.then(() => (isKept ? setTimeout(forget, KEEP_MS).unref() : forget()), forget);
    return page;
  }

  /** Shares no page any more that was read, or began to be read, before now: it may show what has been deleted since. */
  forgetShared(): void {
    this.#shared.clear();
  }

  async #readFresh(range: { after: number; upTo: number; limit: number }): Promise<FramePage> {
    const read = await this.#log.read(this.#roomId, range);
    if (read[0]?.seq !== range.after + 1) {
      // The entry is gone, because it is old, or with its room.
      const horizon = (await this.#log.horizon(this.#roomId)) ?? 0;
      if (horizon >= range.upTo) return { chunks: [], last: range.upTo };
      if (horizon > range.after) return this.#readFresh({ ...range, after: horizon });
    }
    // Version 2 has the text at the edit alone.
    const early =
      this.#version === 1 ? read.findIndex(({ textSeq = 0 }) => textSeq > range.upTo) : -1;
    if (early === 0) return this.#readLater(range, read[0]?.textSeq ?? 0);
    const entries = early < 0 ? read : read.slice(0, early);
    const chunks = chunksOf(entries, this.#version);
    const bytes = chunks.reduce((sum, { frames }) => sum + frames.length, 0);
    if (bytes > 0) this.#frameBytes = bytes / entries.length;
    const { after, upTo, limit } = range;
    return { chunks, last: entries.at(-1)?.seq ?? Math.min(upTo, after + limit) };
  }

  /**
   * Reads a page whose first message has the text of a later edit, which is beyond the page's end: the right to read may
   * end in between.
   */
  async #readLater(range: { after: number; limit: number }, textSeq: number): Promise<FramePage> {
    await this.#reach(textSeq);
    return this.#readFresh({ ...range, upTo: textSeq });
  }
}

/**
 * Resolves when the feed has taken an entry that is in the log.
 * @throws {ChatError} UNAVAILABLE if it can't be read
 */
export type Reach = (seq: number) => Promise<void>;

/** The text of an entry's event, by version; undefined if the version does not show the entry. */
const ENCODE: Readonly<Record<Version, (entry: Entry) => string | undefined>> = {
  1: encodeEvent,
  2: encodeEntry,
};

/** The frame of an entry's event; undefined if the version does not show the entry. */
export function frameOf(entry: Entry, version: Version): Buffer | undefined {
  const event = ENCODE[version](entry);
  return event === undefined ? undefined : encodeFrame(event);
}

/** Frames are joined once for all sessions that the page is written to. */
function chunksOf(entries: readonly Entry[], version: Version): Chunk[] {
  const chunks: Chunk[] = [];
  let frames: Buffer[] = [];
  let bytes = 0;
  for (const [index, entry] of entries.entries()) {
    const frame = frameOf(entry, version);
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
 * Writes a page until the writer is full: at most a chunk more than OUTBOX_BYTES.
 * @returns the session's new position
 */
export function writePage(page: FramePage, writer: SocketWriter): number {
  for (const { frames, last } of page.chunks) {
    writer.write(frames);
    if (writer.isFull) return last;
  }
  return page.last;
}
