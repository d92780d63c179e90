import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * For localhost, and for nothing but these tests, until 2126:
 * openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost
 */
export const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6J/AFfzS1WdO/AfO
gvTdFqhIWE4SGhu/zljqhmJ2OY6hRANCAAR+7qeVn/177zs3OAm/s8Qta6f3oE/U
oq8WjGw9q8vFQ+ti0wC2SJ81oTMZ/w/lwTsDHvvPAFDGlnQttRAsbt2q
-----END PRIVATE KEY-----`;
export const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUFdW8P/eVaX6Ncz9k/xNy2dMDOlAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTEzMDgyMFoYDzIxMjYxMTAx
MTMwODIwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR+7qeVn/177zs3OAm/s8Qta6f3oE/Uoq8WjGw9q8vFQ+ti0wC2SJ81
oTMZ/w/lwTsDHvvPAFDGlnQttRAsbt2qo1MwUTAdBgNVHQ4EFgQUd7+bOq5w919V
0TaaoVvuYQRmNlQwHwYDVR0jBBgwFoAUd7+bOq5w919V0TaaoVvuYQRmNlQwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAoiXCvCONXsvjXh/Y78EO
SQLb4Y1EB6Q2EIbZN3dVl4ECIAOOIf0Uvfg7hAnzqkGBfz8RZOzgyIRzT8xhceFU
8pum
-----END CERTIFICATE-----`;

/** Length and code of the message that requests TLS ("SSLRequest" in the Postgres documentation, 55.7). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** A port that accepts only TLS, in the way of Postgres, in front of a Postgres without TLS. */
export interface TlsFront {
  /** The URL of the database through this port; its certificate is not checked. */
  readonly url: string;
  close(): Promise<void>;
}

export async function openTlsFront(url: string): Promise<TlsFront> {
  const target = new URL(url);
  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.on('error', () => undefined);
    client.on('close', () => clients.delete(client));
    client.once('data', (request: Buffer) => {
      if (!request.equals(SSL_REQUEST)) {
        client.destroy();
        return;
      }
      client.write('S');
      const secure = new TLSSocket(client, { isServer: true, key: KEY, cert: CERTIFICATE });
      const upstream = connect(Number(target.port), target.hostname);
      for (const socket of [secure, upstream]) socket.on('error', () => undefined);
      client.on('close', () => upstream.destroy());
      upstream.on('close', () => client.destroy());
      secure.pipe(upstream).pipe(secure);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const ownUrl = new URL(url);
  ownUrl.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  ownUrl.searchParams.set('sslmode', 'no-verify');
  return {
    url: ownUrl.href,
    async close() {
      const closed = once(server, 'close');
      server.close();
      for (const client of clients) client.destroy();
      await closed;
    },
  };
}
