import fc from 'fast-check';
import { expect, it } from 'vitest';
import { RoomState } from '../../src/client/room-state.js';
import type { Entry, MessageRow } from '../../src/client/wire.js';

const ME = 'me';
const EPOCH = 'an epoch';
const PAGE = 4;
const EMOJIS = ['👍', '🎉'] as const;

type Logged = Omit<Entry, 'data'> & { readonly type: string };
type Row = MessageRow & { readonly reactions: NonNullable<MessageRow['reactions']> };

/** Entries of a room as a server stores them, and what it answers. A text is the number of the entry that set it. */
class Log {
  readonly entries: Logged[] = [];

  get head(): number {
    return this.entries.length;
  }

  add(kind: number, n: number): void {
    const rows = this.rows(this.head);
    const row = rows[n % rows.length];
    const common = {
      room_id: 1,
      seq: this.head + 1,
      createdAt: new Date(this.head).toISOString(),
      emitter: n % 3 === 0 ? ME : `user ${n % 3}`,
    };
    if (kind === 0 || row === undefined) {
      this.entries.push({ ...common, type: 'message', content: `${common.seq}` });
    } else if (kind === 1) {
      this.entries.push({ ...common, type: 'edit', target: row.seq, content: `${common.seq}` });
    } else if (kind === 2) {
      this.entries.push({ ...common, type: 'delete', target: row.seq });
    } else {
      const emoji = EMOJIS[n % 2] ?? '';
      const by = this.#reactors(row.seq, emoji, this.head);
      const on = !by.has(common.emitter);
      const count = by.size + (on ? 1 : -1);
      this.entries.push({ ...common, type: 'reaction', target: row.seq, emoji, on, count });
    }
  }

  /** The messages as they are at a head. */
  rows(head: number): Row[] {
    const until = this.entries.slice(0, head);
    const gone = new Set(until.filter(({ type }) => type === 'delete').map(({ target }) => target));
    return until
      .filter(({ type, seq }) => type === 'message' && !gone.has(seq))
      .map(({ room_id, seq, createdAt, emitter, content = '' }) => {
        const message = { room_id, seq, createdAt, emitter };
        const changes = until.filter(({ target }) => target === seq);
        const edit = changes.findLast(({ type }) => type === 'edit');
        const rev = changes.at(-1)?.seq;
        const reactions = EMOJIS.map((emoji) => {
          const by = this.#reactors(seq, emoji, head);
          return { emoji, count: by.size, mine: by.has(ME) };
        });
        return {
          ...message,
          content: edit?.content ?? content,
          ...(edit && { edited_at: edit.createdAt }),
          ...(rev !== undefined && { rev }),
          reactions: reactions.filter(({ count }) => count > 0),
        };
      });
  }

  /** An entry as it is sent when the head is `head`: what later ones have replaced or deleted is withheld. */
  frame(seq: number, head: number): Logged {
    const entry = this.entries[seq - 1];
    if (entry === undefined) throw new Error(`there is no ${seq}`);
    const later = this.entries
      .slice(seq, head)
      .filter(({ target }) => target === (entry.target ?? seq));
    const isGone = later.some(({ type }) => type === 'delete');
    const isReplaced = isGone || later.some(({ type }) => type === 'edit');
    if (!(entry.type === 'reaction' ? isGone : isReplaced)) return entry;
    const { type, room_id, createdAt, emitter, target } = entry;
    return { type, room_id, seq, createdAt, emitter, ...(target !== undefined && { target }) };
  }

  #reactors(target: number, emoji: string, head: number): Set<string> {
    const by = new Set<string>();
    for (const entry of this.entries.slice(0, head)) {
      if (entry.target !== target || entry.emoji !== emoji) continue;
      if (entry.on === true) by.add(entry.emitter);
      else by.delete(entry.emitter);
    }
    return by;
  }
}

