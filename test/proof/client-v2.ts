import { SUBPROTOCOL_V2 } from '../../src/protocol/versions.js';
import { ModelClient, type Frame, type RoomView } from '../harness/model-client.js';
import { ProofClient, type ClientOptions, type Place } from './client.js';
import type { ClientRecord, Ledger, SentKind, Stretch } from './ledger.js';

/** What a client does, as often as it stands here. */
const ACTS = [
  ...Array.from({ length: 10 }, () => 'message' as const),
  ...Array.from({ length: 3 }, () => 'edit' as const),
  ...Array.from({ length: 2 }, () => 'delete' as const),
  ...Array.from({ length: 3 }, () => 'reaction' as const),
  ...Array.from({ length: 2 }, () => 'read' as const),
] as const;
const EMOJIS = ['👍', '🎉', '\u{2764}\u{FE0F}'];
/** Changes are made of one of so many of the newest messages, so that some are made by several clients at once. */
const CHANGED_OF = 20;

/** How often a client leaves a room behind a command. */
const LEAVES = 0.02;
const EXPECTED_ANSWERS: ReadonlySet<string> = new Set([
  'SENT',
  'NOTAUTHORIZED',
  'UNAVAILABLE',
  'INVALID',
  'NOTFOUND',
]);
/** Rights are revoked, and messages deleted, while commands are on their way; after a reset others are not there. */
const EXPECTED_REASONS: ReadonlySet<string> = new Set([
  'FORBIDDEN',
  'REVOKED',
  'DELETED',
  'NO_SUCH_MESSAGE',
]);

interface EntryData {
  readonly room_id: number;
  readonly seq: number;
  readonly emitter: string;
  readonly content?: string;
  readonly ref?: string;
}

interface Command {
  readonly type: string;
  readonly ref?: string;
  readonly room_id?: number;
  readonly rooms?: readonly { room_id: number }[];
}

/** A client of version 2 in one of its rooms. */
class PlaceV2 implements Place {
  readonly record: ClientRecord;
  readonly view: RoomView;
  newestHeardAt = 0;
  readonly #ledger: Ledger;
  #stretch: Stretch;

  constructor(record: ClientRecord, view: RoomView, ledger: Ledger) {
    this.record = record;
    this.view = view;
    this.#ledger = ledger;
    this.#stretch = ledger.addStretch(record);
  }

  get isLive(): boolean {
    return this.view.isJoined && this.epoch === this.#ledger.epoch;
  }

  get lastSeq(): number {
    return this.view.last;
  }

  /** How often the log had been set back, as far as the client knows. */
  get epoch(): number {
    return this.#stretch.epoch;
  }

  /** The numbers of the old log are no longer valid. */
  beginAnew(): void {
    if (this.#ledger.epoch === 0) this.#ledger.surprise('AHEAD');
    this.#stretch = this.#ledger.addStretch(this.record);
  }

  delivered(kind: string, entry: EntryData): void {
    // What comes while a join is on its way comes again.
    if (!this.view.isJoined) return;
    const { seq, emitter, content, ref } = entry;
    if (seq > this.view.last + 1) this.#ledger.surprise('a number was left out');
    this.#ledger.delivered(this.#stretch, { kind, seq, emitter, content, ref });
    if (kind === 'message') {
      this.newestHeardAt = Math.max(this.newestHeardAt, this.#ledger.sentAt(ref));
    }
  }
}

/**
 * A client of version 2, a member of several rooms. It sends messages and changes of them, reads, and sometimes leaves a
 * room for a moment; everything else is the duty of the model.
 */
export class ClientV2 extends ProofClient {
  readonly places: readonly PlaceV2[];
  readonly #model: ModelClient;
  readonly #byRoom: ReadonlyMap<number, PlaceV2>;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: ClientOptions & { readonly roomIds: readonly number[] }) {
    super(options, [SUBPROTOCOL_V2]);
    const { who, roomIds, ledger } = options;
    this.#model = new ModelClient({
      userUUID: who.userUUID,
      token: () => who.token,
      send: (command) => {
        this.#sending(command as Command);
        this.send(command);
      },
      settled: (ref, { room_id }, outcome) => {
        const place = this.#byRoom.get(room_id);
        if ('reason' in outcome) this.#refused(outcome.reason);
        else if (place !== undefined)
          ledger.acknowledge(place.record, ref, outcome.seq, place.epoch);
      },
      lost: (roomId, reason) => {
        this.#lost(roomId, reason);
      },
    });
    this.places = roomIds.map((roomId) => {
      const record = ledger.addClient(2, who.userUUID, roomId);
      return new PlaceV2(record, this.#model.room(roomId), ledger);
    });
    this.#byRoom = new Map(this.places.map((place) => [place.record.roomId, place]));
    this.#model.join(...roomIds);
  }
  get unsettled(): number {
    return this.#model.unsettled;
  }

