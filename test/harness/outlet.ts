import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP port that leads to a server, and can fail as that server would. */
export interface Outlet {
  /** The server's URL, but by way of this port. */
  readonly url: string;
  /** Connections that are open. */
  readonly connections: number;
  /** As when the server ends: connections break, and new ones are refused. */
  cut(): Promise<void>;
  /** Leads on again, after `cut`; to another server where one is given. */
  restore(url?: string): Promise<void>;
  /** As when the server hangs: connections are taken and kept, and nothing goes through. */
  stall(): void;
  /** As when answers are lost: what is sent over the connections that are open arrives, and nothing comes back. */
  mute(): void;
  /**
   * As when a link is half open: what is sent over the connections that are open is lost both ways, for ever, and none
   * of them is closed. New ones work.
   */
  swallow(): void;
  /** Leads on again, after `stall` or `mute`. */
  resume(): void;
  close(): Promise<void>;
}

/** The ways in which the server behind an outlet may fail, and come back. */
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

/** Opens a port on 127.0.0.1 that leads to the server of `url`, which names its port. */
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
    // Where it is led in one direction already, it is not led there twice.
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
        // Its end is not told, either.
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
