import { connect, type Socket } from 'node:net';
import type { ServerFrame } from './chat-client.js';
import type { TestNode } from './node.js';
import type { Person } from './tokens.js';
import { handshake, lengthHeader } from './ws-wire.js';

const TEXT_FRAME = 0x81;
const PING_FRAME = 0x89;
const PONG_FRAME = 0x8a;
/** The place of the letter `m` in a frame of the type `message`; other types have no `m` there. */
const MESSAGE_SIGN = '{"type":"'.length;
const M = 0x6d;
const NUMBER_SIGN = Buffer.from('"seq":');
const ZERO = 0x30;

// All sockets read into one buffer: each has handled its bytes before the next one reads.
const READ_BUFFER = Buffer.allocUnsafe(1 << 18);

/**
 * A WebSocket client over a plain socket, for more frames or more sockets than ChatClient can handle. It reads only the
 * number of a message, and compares it with the number before.
 */
export class RawClient {
  /** Number of the last message that was received, if any. */
  last: number | undefined;
  /** Number of messages that were received. */
  received = 0;
  /** Frames other than messages that were received since the room was selected. */
  readonly answers: ServerFrame[] = [];
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #upgraded = false;
  /** A frame that was not received completely yet. */
  #rest: Buffer | undefined;
  #failure: Error | undefined;
  #told: (() => void)[] = [];

  private constructor(port: number, last: number | undefined) {
    this.last = last;
    this.#socket = connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer: READ_BUFFER,
        callback: (size, bytes) => {
          this.#read(Buffer.from(bytes.buffer, bytes.byteOffset, size));
          return true;
        },
      },
    });
    this.#socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#fail('the connection is gone');
        resolve();
      });
    });
  }

  /** Opens a socket, authenticates and selects the room. The number of its first message must be `after` + 1. */
  static async enter(
    node: Pick<TestNode, 'url'>,
    who: Person,
    roomId: number,
    after?: number,
  ): Promise<RawClient> {
    const client = new RawClient(Number(new URL(node.url).port), after);
    try {
      client.#socket.write(handshake());
      client.send({ type: 'token', content: who.token });
      client.send({ type: 'select_room', room_id: roomId, after });
      await client.until(() => client.answers.length >= 3);
      const words = client.answers.splice(0).map(({ data }) => data);
      if (words.join(' ') !== 'START? READY CONNECTED') throw new Error(`got ${words.join(' ')}`);
      return client;
    } catch (error) {
      await client.terminate();
      throw error;
    }
  }

  send(command: object): void {
    this.#write(TEXT_FRAME, Buffer.from(JSON.stringify(command)));
  }

  say(content: string, more: object = {}): void {
    this.send({ type: 'message', content, ...more });
  }

  /** Sends a pong without a ping. */
  pong(): void {
    this.#write(PONG_FRAME, Buffer.alloc(0));
  }

  /** Stops reading: the server's bytes wait in the kernel, then in the server. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Resolves once the message with this number was received, and every one before it. */
  reached(seq: number): Promise<void> {
    return this.until(() => (this.last ?? 0) >= seq);
  }

  /** Resolves once `isSo` holds, which is checked after each read; rejects if the connection ends before. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => {
        this.#told.push(resolve);
      });
    }
    // The same read may have had a gap.
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends the connection without a close frame. */
  async terminate(): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #fail(reason: string): void {
    this.#failure ??= new Error(reason);
    this.#tell();
  }

  #tell(): void {
    const told = this.#told;
    this.#told = [];
    for (const tell of told) tell();
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    if (!this.#upgraded) {
      const head = bytes.indexOf('\r\n\r\n');
      if (head !== -1) bytes = bytes.subarray(head + 4);
      this.#upgraded = head !== -1;
    }
    const read = this.#upgraded ? this.#frames(bytes) : 0;
    // The next socket reads into the same buffer.
    if (read < bytes.length) this.#rest = Buffer.from(bytes.subarray(read));
    this.#tell();
  }

  /** Handles complete frames; returns the index at which they end. */
  #frames(bytes: Buffer): number {
    let at = 0;
    while (bytes.length - at >= 2) {
      let start = at + 2;
      let length = bytes[at + 1] ?? 0;
      if (length === 126) {
        if (bytes.length - at < 4) break;
        length = bytes.readUInt16BE(start);
        start += 2;
      } else if (length === 127) {
        if (bytes.length - at < 10) break;
        length = Number(bytes.readBigUInt64BE(start));
        start += 8;
      }
      const end = start + length;
      if (end > bytes.length) break;
      const opcode = bytes[at];
      if (opcode === PING_FRAME) this.#write(PONG_FRAME, bytes.subarray(start, end));
      else if (opcode !== TEXT_FRAME) this.answers.push({ type: 'control', data: opcode });
      else if (bytes[start + MESSAGE_SIGN] === M) this.#message(bytes, start);
      else this.answers.push(JSON.parse(bytes.toString('utf8', start, end)) as ServerFrame);
      at = end;
    }
    return at;
  }

  #message(bytes: Buffer, start: number): void {
    let seq = 0;
    for (let at = bytes.indexOf(NUMBER_SIGN, start) + NUMBER_SIGN.length; ; at += 1) {
      const digit = (bytes[at] ?? 0) - ZERO;
      if (digit < 0 || digit > 9) break;
      seq = seq * 10 + digit;
    }
    if (this.last !== undefined && seq !== this.last + 1) {
      this.#fail(`message ${seq} came after ${this.last}`);
    }
    this.last = seq;
    this.received += 1;
  }

  #write(opcode: number, payload: Buffer): void {
    const head = lengthHeader(opcode, payload.length, true);
    // Masked with zeros, which changes nothing (RFC 6455 section 5.3).
    this.#socket.write(Buffer.concat([head, Buffer.alloc(4), payload]));
  }
}