  /** Records what it has made of the entries of each room. */
  recordState(): void {
    for (const { record, view } of this.places) record.state = view.state;
  }

  protected act(): void {
    const place = this.random.pick(this.places);
    if (!place.isLive) return;
    const act = this.random.pick(ACTS);
    if (act === 'message') this.#do(place, act, {});
    else if (act === 'read') this.#model.read(place.record.roomId, place.view.last);
    else this.#change(place, act);
    // What is on its way then comes again once the room is joined again.
    if (this.random.next() < LEAVES) this.#leave(place.record.roomId);
  }

  protected received(frame: Frame): void {
    const { type, data, ref = '', room_id = 0, reason, upto = 0 } = frame;
    if (type === 'query') {
      this.commands?.greeted();
    } else if (type === 'status') {
      this.commands?.answered(ref);
      this.commands?.answered(keyOf(ref, room_id));
      if (data === 'READY') this.commands?.tokenAnswered();
      else if (data === 'CONNECTED') this.recovered();
      else if (data === 'OK') this.#read(room_id, upto);
      else if (reason === 'AHEAD') this.#byRoom.get(room_id)?.beginAnew();
      else if (!EXPECTED_ANSWERS.has(String(data)))
        this.ledger.surprise(`${String(data)} ${reason}`);
    } else if ((data as Partial<EntryData>).seq !== undefined) {
      const entry = data as EntryData;
      this.#byRoom.get(entry.room_id)?.delivered(type, entry);
    }
    this.#model.received(frame);
  }

  protected disconnected(): void {
    this.#model.disconnected();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    // Once it is connected again.
    this.#model.join(...this.#byRoom.keys());
  }

  #change(place: PlaceV2, kind: 'edit' | 'delete' | 'reaction'): void {
    const messages = [...place.view.messages.values()].slice(-CHANGED_OF);
    const changeable = messages.filter(
      ({ emitter, isDeleted }) =>
        !isDeleted && (kind === 'reaction' || emitter === place.record.userUUID),
    );
    if (changeable.length === 0) return;
    const { seq } = this.random.pick(changeable);
    const on = this.random.next() < 0.7;
    const reaction = kind === 'reaction' ? { emoji: this.random.pick(EMOJIS), on } : {};
    this.#do(place, kind, { target: seq, ...reaction });
  }

  #do({ record }: PlaceV2, kind: SentKind, more: { readonly target?: number }): void {
    const { ref, content } = this.ledger.addSending(record, kind, more.target);
    const text = kind === 'message' || kind === 'edit' ? { content } : {};
    this.#model.do({ type: kind, room_id: record.roomId, ...text, ...more }, ref);
  }

  #leave(roomId: number): void {
    this.#model.leave(roomId);
    this.#joinLater(roomId);
  }

  #read(roomId: number, upto: number): void {
    const place = this.#byRoom.get(roomId);
    if (place === undefined) return;
    const { read } = place.record;
    read.set(place.epoch, Math.max(upto, read.get(place.epoch) ?? 0));
  }

  #refused(reason: string): void {
    this.ledger.refused += 1;
    if (!EXPECTED_REASONS.has(reason)) this.ledger.surprise(reason);
  }

  #lost(roomId: number, reason: string): void {
    if (!EXPECTED_REASONS.has(reason)) this.ledger.surprise(`a room is lost: ${reason}`);
    this.#joinLater(roomId);
  }

  #joinLater(roomId: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#model.join(roomId);
      },
      this.random.between(150, 350),
    );
    this.#timers.add(timer);
  }

  /** A command that must be answered. */
  #sending({ type, ref = '', rooms = [] }: Command): void {
    if (type === 'token') {
      this.commands?.tokenSent();
    } else if (type === 'join') {
      for (const { room_id } of rooms) this.commands?.sent(keyOf(ref, room_id), 'join');
    } else {
      const sending = this.places.map(({ record }) => record.sendings.get(ref)).find(Boolean);
      if (sending !== undefined) sending.transmissions += 1;
      this.commands?.sent(ref, type);
    }
  }
}

/** Each room of a `join` is answered by itself. */
function keyOf(ref: string, roomId: number): string {
  return `${ref} ${roomId}`;
}
