import { Socket } from 'node:net';

/**
 * A connection to Postgres that breaks when nothing comes back for `silenceMs` after it was asked: a server
 * that hangs, or a host that is gone, would else keep the query until TCP gives up. One that nothing is asked of
 * may be silent.
 */
export class ImpatientSocket extends Socket {
  /** Bytes that had come in when the last ones went out. */
  #readAtWrite = -1;

  constructor(silenceMs: number) {
    super();
    this.setTimeout(silenceMs, () => {
      if (this.bytesRead === this.#readAtWrite) {
        this.destroy(new Error(`the database has been silent for ${silenceMs} ms`));
      }
    });
  }

  override _write(...args: Parameters<Socket['_write']>): void {
    this.#readAtWrite = this.bytesRead;
    super._write(...args);
  }

  override _writev(...args: Parameters<NonNullable<Socket['_writev']>>): void {
    this.#readAtWrite = this.bytesRead;
    super._writev?.(...args);
  }
}
