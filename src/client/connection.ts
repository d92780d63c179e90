import { SUBPROTOCOL_V2 } from '../protocol/versions.js';
import { backoff } from './backoff.js';
import { platform, type SocketClass, type Socket } from './platform.js';
import type { Frame, OfflineReason, Status, StopReason } from './wire.js';

/**
 * `connecting`: a token is fetched, the socket is opened. `online`: the token was accepted. `offline`: it waits until it
 * tries again. `stopped`: it never will.
 */
export type ConnectionState = 'connecting' | 'online' | 'offline' | 'stopped';

/** The longest wait between attempts to connect. */
const MOST_WAIT_MS = 20_000;
/** From the beginning of an attempt to READY. The server waits as long for a token by default. */
const CONNECT_TIMEOUT_MS = 10_000;
/** After so long without a frame it asks for one; proxies forget idle connections after a minute. */
const PING_AFTER_MS = 25_000;
/** For the answer: the server gives a client as long by default. */
const PONG_TIMEOUT_MS = 10_000;
/** For the answer if the user has just come back: somebody waits for it. */
const WAKE_TIMEOUT_MS = 3_000;
/** A token is refreshed so long before it ends, or at half its time. */
const REFRESH_BEFORE_MS = 60_000;
/** With less left, a token that could not be refreshed is let end. */
const LEAST_REFRESH_MS = 1_000;
/** The longest delay of a timer. */
const MOST_DELAY_MS = 0x7fff_ffff;
/** The close codes behind which docs/PROTOCOL.md forbids to reconnect; the server's own are those of `CLOSE_CODES`. */
export const STOPS: Readonly<Record<number, StopReason>> = {
  1000: 'NORMAL',
  1002: 'PROTOCOL',
  1007: 'PROTOCOL',
  1008: 'PROTOCOL',
  1009: 'TOO_BIG',
  4400: 'BAD_JSON',
};

interface Options {
  /** Of the socket. */
  readonly url: string;
  readonly WebSocket: SocketClass;
  /** A fresh token for each attempt. */
  readonly token: () => Promise<string>;
  /** READY: it is online, of which `onState` tells next. */
  readonly onReady: (ready: Status) => void;
  /** Told of each state, with the reason if one is known. */
  readonly onState: (state: ConnectionState, reason?: StopReason | OfflineReason) => void;
  readonly onFrame: (frame: Frame) => void;
}

/** A socket that is opened again until it is closed, or the server closes it with a code that says to stop. */
export class Connection {
  state: ConnectionState = 'offline';
  readonly #options: Options;
  #socket: Socket | undefined;
  /** Attempts since it was last online. */
  #attempts = 0;
  /** When the server asked to come back at the earliest, by `performance.now()`. */
  #notBefore = 0;
  /** The wait, the time limit of an attempt, or the next ping. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether it waits for the answer to a ping. */
  #isPinging = false;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  /** Aborted when it stops. */
  readonly #stopping = new AbortController();

  constructor(options: Options) {
    this.#options = options;
    const { document } = platform;
    const { signal } = this.#stopping;
    const check = (): void => {
      this.check();
    };
    platform.addEventListener?.('online', check, { signal });
    platform.addEventListener?.('offline', check, { signal });
    document?.addEventListener(
      'visibilitychange',
      () => {
        if (document.visibilityState === 'visible') check();
      },
      { signal },
    );
  }

  /** Connects at once if it waits; if it is online, asks the server for a sign of life. */
  check(): void {
    if (this.state === 'offline') this.#connect();
    else if (this.state === 'online') this.#ping(WAKE_TIMEOUT_MS);
  }

  /** Nothing if it is not online. */
  send(command: object): void {
    if (this.state === 'online') this.#socket?.send(JSON.stringify(command));
  }

  /** Ends it for good. */
  stop(reason: StopReason): void {
    if (this.state === 'stopped') return;
    this.#stopping.abort();
    this.#drop();
    this.#become('stopped', reason);
  }

  #become(state: ConnectionState, reason?: StopReason | OfflineReason): void {
    this.state = state;
    this.#options.onState(state, reason);
  }

  #connect(): void {
    this.#attempts += 1;
    this.#startTimer(CONNECT_TIMEOUT_MS, () => {
      this.#lost();
    });
    const { url, WebSocket } = this.#options;
    let socket: Socket;
    try {
      socket = new WebSocket(url, SUBPROTOCOL_V2);
    } catch {
      // Whatever the browser forbids now, it may allow later.
      this.#lost();
      return;
    }
    this.#socket = socket;
    // Fetched while the socket is opened.
    const token = this.#options.token();
    token.catch(() => {
      if (this.#socket === socket) this.#lost('NO_TOKEN');
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
    this.#become('connecting');
  }

  async #sendToken(socket: Socket, token: Promise<string>): Promise<void> {
    try {
      const content = await token;
      if (this.#socket === socket) socket.send(JSON.stringify({ type: 'token', content }));
    } catch {
      // The next attempt fetches another one.
    }
  }

  #received(frame: Frame): void {
    const status = frame as Status;
    const { data: word, ref, retry_after_ms: waitMs } = status;
    if (frame.type === 'status' && ref === undefined) {
      if (waitMs) this.#notBefore = performance.now() + waitMs;
      if (word === 'READY') this.#ready(status);
      // If it was a refresh, the token before is still good.
      if (word === 'BADAUTH' && this.state !== 'online') this.#lost('UNAUTHORIZED');
    }
    // An answer without a ref is dropped there.
    this.#options.onFrame(frame);
  }

  #ready(ready: Status): void {
    this.#refreshWithin(ready.expires_in_ms);
    if (this.state === 'online') return;
    this.#attempts = this.#notBefore = 0;
    this.#pingLater();
    this.state = 'online';
    this.#options.onReady(ready);
    // Not if that was the end of it.
    if (this.#socket !== undefined) this.#become('online');
  }

  /** Sends a fresh token before the present one ends; again and again in what is left, until one is accepted. */
  #refreshWithin(leftMs = 0): void {
    clearTimeout(this.#refresh);
    // Without an end there is nothing to refresh.
    if (leftMs < LEAST_REFRESH_MS) return;
    const delay = Math.min(Math.max(leftMs - REFRESH_BEFORE_MS, leftMs / 2), MOST_DELAY_MS);
    this.#refresh = setTimeout(() => {
      this.#refreshWithin(leftMs - delay);
      if (this.#socket !== undefined) void this.#sendToken(this.#socket, this.#options.token());
    }, delay);
  }

  #pingLater(): void {
    this.#isPinging = false;
    this.#startTimer(PING_AFTER_MS, () => {
      this.#ping(PONG_TIMEOUT_MS);
    });
  }

  /** Any frame is an answer. */
  #ping(withinMs: number): void {
    if (this.#isPinging) return;
    this.#isPinging = true;
    this.send({ type: 'ping' });
    this.#startTimer(withinMs, () => {
      this.#lost();
    });
  }

  #closed(code: number): void {
    const reason = STOPS[code];
    if (reason === undefined) this.#lost();
    else this.stop(reason);
  }

  /** The connection is broken, or never came about: waits, and tries again. */
  #lost(reason?: OfflineReason): void {
    this.#drop();
    const leastMs = this.#notBefore - performance.now();
    this.#startTimer(backoff(this.#attempts, MOST_WAIT_MS, leastMs), () => {
      this.#connect();
    });
    this.#become('offline', reason);
  }

  #drop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#refresh);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #startTimer(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }
}
