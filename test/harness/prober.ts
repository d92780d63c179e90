import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { ChatClient, type ServerFrame } from './chat-client.js';
import type { TestNode } from './node.js';
import type { Person } from './tokens.js';

/**
 * Sends one command after the other, each as soon as the one before is answered, and records those that were not
 * answered in time. A closed socket counts as an answer: the prober opens another one.
 */
export class Prober {
  readonly unanswered: string[] = [];
  /** The number of answers, by word. */
  readonly answers = new Map<string, number>();
  readonly #node: Pick<TestNode, 'chatUrl'>;
  readonly #who: Person;
  readonly #patienceMs: number;
  #client: ChatClient | undefined;

  constructor(node: Pick<TestNode, 'chatUrl'>, who: Person, patienceMs: number) {
    this.#node = node;
    this.#who = who;
    this.#patienceMs = patienceMs;
  }

  /** @returns the word that answers, `closed`, or `none` */
  select(roomId: number): Promise<string> {
    return this.#ask(
      { type: 'select_room', room_id: roomId },
      ({ type, room_id, ref }) => type === 'status' && room_id === roomId && ref === undefined,
    );
  }

  /** @returns the word that answers, `closed`, or `none` */
  say(content: string): Promise<string> {
    const ours = randomUUID();
    return this.#ask(
      { type: 'message', content, ref: ours },
      ({ type, ref }) => type === 'query' || (type === 'status' && ref === ours),
    );
  }

  async close(): Promise<void> {
    await this.#client?.close();
  }

  async #ask(command: object, isAnswer: (frame: ServerFrame) => boolean): Promise<string> {
    this.#client ??= await ChatClient.enter(this.#node, this.#who);
    const client = this.#client;
    client.send(command);
    const patience = new AbortController();
    const word = await Promise.race([
      answerOf(client, isAnswer).catch(() => 'none'),
      client.closed().then(() => 'closed'),
      delay(this.#patienceMs, 'none', { signal: patience.signal }),
    ]);
    patience.abort();
    this.answers.set(word, (this.answers.get(word) ?? 0) + 1);
    if (word === 'none') this.unanswered.push(JSON.stringify(command));
    if (word === 'none' || word === 'closed') {
      client.terminate();
      this.#client = undefined;
    }
    return word;
  }
}

async function answerOf(
  client: ChatClient,
  isAnswer: (frame: ServerFrame) => boolean,
): Promise<string> {
  for (;;) {
    const frame = await client.next();
    if (isAnswer(frame)) return String(frame.data);
  }
}
