import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { createRoom, request } from '../harness/api.js';
import { fillRoom } from '../harness/backlog.js';
import { ChatClient } from '../harness/chat-client.js';
import { RawClient } from '../harness/raw-client.js';
import { person, secondsFromNow, type Person } from '../harness/tokens.js';
import type { Cluster } from '../proof/cluster.js';
import type { Random } from '../proof/random.js';

/** More than OUTBOX_BYTES, so that who does not read it falls behind. */
const BACKLOG = { messages: 400, content: 'x'.repeat(7_500) };
/** Visits at a time, and the pause before each. */
const VISITORS = 8;
const PAUSE_MS = { min: 20, max: 200 };
const STALL_MS = { min: 500, max: 4_000 };

interface Visit {
  readonly url: string;
  readonly chatUrl: string;
  readonly random: Random;
}

/** Clients and rooms that come and go, well or badly behaved, beside those whose messages are judged. */
export class Churn {
  /** Visits that have ended, by what they did. */
  readonly visits = new Map<string, number>();
  readonly #cluster: Cluster;
  readonly #owner: Person = person({ levelOnEntity: 999 }, { exp: secondsFromNow(4 * 3_600) });
  /** A room with a long log, and the numbers of its messages. */
  #room = { id: 0, first: 0, last: 0 };
  #isStopped = false;
  #work: Promise<unknown> | undefined;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  async start(random: Random): Promise<void> {
    const { nodes, postgres } = this.#cluster;
    const [node] = nodes;
    if (node === undefined) throw new Error('there is no node');
    const id = await createRoom(node, this.#owner);
    this.#room = { id, ...(await fillRoom(postgres.url, id, BACKLOG.messages, BACKLOG.content)) };
    this.#work = Promise.all(
      Array.from({ length: VISITORS }, () => this.#visitAgain(random.fork())),
    );
  }

  /** Resolves when the last visits have ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#work;
  }

  async #visitAgain(random: Random): Promise<void> {
    const kinds = {
      'room made and deleted': (visit: Visit) => this.#newRoom(visit),
      'slow reader': (visit: Visit) => this.#slowReader(visit),
      'history not read': (visit: Visit) => this.#history(visit),
      'socket without a token': (visit: Visit) => this.#nobody(visit),
      'request cut short': (visit: Visit) => this.#half(visit),
    };
    while (!this.#isStopped) {
      await delay(random.between(PAUSE_MS.min, PAUSE_MS.max));
      const { url, clientLinks, chatUrl } = random.pick(this.#cluster.nodes);
      const name = random.pick(Object.keys(kinds) as (keyof typeof kinds)[]);
      // A fault may end any of them early.
      const ended = await kinds[name]({
        url: random.next() < 0.5 ? url : clientLinks.url.replace(/\/$/, ''),
        chatUrl,
        random,
      }).then(
        () => name,
        () => `${name}: broken off`,
      );
      this.visits.set(ended, (this.visits.get(ended) ?? 0) + 1);
    }
  }

  async #newRoom({ url, chatUrl, random }: Visit): Promise<void> {
    const roomId = await createRoom({ url }, this.#owner);
    const client =
      random.next() < 0.5
        ? await ChatClient.enter({ chatUrl }, this.#owner, roomId)
        : await ChatClient.enterV2({ chatUrl }, this.#owner, roomId);
    try {
      for (let said = 0; said < 5; said += 1) {
        client.send({ type: 'message', room_id: roomId, content: `${said}`, ref: `${said}` });
      }
      await client.take(10);
      if (random.next() < 0.5) await client.close();
      await request({ url }, 'DELETE', `/rooms/${roomId}`, { as: this.#owner });
    } finally {
      client.terminate();
    }
  }

  async #slowReader({ url, random }: Visit): Promise<void> {
    const { id, first, last } = this.#room;
    const client = await RawClient.enter({ url }, this.#owner, id, first - 1);
    try {
      client.pause();
      await delay(random.between(STALL_MS.min, STALL_MS.max));
      if (random.next() < 0.5) {
        client.resume();
        await client.reached(last);
      }
    } finally {
      await client.terminate();
    }
  }

  /** Asks for a long answer, and hangs up in the middle. */
  async #history({ url }: Visit): Promise<void> {
    const answer = await fetch(`${url}/rooms/${this.#room.id}/messages`, {
      headers: { Authorization: `Bearer ${this.#owner.token}` },
    });
    const reader = answer.body?.getReader();
    await reader?.read();
    await reader?.cancel();
  }

  async #nobody({ chatUrl, random }: Visit): Promise<void> {
    const client = await ChatClient.open(chatUrl);
    try {
      await client.expect('START?');
      for (let times = random.between(0, 3); times > 0; times -= 1) {
        client.send({ type: 'token', content: 'no token' });
        await client.expect('BADAUTH');
      }
    } finally {
      client.terminate();
    }
  }

  async #half({ url, random }: Visit): Promise<void> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port) });
    socket.on('error', () => undefined);
    const text = 'POST /rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"name":';
    socket.write(text.slice(0, random.between(1, text.length)));
    await delay(random.between(0, 500));
    socket.destroy();
  }
}
