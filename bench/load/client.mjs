import { connect } from 'node:net';

// All sockets read into one buffer: the callback has handled the bytes before the next read.
const READ_BUFFER = Buffer.allocUnsafe(1 << 18);
const STAMP_SIGN = 0x40;
const STAMP_DIGITS = 15;
const CONTENT_BYTES = 100;
const MASK = [0x5a, 0xc3, 0x17, 0x99];
const PADDING = 'x'.repeat(CONTENT_BYTES - 1 - STAMP_DIGITS);
const TEXT_FRAME = 0x81;
const PING_FRAME = 0x89;
const PONG = 0x8a;

/**
 * A WebSocket client over a raw socket, just enough to put load on a server: it reads the headers of frames,
 * counts messages, and looks into those of a sampled client only.
 */
export class Client {
  /** Number of messages that were received so far. */
  received = 0;
  /** @type {((client: Client) => void) | undefined} Called for each message. */
  onMessage;
  /** @type {import('node:net').Socket | undefined} */
  #socket;
  /** @type {Buffer | undefined} A frame that was not received completely yet. */
  #rest;
  #upgraded = false;
  #closed = false;
  #server;
  #dialect;
  #tally;
  #isSampled;
  /** @type {(() => void) | undefined} */
  #ready;
  /** @type {((error: Error) => void) | undefined} */
  #failed;

  /**
   * @param {{
   *   server: { port: number, host?: string }, dialect: import('./dialects.mjs').Dialect,
   *   tally: import('./tally.mjs').Tally, sampled: boolean,
   *   token: string, roomId: number, after?: number,
   * }} options
   */
  constructor({ server, dialect, tally, sampled, token, roomId, after }) {
    this.token = token;
    this.roomId = roomId;
    this.after = after;
    this.#server = server;
    this.#dialect = dialect;
    this.#tally = tally;
    this.#isSampled = sampled;
  }

  /** Resolves once the room is selected. */
  connect() {
    return new Promise((resolve, reject) => {
      this.#ready = () => resolve(undefined);
      this.#failed = reject;
      const socket = connect({
        port: this.#server.port,
        host: this.#server.host ?? '127.0.0.1',
        noDelay: true,
        onread: {
          buffer: READ_BUFFER,
          callback: (size) => {
            this.#read(size);
            return true;
          },
        },
      });
      this.#socket = socket;
      socket.on('error', (error) => reject(error));
      socket.on('close', () => {
        reject(new Error('the server closed a connection'));
        if (!this.#closed) this.#tally.lost++;
      });
      const { path, protocol } = this.#dialect;
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n` +
          'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
          (protocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol}\r\n`) +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
      );
    });
  }

  ready() {
    this.#ready?.();
  }

  /** @param {Error} error */
  failed(error) {
    this.#failed?.(error);
  }

  /** @param {string[]} texts a frame each, in one write */
  send(...texts) {
    const frames = texts.map((text) => maskedFrame(TEXT_FRAME, Buffer.from(text)));
    const [first] = frames;
    this.#socket?.write(frames.length === 1 && first ? first : Buffer.concat(frames));
  }

  /** Sends a message that carries the time, of 100 bytes unless a text is given. */
  sendMessage(text = PADDING) {
    const stamp = String(Math.round(performance.now() * 1000)).padStart(STAMP_DIGITS, '0');
    this.send(this.#dialect.message(`@${stamp}${text}`));
  }

  /** Without a closing handshake, so that the port is free at once. */
  close() {
    this.#closed = true;
    this.#socket?.resetAndDestroy();
  }

  /** @param {number} size */
  #read(size) {
    let bytes = READ_BUFFER;
    let end = size;
    if (this.#rest !== undefined) {
      bytes = Buffer.concat([this.#rest, READ_BUFFER.subarray(0, size)]);
      end = bytes.length;
      this.#rest = undefined;
    }
    let at = 0;
    if (!this.#upgraded) {
      const head = bytes.subarray(0, end).indexOf('\r\n\r\n');
      if (head === -1) {
        this.#rest = Buffer.from(bytes.subarray(0, end));
        return;
      }
      if (!bytes.subarray(0, 12).toString('latin1').startsWith('HTTP/1.1 101')) {
        this.failed(new Error(bytes.subarray(0, end).toString('latin1').slice(0, 300)));
        return;
      }
      this.#upgraded = true;
      at = head + 4;
      this.#dialect.onOpen?.(this);
    }
    const { messageSign } = this.#dialect;
    const isSampled = this.#isSampled;
    while (end - at >= 2) {
      let length = bytes[at + 1];
      let start = at + 2;
      if (length === 126) {
        if (end - at < 4) break;
        length = bytes.readUInt16BE(at + 2);
        start = at + 4;
      } else if (length === 127) {
        if (end - at < 10) break;
        length = Number(bytes.readBigUInt64BE(at + 2));
        start = at + 10;
      }
      const next = start + length;
      if (next > end) break;
      // The letter `m` of the type or event `message`: no other frame has an `m` at this place.
      if (bytes[at] === TEXT_FRAME && length > 20 && bytes[start + messageSign] === 0x6d) {
        this.received++;
        if (this.#tally.isOpen) {
          this.#tally.delivered++;
          if (isSampled) this.#sample(bytes, start);
        }
        if (this.onMessage !== undefined) this.onMessage(this);
      } else {
        this.#control(bytes[at], bytes.subarray(start, next));
      }
      at = next;
    }
    if (at < end) this.#rest = Buffer.from(bytes.subarray(at, end));
  }

  /**
   * @param {Buffer} bytes
   * @param {number} start
   */
  #sample(bytes, start) {
    const sign = bytes.indexOf(STAMP_SIGN, start);
    let micros = 0;
    for (let i = sign + 1; i <= sign + STAMP_DIGITS; i++) {
      micros = micros * 10 + bytes[i] - 0x30;
    }
    this.#tally.add(performance.now() - micros / 1000);
  }

  /**
   * @param {number} opcode
   * @param {Buffer} payload
   */
  #control(opcode, payload) {
    if (opcode === TEXT_FRAME) this.#dialect.onText(this, payload.toString());
    else if (opcode === PING_FRAME) this.#socket?.write(maskedFrame(PONG, payload));
  }
}

/**
 * @param {number} opcode
 * @param {Buffer} payload up to 64 KiB
 */
function maskedFrame(opcode, payload) {
  const { length } = payload;
  const head = length < 126 ? 6 : 8;
  const frame = Buffer.allocUnsafe(head + length);
  frame[0] = opcode;
  if (length < 126) {
    frame[1] = 0x80 | length;
  } else {
    frame[1] = 0x80 | 126;
    frame.writeUInt16BE(length, 2);
  }
  for (let i = 0; i < 4; i++) frame[head - 4 + i] = MASK[i];
  for (let i = 0; i < length; i++) {
    frame[head + i] = payload[i] ^ MASK[i & 3];
  }
  return frame;
}
