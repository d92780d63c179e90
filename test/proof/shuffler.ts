import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { request } from '../harness/api.js';
import type { Person } from '../harness/tokens.js';
import { placeKey, type Ledger, type RuleRequest } from './ledger.js';
import type { Random } from './random.js';
import { REST_ANSWER_WITHIN_MS } from './verdict.js';

const RETRY_MS = 200;
/** The pause between two changes, over all members. */
const PAUSE_MS = { min: 60, max: 240 };
/** How long it waits for the last changes. */
const REST_TIMEOUT_MS = 30_000;
/** Stands for the removal of a rule. */
const REMOVED = '';
/** Without the right to read, without the right to write, banned, and removed. */
const REVOCATIONS = ['w', 'r', 'b', 'rwb', REMOVED] as const;
const GRANTED = 'rw';

/** The address of a node's REST API. */
export interface RestNode {
  readonly name: string;
  readonly url: string;
}

/** A member whose rights are changed. */
export interface Member {
  readonly userUUID: string;
  readonly roomId: number;
}

/**
 * Revokes and grants members' rights, each time through a random node, until it is stopped; then it grants all rights
 * to all of them. An unanswered change may still be stored later, and would undo the next one. So each member has one
 * change at a time, however long it takes.
 */
export class Shuffler {
  readonly #owner: Person;
  readonly #members: readonly Member[];
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #nodes: readonly RestNode[];
  /** By `placeKey`. */
  readonly #permissions = new Map<string, { permissions: string; epoch: number }>();
  readonly #stopping = new AbortController();
  #ended = false;
  #work: Promise<unknown> | undefined;

  constructor(options: {
    owner: Person;
    members: readonly Member[];
    ledger: Ledger;
    random: Random;
    nodes: readonly RestNode[];
  }) {
    this.#owner = options.owner;
    this.#members = options.members;
    this.#ledger = options.ledger;
    this.#random = options.random;
    this.#nodes = options.nodes;
  }

  start(): void {
    setMaxListeners(this.#members.length, this.#stopping.signal);
    this.#work = Promise.all(
      this.#members.map((member) => this.#shuffle(member, this.#random.fork())),
    );
  }

  /** Whether this user is known to be able to read the room. */
  mayRead(member: Member): boolean {
    const known = this.#permissions.get(placeKey(member));
    const { epoch } = this.#ledger;
    // No right is changed before the copy exists to which the log is set back.
    if (known === undefined) return true;
    return known.permissions === GRANTED && known.epoch === epoch;
  }

  /** Stops, and resolves when each member has all rights, or the nodes have not answered in time. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    const patience = delay(REST_TIMEOUT_MS, 'late', { ref: false });
    if ((await Promise.race([this.#work, patience])) === 'late') {
      this.#ledger.surprise('the last changes of rules were not made in time');
    }
  }

  /** Requests no more changes. */
  end(): void {
    this.#ended = true;
    this.#stopping.abort();
  }

  async #shuffle(member: Member, random: Random): Promise<void> {
    const { signal } = this.#stopping;
    const share = this.#members.length;
    for (;;) {
      const pause = random.between(PAUSE_MS.min * share, PAUSE_MS.max * share);
      await delay(pause, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      const isWhole = this.mayRead(member);
      await this.#change(member, isWhole ? random.pick(REVOCATIONS) : GRANTED, random);
    }
    await this.#change(member, GRANTED, random);
  }

  async #change(member: Member, permissions: string, random: Random): Promise<void> {
    const change = this.#ledger.requestRule({ ...member, permissions });
    // While the change is in flight, neither the old nor the new right is certain.
    this.#permissions.set(placeKey(member), { permissions: '?', epoch: this.#ledger.epoch });
    while (!this.#ended) {
      const { epoch } = this.#ledger;
      if ((await this.#ask(change, random.pick(this.#nodes))) && epoch === this.#ledger.epoch) {
        change.acknowledgedIn = epoch;
        this.#permissions.set(placeKey(member), { permissions, epoch });
        return;
      }
      await delay(RETRY_MS);
    }
  }

  async #ask(change: RuleRequest, node: RestNode): Promise<boolean> {
    const { id, roomId, userUUID, permissions } = change;
    const path = `/rooms/${roomId}/members`;
    const isRemoval = permissions === REMOVED;
    const what = isRemoval ? 'DELETE of a rule' : 'PUT of a rule';
    const command = this.#ledger.addCommand(what, node.name, REST_ANSWER_WITHIN_MS);
    try {
      const { status } = isRemoval
        ? await request(node, 'DELETE', `${path}/${userUUID}`, { as: this.#owner })
        : await request(node, 'PUT', path, {
            as: this.#owner,
            body: { userUUID, permissions, level: id },
          });
      if (status < 300 || (status === 404 && isRemoval)) return true;
      if (status !== 503) this.#ledger.surprise(`${status} for a rule`);
    } catch {
      // The node has ended, or the connection broke.
    } finally {
      command.settledAt = performance.now();
    }
    return false;
  }
}
