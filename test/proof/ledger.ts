/** A message that a client got, in the order of arrival. */
export interface Delivery {
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly ref: string | undefined;
  /** When, on the ledger's own clock. */
  readonly at: number;
}

/** A message that a client sent. */
export interface Sending {
  readonly ref: string;
  readonly content: string;
  transmissions: number;
  /** By its echo or by SENT. */
  acknowledgedSeq: number | undefined;
  /** NOTAUTHORIZED: it is not sent again. */
  refused: boolean;
}

/** What one client sent and saw. */
export interface ClientRecord {
  readonly userUUID: string;
  readonly roomId: number;
  /** In the order of the first transmission. */
  readonly sendings: Map<string, Sending>;
  readonly deliveries: Delivery[];
}

/** A rule that the shuffler asked for; the rule's `level` is its id, so that the log tells which it was. */
export interface RuleRequest {
  readonly id: number;
  readonly userUUID: string;
  readonly roomId: number;
  /** Empty where the rule is removed: that leaves the level, and so the id, of the rule before. */
  readonly permissions: string;
  /** When it was first asked for. */
  readonly at: number;
  acknowledged: boolean;
}

/** All that was sent, acknowledged, seen and asked for, on one clock that ticks with every event. */
export class Ledger {
  readonly clients: ClientRecord[] = [];
  readonly ruleRequests = new Map<number, RuleRequest>();
  /** Answers that no fault explains, counted. */
  readonly surprises = new Map<string, number>();
  sent = 0;
  acknowledged = 0;
  refused = 0;
  delivered = 0;
  reconnects = 0;
  #clock = 0;

  tick(): number {
    this.#clock += 1;
    return this.#clock;
  }

  addClient(userUUID: string, roomId: number): ClientRecord {
    const record: ClientRecord = { userUUID, roomId, sendings: new Map(), deliveries: [] };
    this.clients.push(record);
    return record;
  }

  requestRule(rule: Pick<RuleRequest, 'userUUID' | 'roomId' | 'permissions'>): RuleRequest {
    const request: RuleRequest = {
      ...rule,
      id: this.ruleRequests.size + 1,
      at: this.tick(),
      acknowledged: false,
    };
    this.ruleRequests.set(request.id, request);
    return request;
  }

  surprise(what: string): void {
    this.surprises.set(what, (this.surprises.get(what) ?? 0) + 1);
  }
}
