import { CLOSE_CODES, type CloseReason } from '../protocol/close-codes.js';
import { SUBPROTOCOL_V2 } from '../protocol/versions.js';
import { platform, type SocketClass, type Socket } from './platform.js';
import type { Frame, Status, StopReason } from './wire.js';

/**
 * `connecting`: a token is fetched, the socket is opened. `online`: the token was accepted. `offline`: it waits until it
 * tries again. `stopped`: it never will.
 */
export type ConnectionState = 'connecting' | 'online' | 'offline' | 'stopped';

/** The waits between attempts to connect: a random part (full jitter) of a bound that doubles from the first to the last. */
const FIRST_WAIT_MS = 500;
const MOST_WAIT_MS = 20_000;
/** From the beginning of an attempt to READY. The server waits as long for a token by default. */
const CONNECT_TIMEOUT_MS = 10_000;
/** After so long without a frame it asks for one; proxies forget idle connections after a minute. */
const PING_AFTER_MS = 25_000;
/** For the answer: the server gives a client as long by default. */
const PONG_TIMEOUT_MS = 10_000;
/** A token is refreshed so long before it ends, or at half its time. */
const REFRESH_BEFORE_MS = 60_000;
/** The longest delay of a timer. */
const MOST_DELAY_MS = 0x7fff_ffff;

interface Options {
  /** Of the socket. */
  readonly url: string;
  readonly WebSocket: SocketClass;
  /** A fresh token for each attempt. */
  readonly token: () => Promise<string>;
  readonly onState: (state: ConnectionState, ready?: Status) => void;
  readonly onFrame: (frame: Frame) => void;
}

/** A socket that is opened again until it is closed, or the server closes it with a code that says to stop. */
export class Connection {
  state: ConnectionState = 'offline';
  /** Why it stopped. */
  stopReason: StopReason | undefined;
  readonly #options: Options;
  #socket: Socket | undefined;
  #attempts = 0;
  /** What the server asked to wait at least. */
  #leastWaitMs = 0;
  /** The wait, the time limit of an attempt, or the next ping. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  readonly #wake = (): void => {
    if (platform.document?.visibilityState !== 'hidden') this.check();
  };

  constructor(options: Options) {
    this.#options = options;
    platform.addEventListener?.('online', this.#wake);
    platform.document?.addEventListener('visibilitychange', this.#wake);
    this.#connect();
  }

  send(command: object): void {
    if (this.state === 'online') this.#socket?.send(JSON.stringify(command));
  }

  /** Connects at once if it waits; if it is online, asks the server for a sign of life. */
  check(): void {
    if (this.state === 'offline') this.#connect();
    else if (this.state === 'online') this.#ping();
  }

  /** Ends it for good. */
  stop(reason: StopReason): void {
    if (this.state === 'stopped') return;
    platform.removeEventListener?.('online', this.#wake);
    platform.document?.removeEventListener('visibilitychange', this.#wake);
    this.stopReason = reason;
    this.#drop();
    this.#become('stopped');
  }

  #become(state: ConnectionState, ready?: Status): void {
    this.state = state;
    this.#options.onState(state, ready);
  }

  #connect(): void {
    this.#attempts += 1;
    this.#startTimer(CONNECT_TIMEOUT_MS, () => {
      this.#lost();
    });
    this.#become('connecting');
    const { url, WebSocket } = this.#options;
    const socket = new WebSocket(url, SUBPROTOCOL_V2);
    this.#socket = socket;
    // Fetched while the socket is opened.
    const token = this.#options.token();
    token.catch(() => {
      if (this.#socket === socket) this.#lost();
    });
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket !== socket) return;
      const frame = JSON.parse(String(data)) as Frame;
      if (this.state === 'online') this.#pingLater();
      if (frame.type === 'query') void this.#sendToken(socket, token);
      else this.#received(frame);
    });
    // `close` follows, and says more.
    socket.addEventListener('error', () => undefined);
    socket.addEventListener('close', ({ code }) => {
      if (this.#socket === socket) this.#closed(code);
    });
  }

  async #sendToken(socket: Socket, token: Promise<string>): Promise<void> {
    try {
      const content = await token;
      if (this.#socket === socket) socket.send(JSON.stringify({ type: 'token', content }));
    } catch {
      // The next attempt fetches another one. A refresh that failed: the token that is about to end is still good.
    }
  }

  #received(frame: Frame): void {
    const status = frame as Status;
    const { data: word, retry_after_ms: retryAfterMs = 0 } = status;
    if (frame.type === 'status' && frame.ref === undefined) {
      this.#leastWaitMs = retryAfterMs;
      if (word === 'READY') {
        this.#ready(status);
        return;
      }
      if (word === 'BADAUTH') {
        this.#lost();
        return;
      }
    }
    this.#options.onFrame(frame);
  }

  #ready(status: Status): void {
    const { expires_in_ms: left } = status;
    clearTimeout(this.#refresh);
    if (left !== undefined) {
      const delay = Math.max(left - REFRESH_BEFORE_MS, left / 2);
      this.#refresh = setTimeout(
        () => {
          const socket = this.#socket;
          if (socket !== undefined) void this.#sendToken(socket, this.#options.token());
        },
        Math.min(delay, MOST_DELAY_MS),
      );
    }
    if (this.state === 'online') return;
    this.#attempts = 0;
    this.#pingLater();
    this.#become('online', status);
  }

  #pingLater(): void {
    this.#startTimer(PING_AFTER_MS, () => {
      this.#ping();
    });
  }

  #ping(): void {
    this.send({ type: 'ping' });
    // Any frame ends this wait.
    this.#startTimer(PONG_TIMEOUT_MS, () => {
      this.#lost();
    });
  }

  #closed(code: number): void {
    const known = Object.entries(CLOSE_CODES).find(([, row]) => row.code === code);
    if (known?.[1].reconnect === false) this.stop(known[0] as CloseReason);
    else this.#lost();
  }

  /** The connection is broken, or never came about: waits, and tries again. */
  #lost(): void {
    this.#drop();
    const most = Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(this.#attempts, 10));
    this.#startTimer(this.#leastWaitMs + Math.random() * most, () => {
      this.#connect();
    });
    this.#become('offline');
  }

  #drop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#refresh);
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    try {
      socket.close();
    } catch {
      // It was not open yet.
    }
  }

  #startTimer(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }
}
