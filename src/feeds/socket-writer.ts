import type { Duplex } from 'node:stream';
import { WebSocket } from 'ws';
import { PING_FRAME, encodeFrame, encodePong } from './ws-frame.js';
import type { Backlog } from './backlog.js';
import type { Flushable, FlushQueue } from './flush-queue.js';

const { OPEN } = WebSocket;
/** Events after which a stream has nothing more to send. */
const WRITTEN = ['drain', 'finish', 'close'] as const;

/**
 * The stream of an upgrade. The handle is internal to Node, but only it sees a large write leave in parts: it counts
 * the bytes that were given to libuv, and those that libuv still has.
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
  /** Buffers that were given to the stream and may still be unsent, the oldest first. */
  #unsent: Buffer[] = [];
  #given = 0;
  /** The pong for the peer's last ping. */
  #pong: Buffer | undefined;
  #ended = false;

  /** @param stream the stream of the upgrade of `socket` */
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

  /** Whether OUTBOX_BYTES are unsent: then the socket gets nothing more until it has read. */
  get isFull(): boolean {
    // Checked before each write. Without unsent buffers the stream need not be asked.
    if (this.#unsent.length === 0 || this.#ended) return false;
    return this.#stream.writableLength >= this.#maxBytes;
  }

  /** Bytes that the kernel has taken so far; it takes more while the peer reads. */
  get takenBytes(): number {
    const { _handle } = this.#stream;
    return _handle ? _handle.bytesWritten - _handle.writeQueueSize : 0;
  }

  /** False once nothing more can be written, as a close frame was received or sent. */
  get isOpen(): boolean {
    return !this.#ended && this.#socket.readyState === OPEN;
  }

  /** Bytes until it is full. */
  get space(): number {
    return Math.max(0, this.#maxBytes - this.#stream.writableLength);
  }

  /** Whether bytes wait for the peer to read. */
  get isWaiting(): boolean {
    return this.#unsent.length > 0 && this.#stream.writableLength > 0;
  }

  /** Its share of the backlog, in bytes. */
  get heldBytes(): number {
    return this.#unsent.reduce((sum, frames) => sum + this.#backlog.shareOf(frames), 0);
  }

  /** Queues an answer to this client. */
  reply(text: string): void {
    this.add(encodeFrame(text));
  }

  /** Queues frames behind the answers before them. */
  add(frames: Buffer): void {
    if (this.#ended) return;
    this.#waiting.push(frames);
    this.#flushQueue.addWriter(this);
  }

  /** Writes frames at once, behind the queued answers. */
  write(frames: Buffer): void {
    if (this.#waiting.length > 0 || this.#pong !== undefined) this.flush();
    // A close frame is a socket's last frame (RFC 6455 section 5.5.1).
    if (!this.isOpen) return;
    this.#stream.write(frames);
    if (this.#stream.writableLength === 0 && this.#unsent.length === 0) return;
    this.#unsent.push(frames);
    this.#given += frames.length;
    this.#backlog.add(frames);
    this.forgetSent();
  }

  /** Removes the sent buffers from the backlog. */
  forgetSent(): void {
    if (this.#unsent.length > 0) this.#forget(this.#stream.writableLength);
  }

  /** Removes the oldest buffers from the backlog until about `left` bytes remain. */
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
   * Queues the answer to a ping. Of several pings only the last is answered, as RFC 6455 section 5.5.3 allows, and a
   * client that does not read gets its pong when it reads again.
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

  /** Resolves once everything is sent, or the socket is gone. */
  drained(): Promise<void> {
    const stream = this.#stream;
    // After end(), writableNeedDrain is false though bytes remain.
    const isWaiting =
      stream.writableNeedDrain || (stream.writableEnded && !stream.writableFinished);
    // In a later turn, so that a loop over `drained` does not keep the socket's end from being seen.
    if (!isWaiting || stream.destroyed) return new Promise(setImmediate);
    return new Promise((resolve) => {
      const done = (): void => {
        for (const event of WRITTEN) stream.off(event, done);
        resolve();
      };
      for (const event of WRITTEN) stream.on(event, done);
    });
  }

  /** Writes the queued answers, and nothing after them. */
  end(): void {
    this.flush();
    this.#ended = true;
    this.#forget(0);
  }
}
