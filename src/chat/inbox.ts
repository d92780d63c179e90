/** The part of a socket that an inbox uses. */
export interface Source {
  pause(): void;
  resume(): void;
}

/**
 * Frames of one socket, handled one at a time and in order. It is bounded: when `maxFrames` wait, the socket is no
 * longer read, so that a flood waits in the client's own buffers. `ws` may still hand over the frames of the chunk it
 * has in hand, at most 64 KiB of them.
 */
export class Inbox<Frame> {
  readonly #source: Source;
  readonly #handle: (frame: Frame) => Promise<void> | void;
  readonly #maxFrames: number;
  #frames: Frame[] = [];
  /** The handling of the queued frames, while it takes longer than this turn. */
  #work: Promise<void> | undefined;
  #paused = false;
  #stopped = false;
  /** Frames handled since other sockets certainly had a turn. */
  #handled = 0;

  /** `handle` must not throw or reject. */
  constructor(source: Source, maxFrames: number, handle: (frame: Frame) => Promise<void> | void) {
    this.#source = source;
    this.#maxFrames = maxFrames;
    this.#handle = handle;
  }

  /** Whether the socket is paused. */
  get isPaused(): boolean {
    return this.#paused;
  }

  /** Whether the next frame has to wait. */
  get isBusy(): boolean {
    return this.#work !== undefined;
  }

  /** Number of queued frames. */
  get size(): number {
    return this.#frames.length;
  }

  push(frame: Frame): void {
    this.#frames.push(frame);
    if (this.#work === undefined) this.#run();
    if (this.#frames.length >= this.#maxFrames) this.pause();
  }

  /** Pauses the socket until the frames that came are handled; for while one is. */
  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#source.pause();
  }

  /** Resolves once all frames are handled. */
  idle(): Promise<void> {
    return this.#work ?? Promise.resolve();
  }

  /** Pauses the socket for good; resolves when the frames before are handled. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.pause();
    return this.idle();
  }

  /** Drops the queued frames. */
  clear(): void {
    this.#frames = [];
  }

  /** Handles frames synchronously for as long as possible: most commands wait for nothing. */
  #run(): void {
    for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
      const pause = this.#next(frame);
      if (pause !== undefined) {
        this.#work = this.#continueAfter(pause);
        return;
      }
    }
    this.#resume();
  }

  async #continueAfter(pause: Promise<void>): Promise<void> {
    await pause;
    for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
      await this.#next(frame);
    }
    this.#work = undefined;
    this.#resume();
  }

  /** Handles a frame; the promise, if any, must settle before the next one. */
  #next(frame: Frame): Promise<void> | undefined {
    const handling = this.#handle(frame) ?? undefined;
    this.#handled += 1;
    if (handling === undefined && this.#handled < this.#maxFrames) return undefined;
    this.#handled = 0;
    // Other sockets get a turn after `maxFrames` frames in a row; and after each frame that waited, since promises
    // alone do not end the turn.
    return handling === undefined ? nextTurn() : handling.then(nextTurn);
  }

  #resume(): void {
    if (!this.#paused || this.#stopped) return;
    this.#paused = false;
    this.#source.resume();
  }
}

function nextTurn(): Promise<void> {
  return new Promise(setImmediate);
}
