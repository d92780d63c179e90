import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { Message, MessagePage, Range, Room } from '../../src/client/index.js';
import { Past } from '../../web/src/room/past.js';

const message = (seq: number): Message => ({ seq, content: `m${seq}` }) as Message;

/** A room of so many messages that holds only the last ones itself. */
function roomOf({ size, held }: { size: number; held: number }) {
  const log = Array.from({ length: size }, (_, index) => message(index + 1));
  const events = new EventEmitter();
  const room = {
    on(name: string, listener: (...values: unknown[]) => void) {
      events.on(name, listener);
      return () => events.off(name, listener);
    },
    messages: log.slice(-held),
    read({ before = Infinity, after = 0, limit = 50 }: Range): Promise<MessagePage> {
      const found = log.filter(({ seq = 0 }) => seq > after && seq < before);
      const isForward = after > 0 && before === Infinity;
      const messages = isForward ? found.slice(0, limit) : found.slice(-limit);
      return Promise.resolve({ messages, hasMore: messages.length < found.length });
    },
  };
  return { log, room: room as unknown as Room, events };
}

const seqs = (past: Past) => past.messages.map(({ seq }) => seq);
const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index);

describe('Past', () => {
  it('loads around a message, and both ways until it reaches what the room holds', async () => {
    const past = new Past(roomOf({ size: 300, held: 50 }).room, 120);
    await past.load();
    expect(seqs(past)).toEqual(range(71, 170));
    expect(past.isAtPresent).toBe(false);
    await past.loadOlder(100);
    await past.loadNewer();
    await past.loadNewer();
    expect(past.hasOlder).toBe(false);
    expect(past.isAtPresent).toBe(true);
    expect(seqs(past)).toEqual(range(1, 300));
  });

  it('loads one page at a time', async () => {
    const past = new Past(roomOf({ size: 300, held: 50 }).room, 120);
    await Promise.all([past.load(), past.load()]);
    await Promise.all([past.loadNewer(), past.loadNewer(), past.loadOlder(10)]);
    expect(seqs(past)).toEqual(range(71, 220));
  });

  it('shows edits and deletions of what it holds, and is silent once it is closed', async () => {
    const { room, log, events } = roomOf({ size: 300, held: 50 });
    const past = new Past(room, 120);
    await past.load();
    let changes = 0;
    past.on('change', () => {
      changes += 1;
    });
    log[119] = { ...message(120), content: 'edited' };
    events.emit('entry', 'edit', { target: 120 });
    await expect.poll(() => past.messages.find(({ seq }) => seq === 120)?.content).toBe('edited');
    log.splice(119, 1);
    events.emit('entry', 'delete', { target: 120 });
    await expect.poll(() => seqs(past).includes(120)).toBe(false);
    const before = changes;
    past.close();
    events.emit('change');
    expect(changes).toBe(before);
  });
});
