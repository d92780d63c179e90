/** A row of the log, as Postgres has it. */
export interface LogRow {
  readonly room_id: number;
  readonly seq: number;
  readonly kind: string;
  readonly emitter: string;
  /** The content of a member entry is the rule as JSON. */
  readonly content: string;
  readonly ref: string | null;
  /** By the clock of the ledger. */
  readonly at: number;
}

/** The log of all rooms. */
export interface Log {
  readonly rows: readonly LogRow[];
  /** `head` of each room. */
  readonly heads: ReadonlyMap<number, number>;
}

/** A message that a client got, in the order of arrival. */
export interface Delivery {
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly ref: string | undefined;
  /** By `Ledger.tick`. */
  readonly at: number;
}

/** A message that a client sent. */
export interface Sending {
  readonly ref: string;
  readonly content: string;
  /** When it was first sent. */
  readonly at: number;
  transmissions: number;
  /** By its echo or by SENT. */
  acknowledgedSeq: number | undefined;
  /** The epochs in which it may be stored: the log may have been set back before the acknowledgement arrived. */
  acknowledgedIn: readonly [earliest: number, latest: number] | undefined;
  /** NOTAUTHORIZED: it is not sent again. */
  refused: boolean;
}

/** The messages that a client got of one log. */
export interface Stretch {
  /** How often the log had been set back, as far as the client knew. */
  readonly epoch: number;
  /** The `after` with which it selected the room. */
  readonly after: number;
  readonly deliveries: Delivery[];
}

/** The messages that one client sent and got. */
export interface ClientRecord {
  readonly userUUID: string;
  readonly roomId: number;
  /** By ref, in the order of sending. */
  readonly sendings: Map<string, Sending>;
  /** A new one begins when the client is told that the log was set back. */
  readonly stretches: Stretch[];
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
  delivered = 0;
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

  addClient(userUUID: string, roomId: number): ClientRecord {
    const record = { userUUID, roomId, sendings: new Map(), stretches: [] };
    this.clients.push(record);
    return record;
  }

  /** The client begins to read the present log. */
  addStretch({ stretches }: ClientRecord, after: number): Stretch {
    const stretch = { epoch: this.epoch, after, deliveries: [] };
    stretches.push(stretch);
    return stretch;
  }

  addSending({ sendings }: ClientRecord, ref: string): Sending {
    const sending: Sending = {
      ref,
      content: `message ${ref}`,
      at: this.tick(),
      transmissions: 0,
      acknowledgedSeq: undefined,
      acknowledgedIn: undefined,
      refused: false,
    };
    sendings.set(ref, sending);
    this.#sentAt.set(ref, sending.at);
    this.sent += 1;
    return sending;
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