interface Answer {
  readonly head: number;
  readonly epoch: string;
  readonly rows: readonly Row[];
}

/** A page that is on its way. */
interface Request {
  readonly before: number;
  /** What the client had when it asked: the answer is not older. */
  readonly least: number;
  readonly resolve: (answer: Answer) => void;
  readonly done: Promise<unknown>;
}

const nat = fc.nat(1_000);
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('store' as const), kind: fc.nat(3), n: nat }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('take' as const), kind: fc.nat(3), n: nat }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('ask' as const), kind: fc.nat(3), n: nat }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('answer' as const), kind: fc.nat(3), n: nat }),
  },
);

it('pages and entries make one state, in whatever order and however often they come', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }),
      async (steps) => {
        const log = new Log();
        for (let n = 0; n < 12; n += 1) log.add(n % 4, n * 7);
        const state = new RoomState();
        state.userUUID = ME;
        state.drop(log.head, EPOCH);
        const requests: Request[] = [];
        const lastTaken = (): number => state.last ?? 0;

        const take = (n: number): void => {
          const seq = lastTaken() + 1;
          if (seq > log.head) return;
          // The entry before, again, changes nothing.
          for (const one of [seq, seq - 1]) {
            const { type, ...entry } = log.frame(one, one + (n % (log.head - one + 1)));
            expect(state.take(type, entry)).toBe(one === seq ? 'taken' : 'known');
          }
        };
        const ask = (): void => {
          const before = state.first ?? Infinity;
          const least = lastTaken();
          let resolve: Request['resolve'] = () => undefined;
          const answer = new Promise<Answer>((settle) => {
            resolve = settle;
          });
          requests.push({ before, least, resolve, done: state.read(() => answer) });
        };
        const answer = async (n: number): Promise<void> => {
          const [request] = requests.splice(n % Math.max(1, requests.length), 1);
          if (request === undefined) return;
          const head = request.least + (n % (log.head - request.least + 1));
          const rows = log.rows(head).filter(({ seq }) => seq < request.before);
          request.resolve({ head, epoch: EPOCH, rows: rows.slice(-PAGE) });
          await request.done;
        };

        /** By message, the number of the entry that set its text. */
        const textSeqs = new Map<number, number>();
        const expectNothingOld = (): void => {
          const gone = log.entries.filter(
            ({ type, seq }) => type === 'delete' && seq <= lastTaken(),
          );
          const targets = new Set(gone.map(({ target }) => target));
          for (const { seq = 0, content } of state.messages) {
            expect(targets).not.toContain(seq);
            expect(Number(content)).toBeGreaterThanOrEqual(textSeqs.get(seq) ?? 0);
            textSeqs.set(seq, Number(content));
          }
        };

        for (const { do: what, kind, n } of steps) {
          if (what === 'store') log.add(kind, n);
          else if (what === 'take') take(n);
          else if (what === 'ask') ask();
          else await answer(n);
          expectNothingOld();
        }
        while (requests.length > 0) await answer(0);
        while (lastTaken() < log.head) take(0);
        for (let before = -1; before !== state.first;) {
          before = state.first ?? 0;
          ask();
          await answer(0);
        }
        const due = log.rows(log.head);
        expect(state.messages.map(({ seq }) => seq)).toEqual(due.map(({ seq }) => seq));
        expect(state.messages).toMatchObject(
          due.map(({ seq, content, edited_at, reactions }) => ({
            seq,
            content,
            editedAt: edited_at === undefined ? undefined : new Date(edited_at),
            reactions: expect.toSatisfy(
              (shown: Row['reactions']) =>
                JSON.stringify(sorted(shown)) === JSON.stringify(sorted(reactions)),
            ),
          })),
        );
      },
    ),
    { numRuns: 300 },
  );
});

function sorted(reactions: Row['reactions']): Row['reactions'] {
  return reactions.toSorted((one, other) => (one.emoji < other.emoji ? -1 : 1));
}
