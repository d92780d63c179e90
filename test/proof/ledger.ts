import type { MemberState, RoomState } from '../harness/room-state.js';

/** A row of the log, as Postgres has it. */
export interface LogRow {
  readonly room_id: number;
  readonly seq: number;
  readonly kind: string;
  readonly emitter: string;
  /** The content of a member entry is the rule as JSON. */
  readonly content: string;
  readonly ref: string | null;
  /** Of an edit, a deletion and a reaction: the number of the message. */
  readonly target?: number | null;
  /** Of a message: the numbers of the edit whose text it has, and of its deletion. */
  readonly text_seq?: number | null;
  readonly deleted_by?: number | null;
  /** By the clock of the ledger. */
  readonly at: number;
}

/** The log of all rooms. */
export interface Log {
  readonly rows: readonly LogRow[];
  /** `head` of each room. */
  readonly heads: ReadonlyMap<number, number>;
}

/** What the tables hold in the end. */
export interface Tables {
  /** By room, as it is for one user. */
  readonly rooms: ReadonlyMap<number, { stateFor(userUUID: string): RoomState }>;
  /** By `placeKey`, how far users have read. */
  readonly markers: ReadonlyMap<string, number>;
  /** All texts of messages and edits, in any column of any table. */
  readonly texts: ReadonlySet<string>;
  /** Messages whose words for the search are not those of their texts, such as deleted ones. */
  readonly wrongWords: readonly Pick<LogRow, 'room_id' | 'seq'>[];
}

/** An entry that a client got, in the order of arrival. */
export interface Delivery {
  readonly kind: string;
  readonly seq: number;
  readonly emitter: string;
  /** Undefined if it is withheld, or of a kind without a text. */
  readonly content: string | undefined;
  readonly ref: string | undefined;
  /** By `Ledger.tick`. */
  readonly at: number;
}

/** What a client sends and the log keeps. */
export type SentKind = 'message' | 'edit' | 'delete' | 'reaction';

/** A message, or a change of one, that a client sent. */
export interface Sending {
  readonly kind: SentKind;
  /** Of a change: the number of the message. */
  readonly target: number | undefined;
  readonly ref: string;
  /** `textOf` of kind and ref: no two messages or edits have the same text. */
  readonly content: string;
  /** When it was first sent. */
  readonly at: number;
  transmissions: number;
  /** By its echo or by SENT. */
  acknowledgedSeq: number | undefined;
  /** The epochs in which it may be stored: the log may have been set back before the acknowledgement arrived. */
  acknowledgedIn: readonly [earliest: number, latest: number] | undefined;
}

/** The entries that a client got of one log, without a gap. */
export interface Stretch {
  /** How often the log had been set back, as far as the client knew. */
  readonly epoch: number;
  /** The number behind which they begin: what is before it, a client of version 2 has from pages. */
  readonly from: number;
  readonly deliveries: Delivery[];
}

/** What a client shows of a room in the end. Of the members and the settings it knows what entries have told. */
export interface SeenRoom extends Pick<RoomState, 'messages' | 'settings'> {
  /** The number at which its messages begin. */
  readonly first: number;
  /** By UUID; undefined if the rule was removed. */
  readonly members: ReadonlyMap<string, MemberState | undefined>;
}

/** What one client sent and got in one room. */
export interface ClientRecord {
  /** Of the protocol. */
  readonly version: 1 | 2;
  readonly userUUID: string;
  readonly roomId: number;
  /** By ref, in the order of sending. */
  readonly sendings: Map<string, Sending>;
  /** A new one begins when the client is told that the log was set back, or that it begins further on. */
  readonly stretches: Stretch[];
  /** What a client of version 2 has made of its entries in the end. */
  state: SeenRoom | undefined;
  /** By epoch, how far the server has answered that the user has read. */
  readonly read: Map<number, number>;
}

/** A rule that the shuffler requested. The rule's `level` is the id of the request, so that it is found in the log. */
export interface RuleRequest {
  readonly id: number;
  readonly userUUID: string;
  readonly roomId: number;
  /** Empty if the rule is removed: its entry has the level, and so the id, of the rule before. */
  readonly permissions: string;
  /** When it was first requested. */
  readonly at: number;
  /** How often the log had been set back when it was stored; undefined if it is not known to be stored. */
  acknowledgedIn: number | undefined;
}

/** A command or request that a node must answer, unless it closes the connection. */
export interface Command {
  readonly what: string;
  /** Name of the node that got it. */
  readonly node: string;
  readonly withinMs: number;
  readonly at: number;
  /** When it was answered, or its connection ended; undefined if neither has happened. */
  settledAt: number | undefined;
}

/** A process of a node that ended. */
export interface NodeExit {
  readonly node: string;
  /** Undefined if it ended by itself. */
  readonly asked: NodeJS.Signals | undefined;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Counted from the signal. */
  readonly tookMs: number;
  readonly at: number;
}

/** A time in which a node's process was stopped. */
export interface NodePause {
  readonly node: string;
  readonly from: number;
  to: number;
}

/** A client that was in a room after the last fault. */
export interface Listener {
  readonly roomId: number;
  readonly userUUID: string;
  readonly node: string;
  /** Milliseconds until a message that was sent after the last fault arrived; undefined if none did in time. */
  readonly heardAfterMs: number | undefined;
}

