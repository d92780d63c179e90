import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { PATIENCE_MS } from './patience.js';

/** An answer, as it was received. */
export interface WireAnswer {
  readonly status: number;
  /** The head, names of headers in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** An HTTP client that sends any bytes, valid or not. Its own side stays open until the test ends it. */
export class HttpWire {
  readonly socket: Socket;
  /** Received bytes that were not read yet. */
  protected bytes = Buffer.alloc(0);
  protected isEnded = false;
  #wake = (): void => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
      this.#wake();
    });
    for (const end of ['end', 'close']) {
      socket.on(end, () => {
        this.isEnded = true;
        this.#wake();
      });
    }
    socket.on('error', () => undefined);
  }

  /** A connection on which nothing was sent. */
  static async dial<Wire extends HttpWire>(
    this: new (socket: Socket) => Wire,
    { url }: { readonly url: string },
  ): Promise<Wire> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    const wire = new this(socket);
    await once(socket, 'connect');
    return wire;
  }

  write(...parts: (string | Buffer)[]): void {
    this.socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))));
  }

  /** The next answer; `to` is the method of its request, since an answer to HEAD has no body. */
  async answer(to = 'GET'): Promise<WireAnswer> {
    await this.until(() => this.bytes.includes('\r\n\r\n'), 'the head of an answer');
    const head = this.take(this.bytes.indexOf('\r\n\r\n') + 4).toString('latin1');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1]);
    if (Number.isNaN(status)) throw new Error(`no answer: ${JSON.stringify(head.slice(0, 200))}`);
    const headers: Record<string, string> = {};
    for (const [, name = '', value = ''] of head.matchAll(/^([\w-]+): *(.*)\r$/gm)) {
      headers[name.toLowerCase()] = value;
    }
    const isBare = to === 'HEAD' || status < 200 || status === 204;
    const body = isBare ? '' : await this.#body(headers);
    return { status, headers, body };
  }

  /** All bytes until the server ends its side. */
  async rest(): Promise<string> {
    await this.until(() => this.isEnded, 'the end');
    return this.take(this.bytes.length).toString();
  }

  destroy(): void {
    this.socket.destroy();
  }

  async #body(headers: Readonly<Record<string, string>>): Promise<string> {
    if (headers['transfer-encoding'] !== 'chunked')
      return this.#read(Number(headers['content-length']));
    let body = '';
    for (;;) {
      await this.until(() => this.bytes.includes('\r\n'), 'a chunk');
      const size = Number.parseInt(this.take(this.bytes.indexOf('\r\n') + 2).toString(), 16);
      body += await this.#read(size);
      await this.#read(2);
      if (size === 0) return body;
    }
  }

  async #read(length: number): Promise<string> {
    await this.until(() => this.bytes.length >= length, `a body of ${length} bytes`);
    return this.take(length).toString();
  }

  protected take(length: number): Buffer {
    const taken = this.bytes.subarray(0, length);
    this.bytes = this.bytes.subarray(length);
    return taken;
  }

  /** Resolves once the condition holds, which is checked after each read. */
  protected async until(condition: () => boolean, what: string): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, PATIENCE_MS);
    while (!condition()) {
      if (late || this.isEnded) {
        clearTimeout(timer);
        throw new Error(`${what} did not come${this.isEnded ? ': the connection has ended' : ''}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    clearTimeout(timer);
  }
}
