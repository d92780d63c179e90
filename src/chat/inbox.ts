/** What an inbox does to the socket that it reads. */
export interface Source {
  pause(): void;
  resume(): void;
}

/**
 * Frames of one socket, handled one at a time and in order. It is bounded: when `maxFrames` wait, the
 * socket is no longer read, so that a flood waits in the client's own buffers. `ws` may still hand over
 * the frames of the chunk it has in hand, at most 64 KiB of them.
 */
export class Inbox<Frame> {
  readonly #source: Source;
  readonly #handle: (frame: Frame) => Promise<void> | void;
  readonly #maxFrames: number;
  #frames: Frame[] = [];
  #busy = false;
  #paused = false;
  /** Frames handled since other sockets last had a turn for sure. */
  #handled = 0;

  /** `handle` must not throw or reject. */
  constructor(source: Source, maxFrames: number, handle: (frame: Frame) => Promise<void> | void) {
    this.#source = source;
    this.#maxFrames = maxFrames;
    this.#handle = handle;
  }

  /** Whether the socket is not being read at the moment. */
  get isPaused(): boolean {
    return this.#paused;
  }

  push(frame: Frame): void {
    this.#frames.push(frame);
    if (!this.#busy) this.#run();
    if (this.#frames.length >= this.#maxFrames && !this.#paused) {
      this.#paused = true;
      this.#source.pause();
    }
  }

  /** Drops what waits. */
  clear(): void {
    this.#frames = [];
  }

  #run(): void {
    for (let frame = this.#frames.shift(); frame !== undefined; frame = this.#frames.shift()) {
      const handling = this.#handle(frame);
      this.#handled += 1;
      if (handling !== undefined) {
        void this.#resumeAfter(handling);
        return;
      }
      if (this.#handled >= this.#maxFrames) {
        // Other sockets have a turn, too.
        void this.#resumeAfter(new Promise(setImmediate));
        return;
      }
    }
    if (this.#paused) {
      this.#paused = false;
      this.#source.resume();
    }
  }

  async #resumeAfter(handling: Promise<void>): Promise<void> {
    this.#busy = true;
    await handling;
    this.#busy = false;
    this.#handled = 0;
    this.#run();
  }
}