/** One fault that was injected. */
export interface Incident {
  readonly fault: string;
  /** The broken part of the cluster, and how it was broken. */
  detail: string;
  readonly from: number;
  /** When it was over. If a node was ended, when its process had ended. */
  to: number;
  /** When all faults of the same wave were over. */
  allOverAt: number;
  /** When all clients had recovered; undefined if that took too long. */
  wholeAt: number | undefined;
}

/** Everything that was sent, acknowledged, received and requested. Times are milliseconds, by `performance.now`. */
export class Ledger {
  readonly clients: ClientRecord[] = [];
  readonly ruleRequests = new Map<number, RuleRequest>();
  readonly commands: Command[] = [];
  readonly exits: NodeExit[] = [];
  readonly pauses: NodePause[] = [];
  readonly listeners: Listener[] = [];
  readonly incidents: Incident[] = [];
  /** The logs that were set back, each as it was before that. */
  readonly logsBefore: Log[] = [];
  /** The number of answers that no fault explains, by answer. */
  readonly surprises = new Map<string, { times: number; readonly firstAt: number }>();
  sent = 0;
  acknowledged = 0;
  refused = 0;
  received = 0;
  reconnects = 0;
  /** By ref, when a message was first sent. */
  readonly #sentAt = new Map<string, number>();
  #lastTick = 0;

  /** The time; later than at any call before. */
  tick(): number {
    this.#lastTick = Math.max(performance.now(), this.#lastTick + 1e-6);
    return this.#lastTick;
  }

  /** How often the log was set back. */
  get epoch(): number {
    return this.logsBefore.length;
  }

  addClient(version: 1 | 2, userUUID: string, roomId: number): ClientRecord {
    const record: ClientRecord = {
      version,
      userUUID,
      roomId,
      sendings: new Map(),
      stretches: [],
      state: undefined,
      read: new Map(),
    };
    this.clients.push(record);
    return record;
  }

  /** The client begins to read a log, behind a number. */
  addStretch(
    { stretches }: ClientRecord,
    { epoch, from = 0 }: { readonly epoch: number; readonly from?: number },
  ): Stretch {
    const stretch = { epoch, from, deliveries: [] };
    stretches.push(stretch);
    return stretch;
  }

  addSending(
    { userUUID, roomId, sendings }: ClientRecord,
    kind: SentKind,
    target?: number,
  ): Sending {
    const ref = `${userUUID.slice(0, 8)}-${roomId}-${sendings.size + 1}`;
    const sending: Sending = {
      kind,
      target,
      ref,
      content: textOf(kind, ref),
      at: this.tick(),
      transmissions: 0,
      acknowledgedSeq: undefined,
      acknowledgedIn: undefined,
    };
    sendings.set(ref, sending);
    this.#sentAt.set(ref, sending.at);
    this.sent += 1;
    return sending;
  }

  /** What was sent has this number, by a log of `earliest` or a later epoch. */
  acknowledge(record: ClientRecord, ref: string, seq: number, earliest: number): void {
    const sending = record.sendings.get(ref);
    if (sending === undefined) {
      this.surprise('a ref that was never sent');
      return;
    }
    const { epoch } = this;
    if (sending.acknowledgedIn === undefined) {
      sending.acknowledgedSeq = seq;
      sending.acknowledgedIn = [earliest, epoch];
      this.acknowledged += 1;
    } else if (sending.acknowledgedIn[0] === epoch && sending.acknowledgedSeq !== seq) {
      this.surprise('one ref acknowledged with two numbers');
    }
  }

  /** The client got an entry. */
  delivered({ deliveries }: Stretch, entry: Omit<Delivery, 'at'>): void {
    this.received += 1;
    deliveries.push({ ...entry, at: this.tick() });
  }

  /** When the message was first sent; 0 if it never was. */
  sentAt(ref: string | undefined): number {
    return this.#sentAt.get(ref ?? '') ?? 0;
  }

  addCommand(what: string, node: string, withinMs: number): Command {
    const command: Command = { what, node, withinMs, at: this.tick(), settledAt: undefined };
    this.commands.push(command);
    return command;
  }

  requestRule(rule: Pick<RuleRequest, 'userUUID' | 'roomId' | 'permissions'>): RuleRequest {
    const request: RuleRequest = {
      ...rule,
      id: this.ruleRequests.size + 1,
      at: this.tick(),
      acknowledgedIn: undefined,
    };
    this.ruleRequests.set(request.id, request);
    return request;
  }

  addIncident(fault: string): Incident {
    const from = performance.now();
    const incident = {
      fault,
      detail: '',
      from,
      to: Infinity,
      allOverAt: Infinity,
      wholeAt: undefined,
    };
    this.incidents.push(incident);
    return incident;
  }

  surprise(what: string): void {
    const known = this.surprises.get(what);
    if (known === undefined) this.surprises.set(what, { times: 1, firstAt: this.tick() });
    else known.times += 1;
  }
}

/** The text of a message or an edit. */
export function textOf(kind: string, ref: string): string {
  return `${kind} ${ref}`;
}

/** All texts in a text. */
export function textsIn(text: string): string[] {
  return text.match(/\b(?:message|edit) [0-9a-f]{8}-\d+-\d+\b/g) ?? [];
}

/** A user in a room. */
export function placeKey({ userUUID, roomId }: Pick<ClientRecord, 'userUUID' | 'roomId'>): string {
  return `${userUUID} ${roomId}`;
}
