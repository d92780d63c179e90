import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { TcpProxy } from './tcp-proxy.js';

/** An echo server, and a proxy in front of it. */
async function openProxy(): Promise<{ proxy: TcpProxy; accepted: Socket[]; dial: () => Talk }> {
  const accepted: Socket[] = [];
  const server = createServer((socket) => {
    accepted.push(socket);
    socket.on('error', () => undefined).pipe(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const proxy = await TcpProxy.open(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`);
  onTestFinished(async () => {
    server.close();
    for (const socket of accepted) socket.destroy();
    await proxy.close();
  });
  return { proxy, accepted, dial: () => new Talk(Number(new URL(proxy.url).port)) };
}

/** A client, and the bytes that it received. */
class Talk {
  readonly socket: Socket;
  readonly ended: Promise<string>;
  #heard = '';

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (bytes: Buffer) => {
      this.#heard += bytes.toString();
    });
    this.ended = new Promise((resolve) => {
      this.socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? ''));
      this.socket.on('close', () => resolve('closed'));
    });
    onTestFinished(() => {
      this.socket.destroy();
    });
  }

  get heard(): string {
    return this.#heard;
  }

  say(text: string): this {
    this.socket.write(text);
    return this;
  }

  async hear(text: string): Promise<void> {
    while (this.#heard !== text) {
      if (this.#heard.length > text.length) throw new Error(`heard ${this.#heard}`);
      await once(this.socket, 'data');
    }
  }
}

describe('a proxy', () => {
  it('passes on bytes and the end of each side, in both directions', async () => {
    const { dial } = await openProxy();
    const talk = dial().say('hello');
    await talk.hear('hello');
    talk.socket.end('bye');
    expect(await talk.ended).toBe('closed');
    expect(talk.heard).toBe('hellobye');
  });

  it('keeps half-open links half-open, without closing either side, and opens new links', async () => {
    const { proxy, accepted, dial } = await openProxy();
    const before = dial().say('one');
    await before.hear('one');
    proxy.swallow();
    const during = dial();
    await once(during.socket, 'connect');
    proxy.swallowNoMore();
    const after = dial().say('two');
    await after.hear('two');
    before.say('lost');
    during.say('lost');
    before.socket.end();
    await dial().say('three').hear('three');
    expect([before.heard, during.heard]).toEqual(['one', '']);
    expect(accepted).toHaveLength(3);
    expect(accepted[0]?.readable).toBe(true);
    expect([before, during].map(({ socket }) => socket.readable)).toEqual([true, true]);
  });

  it('cuts a link within a chunk that is too long', async () => {
    const { proxy, dial } = await openProxy();
    const talk = dial();
    proxy.conditions = { cutAfterBytes: 5 };
    talk.say('short');
    await talk.hear('short');
    talk.say('and longer');
    expect(await talk.ended).toBe('ECONNRESET');
    expect(['short', 'shortand l']).toContain(talk.heard);
    proxy.conditions = {};
    await dial().say('and longer').hear('and longer');
  });

  it('passes on no more than bytesPerSecond', async () => {
    const { proxy, dial } = await openProxy();
    proxy.conditions = { bytesPerSecond: 2_000 };
    const begunAt = performance.now();
    const text = 'x'.repeat(2_000);
    await dial().say(text).hear(text);
    // The text passes twice, and the first bytes of each direction at once.
    expect(performance.now() - begunAt).toBeGreaterThan(900);
  });

  it('delays bytes in their order, and none once the latency is gone', async () => {
    const { proxy, dial } = await openProxy();
    const latencies = [300, 0, 0, 0];
    proxy.conditions = { latencyMs: () => latencies.shift() ?? 0 };
    const talk = dial();
    const begunAt = performance.now();
    await once(talk.say('one').socket, 'connect');
    talk.say('two');
    await talk.hear('onetwo');
    expect(performance.now() - begunAt).toBeGreaterThan(250);
    proxy.conditions = {};
    await dial().say('three').hear('three');
  });

  it('breaks links and refuses new ones while it is cut, and leads to another address on demand', async () => {
    const { proxy, dial } = await openProxy();
    const talk = dial().say('one');
    await talk.hear('one');
    await proxy.cut();
    expect(await talk.ended).toBe('ECONNRESET');
    expect(await dial().ended).toBe('ECONNREFUSED');
    const other = createServer((socket) => {
      socket.on('error', () => undefined).end('elsewhere');
    }).listen(0, '127.0.0.1');
    onTestFinished(() => {
      other.close();
    });
    await once(other, 'listening');
    proxy.leadTo(`tcp://127.0.0.1:${(other.address() as AddressInfo).port}`);
    await proxy.restore();
    await dial().hear('elsewhere');
  });

  it('knows the ports of its links to the server', async () => {
    const { proxy, accepted, dial } = await openProxy();
    await dial().say('one').hear('one');
    expect(proxy.upstreamPorts).toEqual([accepted[0]?.remotePort]);
  });
});
