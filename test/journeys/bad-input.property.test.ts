import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ana, HttpLab } from '../harness/http-lab.js';
import { PATIENCE_MS } from '../harness/patience.js';

/** fast-check prints the seed of a failure, and the path to its smallest case. */
const SEED = Number(process.env['PROPERTY_SEED'] ?? 20_260_115);
const RUNS = Number(process.env['PROPERTY_RUNS'] ?? 200);

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

/** A request as text, of which a part was cut, doubled or replaced. */
const rawRequests = fc
  .tuple(
    fc.constantFrom(
      'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n',
      `GET /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\n\r\n`,
      `POST /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\n` +
        'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}',
      `POST /rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ana.token}\r\n` +
        'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
      'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ),
    fc.array(fc.tuple(fc.nat(), fc.nat(20), fc.uint8Array({ maxLength: 8 }), fc.boolean()), {
      minLength: 1,
      maxLength: 4,
    }),
  )
  .map(([text, edits]) =>
    edits.reduce((bytes, [position, length, insert, twice]) => {
      const at = position % (bytes.length + 1);
      const before = bytes.subarray(0, at);
      const after = bytes.subarray(twice ? Math.max(0, at - length) : at + length);
      return Buffer.concat([before, insert, after]);
    }, Buffer.from(text)),
  );

/** Writes bytes, ends its side, and reads until the server has ended its side, too. */
async function exchange(bytes: Buffer): Promise<string> {
  const socket = await lab.dial();
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.end(bytes);
  const timer = setTimeout(() => {
    socket.destroy(new Error('the server leaves the connection open'));
  }, PATIENCE_MS);
  await new Promise((resolve) => socket.on('close', resolve));
  clearTimeout(timer);
  expect(socket.errored?.message).not.toBe('the server leaves the connection open');
  return Buffer.concat(chunks).toString('latin1');
}

describe('any bytes on the port', () => {
  it('are never answered by a status of 500 or more, and end', async () => {
    const bytes = fc.oneof(
      { weight: 4, arbitrary: rawRequests },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }).map((raw) => Buffer.from(raw)) },
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (raw) => {
        expect(await exchange(raw)).not.toMatch(/HTTP\/1\.1 5/);
      }),
      { seed: SEED, endOnFailure: false, numRuns: RUNS },
    );
  });
});
