import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP port in front of a server, which can fail as that server may. */
export interface Outlet {
  /** The server's URL with this port. */
  readonly url: string;
  /** The number of open connections. */
  readonly connections: number;
  /** As if the server had ended: connections break, and new ones are refused. */
  cut(): Promise<void>;
  /** Forwards again after `cut`, to another server if one is given. */
  restore(url?: string): Promise<void>;
  /** As if the server hung: connections are accepted and kept, and no byte is forwarded. */
  stall(): void;
  /** As if answers were lost: open connections forward bytes to the server, and none back. */
  mute(): void;
  /**
   * As if links were half open: all bytes of the open connections are lost, in both directions and for ever, and none
   * of them is closed. New connections work.
   */
  swallow(): void;
  /** Forwards again after `stall` or `mute`. */
  resume(): void;
  close(): Promise<void>;
}

/** The ways in which the server behind an outlet may fail and recover. */
export const OUTLET_FAULTS = [
  {
    fault: 'hangs',
    fail: (at: Outlet): Promise<void> => Promise.resolve(at.stall()),
    mend: (at: Outlet): Promise<void> => Promise.resolve(at.resume()),
  },
  {
    fault: 'is away',
    fail: (at: Outlet): Promise<void> => at.cut(),
    mend: (at: Outlet): Promise<void> => at.restore(),
  },
] as const;

/** Opens a port on 127.0.0.1 in front of the server of `url`, which must have a port. */
export async function openOutlet(url: string): Promise<Outlet> {
  let target = new URL(url);
  let stalled = false;
  const pairs = new Map<Socket, Socket | undefined>();
  const swallowed = new WeakSet<Socket>();
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (client) => {
    pairs.set(client, undefined);
    client.on('error', () => undefined);
    client.on('close', () => {
      pairs.get(client)?.destroy();
      pairs.delete(client);
    });
    if (!stalled) lead(client);
  });

  function lead(client: Socket): void {
    const upstream = pairs.get(client) ?? connect(Number(target.port), target.hostname);
    if (pairs.get(client) === undefined) {
      pairs.set(client, upstream);
      upstream.on('error', () => undefined);
      upstream.on('close', () => client.destroy());
    }
    // `unpipe` first: one direction may still be piped, after `mute`.
    client.unpipe().pipe(upstream);
    upstream.unpipe().pipe(client);
  }

  async function listen(port: number): Promise<number> {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  async function cut(): Promise<void> {
    if (!server.listening) return;
    const closed = once(server, 'close');
    server.close();
    for (const client of pairs.keys()) client.destroy();
    await closed;
  }

  const port = await listen(0);
  const ownUrl = new URL(url);
  ownUrl.host = `127.0.0.1:${port}`;
  return {
    url: ownUrl.href,
    get connections() {
      return pairs.size;
    },
    cut,
    async restore(newUrl) {
      if (newUrl !== undefined) target = new URL(newUrl);
      await listen(port);
    },
    stall() {
      stalled = true;
      for (const [client, upstream] of pairs) {
        client.unpipe().pause();
        upstream?.unpipe().pause();
      }
    },
    mute() {
      stalled = true;
      for (const upstream of pairs.values()) upstream?.unpipe().pause();
    },
    swallow() {
      for (const [client, upstream] of pairs) {
        swallowed.add(client);
        client.unpipe().resume();
        upstream?.unpipe().resume();
        // The end of one side is lost, too.
        upstream?.removeAllListeners('close');
      }
    },
    resume() {
      stalled = false;
      for (const client of pairs.keys()) if (!swallowed.has(client)) lead(client);
    },
    close: cut,
  };
}
