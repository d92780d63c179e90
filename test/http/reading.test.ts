import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { createPacedReading } from '../../src/http/reading.js';
import { Pace } from '../../src/pace.js';
import { deferred } from '../harness/deferred.js';
import { HttpWire } from '../harness/http-wire.js';

const CONNECTIONS = 10;
const PIECES_A_TURN = 4;
const TERMINATOR = '0\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n';

let server: Server;
let wires: HttpWire[] = [];

afterEach(() => {
  for (const wire of wires) wire.destroy();
  wires = [];
  server.closeAllConnections();
  server.close();
});

async function serve(listener: RequestListener): Promise<Server> {
  const reading = createPacedReading(new Pace(PIECES_A_TURN));
  server = createServer({ requireHostHeader: false }, (request, response) => {
    reading.begin(request.socket);
    listener(request, response);
  });
  for (const event of ['upgrade', 'connect']) {
    server.on(event, (_request: unknown, stream: Duplex) => {
      reading.end(stream);
    });
  }
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function dial(): Promise<HttpWire> {
  const { port } = server.address() as AddressInfo;
  const wire = await HttpWire.dial({ url: `http://127.0.0.1:${port}` });
  wires.push(wire);
  return wire;
}

/** Records the largest increase of `count` within one turn of the event loop. */
function watchTurns(count: () => number): () => number {
  let most = 0;
  let before = count();
  let immediate = setImmediate(function watch() {
    most = Math.max(most, count() - before);
    before = count();
    immediate = setImmediate(watch);
  });
  return () => {
    clearImmediate(immediate);
    return most;
  };
}

/** Cuts bytes into parts of all kinds of lengths. */
function* cut(bytes: Buffer): Generator<Buffer> {
  for (let at = 0, size = 1; at < bytes.length; at += size, size = (size * 7 + 3) % 5_000) {
    yield bytes.subarray(at, at + size);
  }
}

describe('the bytes of many connections', () => {
  // A piece has 114 of the shortest requests or 341 of the shortest chunks. A turn has four pieces, and
  // the rest of each read.
  it.each([
    ['requests', '', 'GET / HTTP/1.1\r\n\r\n', 4_000, 2_000],
    ['chunks of a byte', POST, '1\r\nx\r\n', 20_000, 6_000],
  ])(
    'are parsed a few pieces a turn, of all together, and none is left out: %s',
    async (what, head, unit, each, mostATurn) => {
      let heard = 0;
      const all = deferred();
      const note = (): void => {
        heard += 1;
        if (heard === CONNECTIONS * each) all.resolve();
      };
      await serve((request, response) => {
        if (what === 'requests') note();
        request.on('data', note);
        response.end();
      });
      const flooding = await Promise.all(Array.from({ length: CONNECTIONS }, dial));
      for (const wire of flooding) {
        wire.write('GET / HTTP/1.1\r\n\r\n');
        await wire.answer();
      }
      heard = 0;
      const most = watchTurns(() => heard);
      for (const wire of flooding) wire.write(head, unit.repeat(each));
      await all.promise;
      expect(most()).toBeLessThan(mostATurn);
    },
  );
});

describe('the bytes of one connection', () => {
  it('give the same requests however they are cut', async () => {
    await serve((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (part: string) => (body += part));
      request.on('end', () => response.end(`${request.url} ${body}`));
    });
    const wire = await dial();
    const expected: string[] = [];
    let bytes = '';
    for (let i = 0; i < 200; i += 1) {
      const text = `${i} `.repeat((i * 37) % 700);
      const head = `POST /${i} HTTP/1.1\r\nHost: x\r\nPadding: ${'-'.repeat((i * 91) % 3_000)}\r\n`;
      bytes +=
        i % 2 === 0
          ? `${head}Content-Length: ${text.length}\r\n\r\n${text}`
          : `${head}Transfer-Encoding: chunked\r\n\r\n` +
            text.replaceAll(/./g, '1\r\n$&\r\n') +
            TERMINATOR;
      expected.push(`/${i} ${text}`);
    }
    for (const part of cut(Buffer.from(bytes))) wire.write(part);
    for (const text of expected) expect((await wire.answer()).body).toBe(text);
  });

  it.each([
    ['upgrade', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
    ['connect', 'CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n'],
  ])('go to the new owner of the stream, to the byte: %s', async (event, head) => {
    const http = await serve((_request, response) => response.end('before'));
    const letters = Buffer.from(Array.from({ length: 300_000 }, (_, i) => 97 + (i % 26)));
    const taken = new Promise<Buffer>((resolve) => {
      http.on(event, (_request: unknown, stream: Duplex, rest: Buffer) => {
        const parts = [rest];
        stream.on('data', (part: Buffer) => {
          parts.push(part);
          const bytes = Buffer.concat(parts);
          if (bytes.length === letters.length) resolve(bytes);
        });
      });
    });
    const wire = await dial();
    wire.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    expect((await wire.answer()).body).toBe('before');
    wire.write(head, letters);
    expect((await taken).equals(letters)).toBe(true);
  });

  it('wait for a handler that does not read its body, and for no other', async () => {
    const size = 20_000_000;
    let read = (): void => undefined;
    let held = 0;
    await serve((request, response) => {
      read = () => {
        held = request.readableLength + request.socket.readableLength;
        let length = 0;
        request.on('data', (part: Buffer) => (length += part.length));
        request.on('end', () => response.end(String(length)));
      };
      if (request.method === 'GET') response.end();
    });
    const wire = await dial();
    wire.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`, Buffer.alloc(size));
    const other = await dial();
    for (let i = 0; i < 50; i += 1) {
      const readIt = read;
      other.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      expect((await other.answer()).status).toBe(200);
      read = readIt;
    }
    read();
    expect(held).toBeLessThan(1_000_000);
    expect((await wire.answer()).body).toBe(String(size));
  });

  it('are parsed to the last one if the client has ended its side', async () => {
    let heard = 0;
    await serve((_request, response) => {
      heard += 1;
      response.end();
    });
    const wire = await dial();
    wire.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3_000));
    wire.socket.end();
    await wire.rest();
    expect(heard).toBe(3_000);
  });

  it('are dropped once the connection was reset', async () => {
    const heard: string[] = [];
    await serve((request, response) => {
      heard.push(request.url ?? '');
      if (request.url === '/last') request.socket.resetAndDestroy();
      else response.end();
    });
    const wire = await dial();
    wire.write('GET /first HTTP/1.1\r\nHost: x\r\n\r\n');
    await wire.answer();
    const behind = 'GET /behind HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3_000);
    wire.write('GET /last HTTP/1.1\r\nHost: x\r\n\r\n', Buffer.alloc(2_048, '\r\n'), behind);
    await wire.rest();
    const other = await dial();
    other.write('GET /other HTTP/1.1\r\nHost: x\r\n\r\n');
    expect((await other.answer()).status).toBe(200);
    expect(heard).toEqual(['/first', '/last', '/other']);
  });
});
