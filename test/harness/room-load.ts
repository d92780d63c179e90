import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { ChatClient as Library, type Room } from '../../src/client/node.js';
import { createRoom, putRule } from './api.js';
import { ChatClient } from './chat-client.js';
import { query } from './database.js';
import { eventually } from './eventually.js';
import { person, type Person } from './tokens.js';
import { until } from './until.js';

const PAUSE_MS = 20;

/** Readers of one room, of both versions, while one of them writes. They come back whenever their sockets close. */
export interface RoomLoad {
  /** The close codes of the sockets of version 1. */
  readonly codes: readonly number[];
  /** Resolves when so many more messages are stored. */
  more(count: number): Promise<void>;
  /** Stops writing, and expects that each message is stored once and in order, and that each reader has it so. */
  expectWhole(): Promise<void>;
  close(): Promise<void>;
}

/** @param options.readers the number of those of each version */
export async function startRoomLoad({
  url,
  databaseUrl,
  owner,
  readers,
}: {
  /** `http://host:port` of a node, or of what stands before several. */
  url: string;
  databaseUrl: string;
  owner: Person;
  readers: number;
}): Promise<RoomLoad> {
  const room = await createRoom({ url }, owner);
  const { entityUUID } = owner;
  await putRule({ url }, owner, room, { entity_UUID: entityUUID, permissions: 'rw', level: 0 });
  const written = new AbortController();
  const over = new AbortController();
  const followed = new Set<ChatClient>();
  const codes: number[] = [];

  const library = Array.from({ length: readers }, () => {
    const { token } = person({ entityUUID });
    const client = new Library(url, { token: () => token });
    return { client, room: client.room(room) };
  });
  await Promise.all(library.map((reader) => until(reader.room, () => reader.room.isLive)));
  const seqs = Array.from({ length: readers }, (): number[] => []);
  const followers = seqs.map((of) => follow(of));
  const [{ room: writer, client: first }] = library as [{ room: Room; client: Library }];
  let sent = 0;
  const writing = (async () => {
    for (; !written.signal.aborted; sent += 1) {
      await writer.send(`message ${sent}`);
      await delay(PAUSE_MS);
    }
  })();

  /** A reader of version 1, which comes back with the number of its last message. */
  async function follow(numbers: number[]): Promise<void> {
    const { token } = person({ entityUUID });
    const select = (client: ChatClient): void => {
      client.send({ type: 'select_room', room_id: room, after: numbers.at(-1) ?? 0 });
    };
    while (!over.signal.aborted) {
      const client = await ChatClient.open(`${url.replace('http', 'ws')}/chat`);
      client.socket.on('message', (bytes: Buffer) => {
        const { type, data } = JSON.parse(bytes.toString()) as { type: string; data: unknown };
        if (type === 'message') numbers.push((data as { seq: number }).seq);
        // A busy machine may take longer to open the room than a command may wait.
        if (data === 'UNAVAILABLE') select(client);
      });
      client.send({ type: 'token', content: token });
      select(client);
      followed.add(client);
      codes.push((await client.closed()).code);
      followed.delete(client);
    }
  }

  return {
    codes,

    more(count) {
      const mark = sent;
      return until(writer, () => sent >= mark + count);
    },

    async expectWhole() {
      written.abort();
      await writing;
      const stored = await query<{ seq: number; content: string }>(
        databaseUrl,
        "SELECT seq::int, content FROM messages WHERE room_id = $1 AND kind = 'message' ORDER BY seq",
        [room],
      );
      const texts = stored.map(({ content }) => content);
      expect(texts).toEqual(Array.from({ length: sent }, (_, n) => `message ${n}`));
      await Promise.all(
        library.map((reader) => until(reader.room, () => reader.room.messages.length >= sent)),
      );
      for (const reader of library) {
        expect(reader.room.messages.map(({ content }) => content)).toEqual(texts);
      }
      expect(first.unsent).toBe(0);
      const numbers = stored.map(({ seq }) => seq);
      await eventually(() => {
        expect(seqs).toEqual(seqs.map(() => numbers));
      });
    },

    async close() {
      written.abort();
      over.abort();
      for (const { client } of library) client.close();
      for (const client of followed) client.terminate();
      await Promise.allSettled([writing, ...followers]);
    },
  };
}
