import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';

/** Messages of a Postgres server (the Postgres documentation, 55.7 "Message Formats"). */
export const SAYS = {
  authenticationOk: message('R', Buffer.alloc(4)),
  authenticationGss: message('R', Buffer.from([0, 0, 0, 7])),
  readyForQuery: message('Z', Buffer.from('I')),
  /** A RowDescription that ends before the first of its five fields. */
  halfARowDescription: message('T', Buffer.from([0, 5])),
  terminated: message(
    'E',
    Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'),
  ),
} as const;

/** A server that sends the bytes of a test, for answers that a real Postgres gives only now and then. */
export interface FakePostgres {
  readonly url: string;
  close(): Promise<void>;
}

/** @param greet answers the first bytes of each connection */
export async function startFakePostgres(greet: (socket: Socket) => void): Promise<FakePostgres> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.once('data', () => {
      greet(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `postgres://ana:hush@127.0.0.1:${(server.address() as AddressInfo).port}/chat`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}
