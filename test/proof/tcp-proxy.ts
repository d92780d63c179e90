import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** How long a half-open link is kept, as if only then the keep-alives of TCP noticed. */
const SWALLOWED_KEPT_MS = 60_000;
const THROTTLE_TICK_MS = 50;
/** Bytes that one direction of a link may hold back. With more, its sender is not read. */
const MAX_HELD_BYTES = 65_536;

/** The conditions of all links of a proxy, open and new ones. */
export interface Conditions {
  /** The latency of the next bytes. */
  readonly latencyMs?: () => number;
  /** The limit of each direction of each link. */
  readonly bytesPerSecond?: number;
  /** Each link is cut after this number of bytes of its next chunk that has more. */
  readonly cutAfterBytes?: number;
}

/** A TCP port in front of a server, whose links fail as networks do. */
export class TcpProxy {
  /** The server's URL with this port. */
  readonly url: string;
  readonly #server: Server;
  readonly #port: number;
  readonly #links = new Set<Link>();
  #target: URL;
  #conditions: Conditions = {};
  #swallows = false;

  private constructor(server: Server, url: string) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.#target = new URL(url);
    const ownUrl = new URL(url);
    ownUrl.host = `127.0.0.1:${this.#port}`;
    this.url = ownUrl.href;
    server.on('connection', (client: Socket) => {
      this.#lead(client);
    });
  }

  /** Opens a port on 127.0.0.1 in front of the server of `url`, which must have a port. */
  static async open(url: string): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TcpProxy(server, url);
  }

  /** The local ports of the links to the server, by which the server's connections can be told apart. */
  get upstreamPorts(): number[] {
    return [...this.#links].flatMap((link) => link.upstreamPort ?? []);
  }

  /** Replaces the conditions of all links. */
  set conditions(conditions: Conditions) {
    this.#conditions = conditions;
  }

  /** Connects new links to another server. */
  leadTo(url: string): void {
    this.#target = new URL(url);
  }

  /**
   * Makes links half-open: no byte passes any more, and neither side is closed. This holds for open links, and for new
   * ones until `swallowNoMore`. These links stay half-open after it, too.
   */
  swallow(): void {
    this.#swallows = true;
    for (const link of this.#links) link.swallow();
  }

  /** New links work again. */
  swallowNoMore(): void {
    this.#swallows = false;
  }

  /** Breaks all links. */
  breakLinks(): void {
    for (const link of this.#links) link.reset();
  }

  /** As if the server had ended: links break, and new ones are refused. */
  async cut(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.breakLinks();
    await closed;
  }

  /** Accepts links again, after `cut`. */
  async restore(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  close(): Promise<void> {
    return this.cut();
  }

  #lead(client: Socket): void {
    const upstream = this.#swallows
      ? undefined
      : connect({
          port: Number(this.#target.port),
          host: this.#target.hostname,
          allowHalfOpen: true,
        });
    const link = new Link(
      client,
      upstream,
      () => this.#conditions,
      () => this.#links.delete(link),
    );
    this.#links.add(link);
    if (upstream === undefined) link.swallow();
  }
}

/** A connection to the port, and its connection to the server. */
class Link {
  readonly #sockets: readonly Socket[];
  readonly #directions: readonly Direction[];
  readonly #upstream: Socket | undefined;
  #swallowed = false;
  #forgetTimer: NodeJS.Timeout | undefined;

  constructor(
    client: Socket,
    upstream: Socket | undefined,
    conditions: () => Conditions,
    onClosed: () => void,
  ) {
    this.#upstream = upstream;
    this.#sockets = upstream === undefined ? [client] : [client, upstream];
    const cut = (): void => {
      this.reset();
    };
    this.#directions =
      upstream === undefined
        ? []
        : [
            new Direction(client, upstream, conditions, cut),
            new Direction(upstream, client, conditions, cut),
          ];
    for (const socket of this.#sockets) {
      socket.setNoDelay(true);
      // `close` follows.
      socket.on('error', () => undefined);
      socket.on('close', (hadError) => {
        if (hadError && !this.#swallowed) this.reset();
        if (this.#sockets.every((other) => other.destroyed)) {
          clearTimeout(this.#forgetTimer);
          onClosed();
        }
      });
    }
  }

  get upstreamPort(): number | undefined {
    return this.#upstream?.localPort;
  }

  /** Loses all further bytes, and the end of each side. */
  swallow(): void {
    if (this.#swallowed) return;
    this.#swallowed = true;
    for (const direction of this.#directions) direction.end();
    for (const socket of this.#sockets) socket.removeAllListeners('data').resume();
    this.#forgetTimer = setTimeout(() => {
      this.reset();
    }, SWALLOWED_KEPT_MS).unref();
  }

  reset(): void {
    for (const direction of this.#directions) direction.end();
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }
}

/** One direction of a link. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #conditions: () => Conditions;
  readonly #cut: () => void;
  /** The chunks in order; one without bytes is the end. */
  #held: { bytes: Buffer | undefined; dueAt: number }[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(from: Socket, to: Socket, conditions: () => Conditions, cut: () => void) {
    this.#from = from;
    this.#to = to;
    this.#conditions = conditions;
    this.#cut = cut;
    from.on('data', (bytes: Buffer) => {
      this.#take(bytes);
    });
    from.on('end', () => {
      this.#hold(undefined);
    });
    to.on('drain', () => from.resume());
  }

  /** Drops the held bytes, and all that follow. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#held = [];
  }

  #take(bytes: Buffer): void {
    if (this.#ended) return;
    const { cutAfterBytes = Infinity } = this.#conditions();
    if (bytes.length <= cutAfterBytes) {
      this.#hold(bytes);
      return;
    }
    this.#ended = true;
    this.#to.write(bytes.subarray(0, cutAfterBytes), this.#cut);
  }

  #hold(bytes: Buffer | undefined): void {
    if (this.#ended) return;
    const { latencyMs, bytesPerSecond } = this.#conditions();
    if (latencyMs === undefined && bytesPerSecond === undefined && this.#held.length === 0) {
      this.#pass(bytes);
      return;
    }
    // No chunk overtakes the one before.
    const earliest = this.#held.at(-1)?.dueAt ?? 0;
    this.#held.push({ bytes, dueAt: Math.max(earliest, performance.now() + (latencyMs?.() ?? 0)) });
    this.#heldBytes += bytes?.length ?? 0;
    if (this.#heldBytes > MAX_HELD_BYTES) this.#from.pause();
    this.#timer ??= this.#wait();
  }

  /** Passes on the chunks that are due, up to the limit. */
  #release(): void {
    this.#timer = undefined;
    const { bytesPerSecond = Infinity } = this.#conditions();
    let allowed = (bytesPerSecond * THROTTLE_TICK_MS) / 1_000;
    for (let [next] = this.#held; next !== undefined && allowed > 0; [next] = this.#held) {
      if (next.dueAt > performance.now()) break;
      const part = next.bytes?.subarray(0, allowed);
      const passed = part?.length ?? 0;
      allowed -= passed;
      this.#heldBytes -= passed;
      if (next.bytes !== undefined && passed < next.bytes.length) {
        next.bytes = next.bytes.subarray(passed);
      } else this.#held.shift();
      this.#pass(part);
    }
    if (this.#heldBytes <= MAX_HELD_BYTES) this.#from.resume();
    if (this.#held.length > 0) this.#timer = this.#wait();
  }

  #wait(): NodeJS.Timeout {
    const isThrottled = this.#conditions().bytesPerSecond !== undefined;
    const untilDue = (this.#held[0]?.dueAt ?? 0) - performance.now();
    return setTimeout(
      () => {
        this.#release();
      },
      Math.max(untilDue, isThrottled ? THROTTLE_TICK_MS : 0),
    );
  }

  #pass(bytes: Buffer | undefined): void {
    if (bytes === undefined) this.#to.end();
    else if (!this.#to.write(bytes)) this.#from.pause();
  }
}
