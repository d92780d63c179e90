import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { PING_FRAME, encodeFrame, encodePong } from './ws-frame.js';
import type { Backlog } from './backlog.js';
import type { Flushable, FlushQueue } from './flush-queue.js';

const { OPEN } = WebSocket;
/** Events of a stream at which nothing waits in it any more. */
const WRITTEN = ['drain', 'finish', 'close'] as const;

/**
 * The stream of an upgrade. The handle of a socket is Node's own affair, but only it sees a large write go by in parts:
 * it counts the bytes that were given to libuv, and those of them that libuv still has.
 */
type ByteStream = Duplex & {
  readonly _handle?: { readonly bytesWritten: number; readonly writeQueueSize: number } | null;
};

/**
 * Bytes to one socket. Frames are written to the stream of the upgrade itself, whole and unmasked, so that
 * one buffer serves any number of sockets; `ws` does the handshake, reads, and writes the close frame.
 */
export class SocketWriter implements Flushable {
  readonly #socket: Pick<WebSocket, 'readyState'>;
  readonly #stream: ByteStream;
  readonly #flushQueue: FlushQueue;
  readonly #maxBytes: number;
  readonly #backlog: Backlog;
  #waiting: Buffer[] = [];
  /** What was given to the stream and may still wait in it, the oldest first. */
  #unsent: Buffer[] = [];
  #given = 0;
  /** The answer to the peer's last ping. */
  #pong: Buffer | undefined;
  #ended = false;

  /** `stream` is the one that `socket` was upgraded on. */
  constructor(
    socket: Pick<WebSocket, 'readyState'>,
    stream: ByteStream,
    flushQueue: FlushQueue,
    maxBytes: number,
    backlog: Backlog,
  ) {
    this.#socket = socket;
    this.#stream = stream;
    this.#flushQueue = flushQueue;
    this.#maxBytes = maxBytes;
    this.#backlog = backlog;
  }

  /** Whether so much waits for this socket that it gets nothing more until it has read. */
  get isFull(): boolean {
    // Asked before each write: a stream that took everything at once needs not be asked.
    if (this.#unsent.length === 0 || this.#ended) return false;
    return this.#stream.writableLength >= this.#maxBytes;
  }

  /** Bytes that the kernel has taken so far, which it goes on doing while the peer reads. */
  get takenBytes(): number {
    const { _handle } = this.#stream;
    return _handle ? _handle.bytesWritten - _handle.writeQueueSize : 0;
  }

  /** False once nothing more can be written: the peer is leaving, or this node has said that it closes. */
  get isOpen(): boolean {
    return !this.#ended && this.#socket.readyState === OPEN;
  }

  /** Bytes that it takes until it is full. */
  get space(): number {
    return Math.max(0, this.#maxBytes - this.#stream.writableLength);
  }

  /** Whether something waits for the peer to read. */
  get isWaiting(): boolean {
    return this.#unsent.length > 0 && this.#stream.writableLength > 0;
  }

  /** Its part of the backlog, in bytes. */
  get heldBytes(): number {
    return this.#unsent.reduce((sum, frames) => sum + this.#backlog.shareOf(frames), 0);
  }

  /** An answer to this client, at the end of the event. */
  reply(text: string): void {
    this.add(encodeFrame(text));
  }

  /** Frames in line with the answers, at the end of the event. */
  add(frames: Buffer): void {
    if (this.#ended) return;
    this.#waiting.push(frames);
    this.#flushQueue.addWriter(this);
  }

  /** Frames, now, behind the answers that wait. */
  write(frames: Buffer): void {
    if (this.#waiting.length > 0 || this.#pong !== undefined) this.flush();
    // Nothing once a close frame went out: it is a socket's last (RFC 6455 section 5.5.1).
    if (!this.isOpen) return;
    this.#stream.write(frames);
    if (this.#stream.writableLength === 0 && this.#unsent.length === 0) return;
    this.#unsent.push(frames);
    this.#given += frames.length;
    this.#backlog.add(frames);
    this.forgetSent();
  }

  /** Takes out of the backlog what was sent by now. */
  forgetSent(): void {
    if (this.#unsent.length > 0) this.#forget(this.#stream.writableLength);
  }

  /** Takes the oldest out of the backlog, until about so many bytes are left in it. */
  #forget(left: number): void {
    let forgotten = 0;
    for (const frames of this.#unsent) {
      if (this.#given - frames.length < left) break;
      this.#given -= frames.length;
      this.#backlog.remove(frames);
      forgotten += 1;
    }
    if (forgotten > 0) this.#unsent.splice(0, forgotten);
  }

  ping(): void {
    this.write(PING_FRAME);
  }

  /**
   * Answers a ping at the end of the event; of those that came together only the last, as RFC 6455 section 5.5.3 has it.
   * Who does not read is answered when it has read.
   */
  pong(payload: Buffer): void {
    if (this.#ended) return;
    this.#pong = encodePong(payload);
    this.#flushQueue.addWriter(this);
  }

  flush(): void {
    if (this.#pong !== undefined && !this.isFull) {
      this.#waiting.push(this.#pong);
      this.#pong = undefined;
    }
    const waiting = this.#waiting;
    const [first] = waiting;
    if (first === undefined) return;
    this.#waiting = [];
    this.write(waiting.length === 1 ? first : Buffer.concat(waiting));
  }

  /** Resolves once all that waited is written, or the socket is gone. */
  drained(): Promise<void> {
    const stream = this.#stream;
    // A stream that was ended needs no drain, says Node, and may be full all the same.
    const isWaiting =
      stream.writableNeedDrain || (stream.writableEnded && !stream.writableFinished);
    // In a later turn, so that who asks in a loop lets the socket's end come through.
    if (!isWaiting || stream.destroyed) return new Promise(setImmediate);
    return new Promise((resolve) => {
      const done = (): void => {
        for (const event of WRITTEN) stream.off(event, done);
        resolve();
      };
      for (const event of WRITTEN) stream.on(event, done);
    });
  }

  /** Writes what waits, and nothing after it. */
  end(): void {
    this.flush();
    this.#ended = true;
    this.#forget(0);
  }
}
