import { once } from 'node:events';
import { WebSocket, type ClientOptions } from 'ws';
import type { MessageData } from '../../src/protocol/v1/events.js';
import { nameOfFrame, requireDocumentedFrame } from './documented-frames.js';
import type { TestNode } from './node.js';
import { PATIENCE_MS } from './patience.js';
import { SUBPROTOCOL_V2 } from '../../src/protocol/versions.js';
import type { Person } from './tokens.js';

/** A frame of the server. */
export interface ServerFrame {
  readonly type: string;
  readonly data: unknown;
  readonly [key: string]: unknown;
}

/**
 * A client that keeps each frame until a test takes it. `next` fails if no frame arrives; `barrier` shows that none is
 * left. Each frame must be as the AsyncAPI document has it.
 */
export class ChatClient {
  readonly socket: WebSocket;
  readonly #frames: ServerFrame[] = [];
  readonly #waiting: ((frame: ServerFrame) => void)[] = [];
  readonly #closed: Promise<{ code: number; reason: string }>;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as ServerFrame;
      const version = socket.protocol === SUBPROTOCOL_V2 ? 'v2' : 'v1';
      requireDocumentedFrame(version, nameOfFrame(frame), frame);
      const waiting = this.#waiting.shift();
      if (waiting) waiting(frame);
      else this.#frames.push(frame);
    });
    this.#closed = new Promise((resolve) => {
      socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
      });
    });
    socket.on('error', () => undefined);
  }

  /** Opens a socket; the greeting is not read. */
  static async open(url: string, options: ClientOptions = {}): Promise<ChatClient> {
    const client = new ChatClient(new WebSocket(url, options));
    await once(client.socket, 'open');
    return client;
  }

  /** Opens a socket of version 2; the greeting is not read. */
  static async openV2(url: string, options: ClientOptions = {}): Promise<ChatClient> {
    const client = new ChatClient(new WebSocket(url, SUBPROTOCOL_V2, options));
    await once(client.socket, 'open');
    return client;
  }

  /** Opens a socket of version 2, authenticates, and joins rooms. */
  static async enterV2(
    node: Pick<TestNode, 'chatUrl'>,
    who: Person,
    ...rooms: number[]
  ): Promise<ChatClient> {
    const client = await ChatClient.openV2(node.chatUrl);
    await client.#enters(async () => {
      client.send({ type: 'token', content: who.token });
      await client.expect('START?', 'READY');
      for (const room_id of rooms) {
        client.send({ type: 'join', rooms: [{ room_id }] });
        await client.expect('CONNECTED');
      }
    });
    return client;
  }

  /** Opens a socket, authenticates, and selects a room if one is given. */
  static async enter(
    node: Pick<TestNode, 'chatUrl'>,
    who: Person,
    roomId?: number,
  ): Promise<ChatClient> {
    const client = await ChatClient.open(node.chatUrl);
    await client.#enters(async () => {
      client.send({ type: 'token', content: who.token });
      await client.expect('START?', 'READY');
      if (roomId !== undefined) {
        client.send({ type: 'select_room', room_id: roomId });
        await client.expect('CONNECTED');
      }
    });
    return client;
  }

  /** If it fails, nobody has the client to end it. */
  async #enters(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.terminate();
      throw error;
    }
  }

  send(command: object): void {
    this.raw(JSON.stringify(command));
  }

  raw(data: string | Buffer, options: { binary?: boolean; fin?: boolean } = {}): void {
    this.socket.send(data, options);
  }

  say(content: string, more: object = {}): void {
    this.send({ type: 'message', content, ...more });
  }

  next(): Promise<ServerFrame> {
    const frame = this.#frames.shift();
    if (frame) return Promise.resolve(frame);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error('no frame came'));
      }, PATIENCE_MS);
      this.#waiting.push((arrived) => {
        clearTimeout(timer);
        resolve(arrived);
      });
    });
  }

  async take(count: number): Promise<ServerFrame[]> {
    const frames: ServerFrame[] = [];
    while (frames.length < count) frames.push(await this.next());
    return frames;
  }

  /** Frames of a type that have arrived and were not taken. */
  unread(type: string): ServerFrame[] {
    return this.#frames.filter((frame) => frame.type === type);
  }

  /** The next frames must be these words, in this order; returns them. */
  async expect(...words: string[]): Promise<ServerFrame[]> {
    const frames = await this.take(words.length);
    const got = frames.map((frame) => frame.data);
    if (JSON.stringify(got) !== JSON.stringify(words)) {
      throw new Error(`expected ${JSON.stringify(words)}, got ${JSON.stringify(got)}`);
    }
    return frames;
  }

  /** The next `count` frames must be messages; returns their contents. */
  async messages(count: number): Promise<string[]> {
    const frames = await this.take(count);
    const other = frames.find((frame) => frame.type !== 'message');
    if (other) throw new Error(`expected messages, got ${JSON.stringify(other)}`);
    return frames.map((frame) => (frame.data as MessageData).content);
  }

  /** Shows that this node has sent nothing else: the answer to a command is the next frame. */
  async barrier(): Promise<void> {
    this.send({ type: 'no such command' });
    await this.expect('COMMAND?');
  }

  closed(): Promise<{ code: number; reason: string }> {
    return this.#closed;
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.#closed;
  }

  /** Ends the connection without a close frame. */
  terminate(): void {
    this.socket.terminate();
  }
}

/** The number of a message. */
export function numberOf(frame: ServerFrame | undefined): number {
  if (frame?.type !== 'message') throw new Error(`no message: ${JSON.stringify(frame)}`);
  return (frame.data as MessageData).seq;
}
