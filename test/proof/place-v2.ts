import type { Room } from '../../src/client/index.js';
import type { Entry, Status } from '../../src/client/wire.js';
import type { MemberState, MessageState, RoomState } from '../harness/room-state.js';
import type { Place } from './client.js';
import type { ClientRecord, Ledger, Stretch } from './ledger.js';

/** A client of version 2 in one of its rooms. */
export class PlaceV2 implements Place {
  readonly record: ClientRecord;
  readonly room: Room;
  newestHeardAt = 0;
  readonly #ledger: Ledger;
  #stretch: Stretch | undefined;
  /** The name of its log. */
  #log: string | undefined;
  #members = new Map<string, MemberState | undefined>();
  #settings: RoomState['settings'];

  constructor(record: ClientRecord, room: Room, ledger: Ledger) {
    this.record = record;
    this.room = room;
    this.#ledger = ledger;
    room.on('entry', (type, entry) => {
      this.#delivered(type, entry);
    });
  }

  get isLive(): boolean {
    return this.room.isLive && this.epoch === this.#ledger.epoch;
  }

  get lastSeq(): number {
    return this.room.last;
  }

  /** How often the log had been set back, as far as the client knows. */
  get epoch(): number {
    return this.#stretch?.epoch ?? 0;
  }

  /** The server has let it in. If it knows all before the entries that follow, the stretch goes on. */
  joined({ epoch: log = '', from = 0 }: Status): void {
    const isSameLog = log === this.#log;
    const upto = this.#stretch?.deliveries.at(-1)?.seq ?? this.#stretch?.from;
    if (isSameLog && from === upto) return;
    const epoch = isSameLog ? this.epoch : this.#ledger.epoch;
    this.#stretch = this.#ledger.addStretch(this.record, { epoch, from });
    this.#log = log;
    this.#members = new Map();
    this.#settings = undefined;
  }

  /** Records what it shows. */
  recordState(): void {
    const { messages, hasOlder } = this.room;
    const stored = messages.flatMap(({ seq, ...message }): MessageState[] => {
      if (seq === undefined) return [];
      const { emitter, content, data, replyTo, mentions } = message;
      const reactions = message.reactions.map(({ mine: isMine, ...rest }) => ({ ...rest, isMine }));
      return [
        {
          seq,
          emitter,
          content,
          data,
          replyTo,
          mentions: mentions.length > 0 ? mentions : undefined,
          reactions: reactions.toSorted((one, other) => (one.emoji < other.emoji ? -1 : 1)),
        },
      ];
    });
    this.record.state = {
      first: hasOlder ? (stored[0]?.seq ?? Infinity) : 0,
      messages: stored,
      members: this.#members,
      settings: this.#settings,
    };
  }

  #delivered(kind: string, entry: Entry): void {
    const { seq, emitter, content, ref } = entry;
    if (this.#stretch === undefined) throw new Error('an entry came before the room was joined');
    this.#ledger.delivered(this.#stretch, { kind, seq, emitter, content, ref });
    if (kind === 'message') {
      this.newestHeardAt = Math.max(this.newestHeardAt, this.#ledger.sentAt(ref));
    } else if (kind === 'member') {
      const { entity_UUID: uuid = '', permissions = '', level = 0, accepted = false } = entry;
      const rule = { uuid, permissions, level, accepted };
      this.#members.set(uuid, permissions === '' ? undefined : rule);
    } else if (kind === 'room') {
      this.#settings = { name: entry.name ?? '', data: entry.data ?? null };
    }
  }
}
