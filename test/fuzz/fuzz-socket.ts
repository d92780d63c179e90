import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { WebSocket } from 'ws';
import { CLOSE_CODES } from '../../src/protocol/close-codes.js';
import { SUBPROTOCOL_V2 } from '../../src/protocol/versions.js';
import type { ServerFrame } from '../harness/chat-client.js';
import { nameOfFrame, type RequireFrame } from '../harness/documented-frames.js';
import { ANSWER_WITHIN_MS } from '../proof/verdict.js';

/** Protocol errors that `ws` answers by itself, as docs/PROTOCOL.md lists them. */
const CLOSES_OF_RFC = [1002, 1007, 1008];
const CLOSES: ReadonlySet<number> = new Set([
  ...Object.values(CLOSE_CODES).map(({ code }) => code),
  ...CLOSES_OF_RFC,
]);
/** The client's close frame, which the server answers with the same, has no code; or there was no close frame. */
const CLOSES_BY_CLIENT: ReadonlySet<number> = new Set([1005, 1006]);

/** What the sockets of a run have in common. */
export interface SocketSetting {
  readonly requireFrame: RequireFrame;
  /** Whether a received frame is to be lost, to show that the checks notice it. */
  readonly isLost: () => boolean;
  readonly totals: { frames: number };
}

interface EntryData {
  readonly room_id: number;
  readonly seq?: number;
  readonly permissions?: string;
}

/** A client that checks each frame as it comes, and in version 2 that no room's number is left out. */
export class FuzzSocket {
  readonly socket: WebSocket;
  readonly connection: Socket;
  readonly version: 'v1' | 'v2';
  /** By ref, how many answers have come. */
  readonly answers = new Map<string, number>();
  /** By ref, the number that SENT has told. */
  readonly sent = new Map<string, number>();
  /** The questions that were asked: the answers of version 1 that name no message. */
  questions = 0;
  /** Of the last frame that came in each room: the number of its entry. */
  readonly last = new Map<number, number>();
  #received: ((frame: ServerFrame) => void) | undefined;
  #fault: string | undefined;
  /** The code with which it was closed. */
  #code: number | undefined;

  private constructor(
    socket: WebSocket,
    connection: Socket,
    version: 'v1' | 'v2',
    { requireFrame, isLost, totals }: SocketSetting,
  ) {
    this.socket = socket;
    this.connection = connection;
    this.version = version;
    connection.on('error', () => undefined);
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer) => {
      if (isLost()) return;
      totals.frames += 1;
      try {
        const frame = JSON.parse(data.toString()) as ServerFrame;
        requireFrame(version, nameOfFrame(frame), frame);
        this.#take(frame);
      } catch (error) {
        this.#fault ??= (error as Error).message;
      }
      this.#received?.({ type: '', data: '' });
    });
    socket.on('close', (code) => {
      this.#code = code;
      this.#received?.({ type: '', data: '' });
    });
  }

  static async open(
    chatUrl: string,
    version: 'v1' | 'v2',
    setting: SocketSetting,
  ): Promise<FuzzSocket> {
    const { hostname, port } = new URL(chatUrl);
    const connection = connect({ host: hostname, port: Number(port), noDelay: true });
    const socket = new WebSocket(chatUrl, version === 'v2' ? [SUBPROTOCOL_V2] : [], {
      createConnection: () => connection,
      perMessageDeflate: false,
    });
    const client = new FuzzSocket(socket, connection, version, setting);
    await once(socket, 'open');
    return client;
  }

  get isClosed(): boolean {
    return this.#code !== undefined;
  }

  send(command: object): void {
    this.socket.send(JSON.stringify(command));
  }

  /** Resolves once it is so, which is looked at after each frame; rejects if the socket closes first, or takes too long. */
  async until(isSo: () => boolean, what: string): Promise<void> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#received?.({ type: '', data: '' });
    }, ANSWER_WITHIN_MS);
    try {
      while (!isSo()) {
        if (this.#fault !== undefined) throw new Error(this.#fault);
        if (this.isClosed) throw new Error(`${what}: closed with ${this.#code}`);
        if (isLate) throw new Error(`${what}: it did not come in time`);
        await new Promise<unknown>((resolve) => {
          this.#received = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves with the close code when the server has ended the connection; rejects if it does not. */
  async closed(): Promise<number> {
    await this.until(() => this.isClosed, 'the end of a socket');
    return this.#code ?? 0;
  }

  /** Throws if something was wrong with a frame, or with the end. */
  check({ isCutByClient }: { readonly isCutByClient: boolean }): void {
    if (this.#fault !== undefined) throw new Error(this.#fault);
    const code = this.#code;
    if (code === undefined || CLOSES.has(code)) return;
    if (isCutByClient && CLOSES_BY_CLIENT.has(code)) return;
    throw new Error(`closed with ${code}`);
  }

  #take({ type, data, ref, ...more }: ServerFrame): void {
    if (type === 'query') this.questions += 1;
    else if (type === 'status') this.#answered(String(data), ref, more);
    else this.#event(data as EntryData);
  }

  #answered(word: string, ref: unknown, more: Record<string, unknown>): void {
    const { room_id: roomId, from, seq } = more;
    if (word === 'INTERNAL') this.#fault ??= 'INTERNAL';
    if (typeof ref === 'string') {
      this.answers.set(ref, (this.answers.get(ref) ?? 0) + 1);
      if (word === 'SENT') this.sent.set(ref, Number(seq));
    }
    // Version 1 does not say where it begins, which may be further back.
    if (word === 'CONNECTED') this.last.set(Number(roomId), Number(from ?? 0));
  }

  #event({ room_id: roomId, seq, permissions }: EntryData): void {
    if (seq === undefined) {
      if (permissions === '') this.last.delete(roomId);
      return;
    }
    const before = this.last.get(roomId);
    const isNext = this.version === 'v1' ? seq > (before ?? 0) : seq === (before ?? 0) + 1;
    if (!isNext) {
      this.#fault ??= `${seq} of room ${roomId} came after ${before ?? 'no CONNECTED'}`;
    }
    this.last.set(roomId, seq);
  }
}
