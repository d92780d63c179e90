import { randomBytes } from 'node:crypto';
import type { ServerFrame } from './chat-client.js';
import { HttpWire } from './http-wire.js';

/** RFC 6455 section 5.2 */
export const FIN = 0x80;
export const RSV1 = 0x40;
export const RSV2 = 0x20;
export const RSV3 = 0x10;
export const CONTINUATION = 0x0;
export const TEXT = 0x1;
export const CLOSE = 0x8;
export const PING = 0x9;
export const PONG = 0xa;

const HANDSHAKE: Readonly<Record<string, string>> = {
  Host: 'localhost',
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** The request of an upgrade; empty headers are left out. */
export function handshake({
  method = 'GET',
  path = '/chat',
  headers = {},
}: { method?: string; path?: string; headers?: Record<string, string> } = {}): string {
  const lines = Object.entries({ ...HANDSHAKE, ...headers }).map(([key, value]) =>
    value === '' ? '' : `${key}: ${value}\r\n`,
  );
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** A frame as a client sends it; `first` is its first byte, FIN and a text unless given. */
export function frame(
  payload: string | Buffer = '',
  { first = FIN | TEXT, masked = true }: { first?: number; masked?: boolean } = {},
): Buffer {
  const data = Buffer.from(payload);
  const header = lengthHeader(first, data.length, masked);
  if (!masked) return Buffer.concat([header, data]);
  const key = randomBytes(4);
  for (let i = 0; i < data.length; i += 1) {
    data.writeUInt8(data.readUInt8(i) ^ key.readUInt8(i % 4), i);
  }
  return Buffer.concat([header, key, data]);
}

/** The header of a frame without its key. */
export function lengthHeader(first: number, length: number, masked: boolean): Buffer {
  const bit = masked ? 0x80 : 0;
  if (length < 126) return Buffer.from([first, bit | length]);
  if (length < 65_536) return Buffer.from([first, bit | 126, length >> 8, length & 255]);
  const header = Buffer.from([first, bit | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

interface WireFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** A WebSocket client that sends any bytes, valid or not. */
export class WsWire extends HttpWire {
  /** An open WebSocket; the greeting is not read. */
  static async open(node: { readonly url: string }): Promise<WsWire> {
    const wire = await WsWire.dial(node);
    wire.write(handshake());
    const { status } = await wire.answer();
    if (status !== 101) throw new Error(`no upgrade: ${status}`);
    return wire;
  }

  /** The next frame; undefined at the end of the connection. */
  async next(): Promise<WireFrame | undefined> {
    await this.until(() => this.isEnded || this.#size() !== undefined, 'a frame');
    const size = this.#size();
    if (size === undefined) return undefined;
    const bytes = this.take(size.header + size.payload);
    return { opcode: bytes.readUInt8(0) & 15, payload: bytes.subarray(size.header) };
  }

  /** The next texts, as `data` of the frames. */
  async words(count: number): Promise<unknown[]> {
    const words: unknown[] = [];
    while (words.length < count) {
      const next = await this.next();
      if (next?.opcode !== TEXT) throw new Error(`a frame of the opcode ${next?.opcode} came`);
      words.push((JSON.parse(next.payload.toString()) as ServerFrame).data);
    }
    return words;
  }

  /** The code of the close frame that must be next and last. */
  async closeCode(): Promise<number> {
    for (let next = await this.next(); next !== undefined; next = await this.next()) {
      if (next.opcode !== CLOSE) continue;
      // Answered, as a client must; then the connection ends.
      this.socket.end(frame(next.payload.subarray(0, 2), { first: FIN | CLOSE }));
      if (await this.next()) throw new Error('a frame came after the close frame');
      return next.payload.readUInt16BE(0);
    }
    throw new Error('the connection ended without a close frame');
  }

  #size(): { header: number; payload: number } | undefined {
    const { bytes } = this;
    if (bytes.length < 2) return undefined;
    const short = bytes.readUInt8(1) & 127;
    const header = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < header) return undefined;
    const payload =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(2)
          : Number(bytes.readBigUInt64BE(2));
    return bytes.length < header + payload ? undefined : { header, payload };
  }
}
