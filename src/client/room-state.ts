import { messageOf, type Message } from './message.js';
import type { Entry, MessageRow, Reaction } from './wire.js';

interface Held {
  message: Message & { readonly seq: number };
  /** Whether its text is withheld here: an entry that follows has it, or says that the message was deleted. */
  isWithheld: boolean;
  /** Number of the last entry whose change it has, or the head of the answer that it came in. */
  asOf: number;
  /** Whether it is an own message, known by SENT, whose entry is still to come. */
  isAwaited?: true;
}

/** What became of an entry. */
export type Taken = 'known' | 'gap' | 'taken';

/**
 * The messages of a room as its entries and pages make them, which come in any order and any number of times. The rules
 * are those of a client's duty in docs/PROTOCOL.md.
 */
export class RoomState {
  /** Number of the last entry that was taken; undefined if the first one is not known: it begins at the head. */
  last: number | undefined;
  /** The log that this number belongs to; undefined before the first CONNECTED. */
  epoch: string | undefined;
  #userUUID = '';
  /** In the order of their numbers, with those that are deleted or withheld. */
  #held: Held[] = [];
  /** Changes of messages that are not held: an answer on its way may have these messages. Undefined if none is. */
  #early: (readonly [type: string, entry: Entry])[] | undefined;
  #answers = 0;
  #shown: readonly Message[] | undefined;

  /** The user whose reactions are `mine`. */
  set userUUID(uuid: string) {
    this.#userUUID = uuid;
  }

  /** In the order of their numbers. Another list after each change. */
  get messages(): readonly Message[] {
    if (this.#shown === undefined) {
      const shown: Message[] = [];
      // There may be very many.
      for (const { message, isWithheld } of this.#held) if (!isWithheld) shown.push(message);
      this.#shown = shown;
    }
    return this.#shown;
  }

  /** Number of the first message that is held, shown or not. */
  get first(): number | undefined {
    return this.#held[0]?.message.seq;
  }

  get(seq: number): Message | undefined {
    const held = this.#find(seq);
    return held?.isWithheld === false ? held.message : undefined;
  }

  /** Takes an entry; one of an unknown type only moves the place, and so does any if messages are not to be kept. */
  take(type: string, entry: Entry, isKept = true): Taken {
    const { last = 0 } = this;
    if (entry.seq <= last) return 'known';
    if (entry.seq > last + 1) return 'gap';
    this.last = entry.seq;
    if (!isKept) return 'taken';
    if (type === 'message') {
      this.#add(entry);
    } else {
      this.#early?.push([type, entry]);
      this.#change(type, entry);
    }
    return 'taken';
  }

  /** An own message was stored with a number. */
  sent(message: Message, seq: number): void {
    if (seq <= (this.last ?? 0) || this.#find(seq) !== undefined) return;
    this.#put({ message: { ...message, seq }, isWithheld: false, asOf: seq, isAwaited: true });
  }

  /** Forgets everything that is known of the room, and goes on with the entries beyond `from`, or beyond the head. */
  drop(from?: number, epoch?: string): void {
    this.#held = [];
    this.#early = undefined;
    this.#answers = 0;
    this.#shown = undefined;
    this.last = from;
    this.epoch = epoch;
  }

  /**
   * Reads messages by `load`. Changes that come meanwhile are kept for messages of the answer, which may be older.
   * @returns undefined if the answer is from before a reset, and was dropped
   */
  async read<
    A extends {
      readonly head: number;
      readonly epoch: string;
      readonly rows: readonly MessageRow[];
    },
  >(load: () => Promise<A>): Promise<A | undefined> {
    const { epoch } = this;
    const early = (this.#early ??= []);
    this.#answers += 1;
    try {
      const answer = await load();
      const isValid = early === this.#early && (epoch === undefined || answer.epoch === epoch);
      if (!isValid) return undefined;
      this.#addRows(answer.rows, answer.head);
      for (const [type, entry] of early) this.#change(type, entry);
      return answer;
    } finally {
      if (early === this.#early && --this.#answers === 0) this.#early = undefined;
    }
  }

  /** Adds the rows of an answer, which are in order, at once: each by itself would move all that is behind it. */
  #addRows(rows: readonly MessageRow[], head: number): void {
    const added: Held[] = [];
    for (const row of rows) {
      const asOf = Math.max(head, row.rev ?? row.seq);
      const known = this.#find(row.seq);
      if (known !== undefined && known.asOf > asOf) continue;
      const message = messageOf({ ref: known?.message.ref, ...row }, row.seq);
      const held = { message, isWithheld: false, asOf };
      if (known === undefined) added.push(held);
      else this.#put(held);
    }
    const isBefore = (rows.at(-1)?.seq ?? 0) < (this.first ?? 0);
    this.#held = [...added, ...this.#held];
    if (!isBefore) this.#held.sort((a, b) => a.message.seq - b.message.seq);
    this.#shown = undefined;
  }

  #add(entry: Entry): void {
    // It may have come with a page, and later changes, already.
    const known = this.#find(entry.seq);
    if (known !== undefined && known.isAwaited !== true) return;
    this.#put({
      message: messageOf(entry, entry.seq),
      isWithheld: entry.content === undefined,
      asOf: entry.seq,
    });
  }

  #change(type: string, entry: Entry): void {
    if (entry.target === undefined) return;
    const held = this.#find(entry.target);
    if (held === undefined || entry.seq <= held.asOf) return;
    held.asOf = entry.seq;
    this.#shown = undefined;
    if (type === 'edit') {
      const { content, data, createdAt } = entry;
      // Until the entry that follows has the next text, or deletes the message, it stays as it is.
      if (content === undefined) return;
      held.isWithheld = false;
      const editedAt = new Date(createdAt);
      held.message = { ...held.message, content, data: data ?? undefined, editedAt };
    } else if (type === 'delete') {
      // It stays as a place that later answers can't fill, without anything that it said.
      held.isWithheld = true;
      held.message = { ...held.message, content: '', data: undefined, mentions: [], reactions: [] };
    } else if (entry.emoji !== undefined) {
      const reactions = this.#reacted(held.message.reactions, entry);
      held.message = { ...held.message, reactions };
    }
  }

  /** The count is set, never added to. */
  #reacted(
    reactions: readonly Reaction[],
    { emitter, emoji = '', on = false, count = 0 }: Entry,
  ): readonly Reaction[] {
    const known = reactions.find((reaction) => reaction.emoji === emoji);
    const mine = emitter === this.#userUUID ? on : (known?.mine ?? false);
    const now = { emoji, count, mine };
    if (count === 0) return reactions.filter((reaction) => reaction !== known);
    if (known === undefined) return [...reactions, now];
    return reactions.map((reaction) => (reaction === known ? now : reaction));
  }

  #put(held: Held): void {
    const place = this.#placeOf(held.message.seq);
    const isKnown = this.#held[place]?.message.seq === held.message.seq;
    this.#held.splice(place, isKnown ? 1 : 0, held);
    this.#shown = undefined;
  }

  #find(seq: number): Held | undefined {
    const held = this.#held[this.#placeOf(seq)];
    return held?.message.seq === seq ? held : undefined;
  }

  /** The place of a number in the list, or the place at which it belongs. */
  #placeOf(seq: number): number {
    let low = 0;
    let high = this.#held.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#held[middle]?.message.seq ?? 0) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
