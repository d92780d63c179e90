import { setTimeout as delay } from 'node:timers/promises';
import { request } from '../harness/api.js';
import type { Person } from '../harness/tokens.js';
import type { Ledger, RuleRequest } from './ledger.js';
import type { Random } from './random.js';

const ANSWER_TIMEOUT_MS = 6_000;
const RETRY_MS = 200;
const PAUSE_MS = { min: 60, max: 240 };
/** Nothing of a rule is left: it is removed. */
const REMOVED = '';
/** Without reading, without writing, banned, and removed. */
const REVOCATIONS = ['w', 'r', 'b', 'rwb', REMOVED] as const;
const GRANTED = 'rw';

/** A member whose rights come and go. */
export interface Member {
  readonly userUUID: string;
  readonly roomId: number;
}

/**
 * Takes members' rights and gives them back, each time over a random node, until it is stopped; then everyone
 * has all rights.
 */
export class Shuffler {
  readonly #owner: Person;
  readonly #members: readonly Member[];
  readonly #ledger: Ledger;
  readonly #random: Random;
  readonly #pickNode: () => { url: string };
  readonly #permissions = new Map<string, string>();
  /** Requests that are not answered yet, those that nobody waits for any more included. */
  readonly #open = new Set<Promise<unknown>>();
  #stopped = false;
  #work: Promise<void> | undefined;

  constructor(options: {
    owner: Person;
    members: readonly Member[];
    ledger: Ledger;
    random: Random;
    pickNode: () => { url: string };
  }) {
    this.#owner = options.owner;
    this.#members = options.members;
    this.#ledger = options.ledger;
    this.#random = options.random;
    this.#pickNode = options.pickNode;
  }

  start(): void {
    this.#work = this.#shuffle();
  }

  /** Whether this user is known to be able to read. */
  mayRead(userUUID: string): boolean {
    return (this.#permissions.get(userUUID) ?? GRANTED) === GRANTED;
  }

  /** Stops, and resolves when every member has all rights. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
    // One that is stored late would take a right that was given after.
    const patience = delay(2 * ANSWER_TIMEOUT_MS, undefined, { ref: false });
    await Promise.race([Promise.allSettled(this.#open), patience]);
    await Promise.all(this.#members.map((member) => this.#change(member, GRANTED, () => false)));
  }

  async #shuffle(): Promise<void> {
    while (!this.#stopped) {
      await delay(this.#random.between(PAUSE_MS.min, PAUSE_MS.max));
      const member = this.#random.pick(this.#members);
      const isWhole = (this.#permissions.get(member.userUUID) ?? GRANTED) === GRANTED;
      await this.#change(member, isWhole ? this.#random.pick(REVOCATIONS) : GRANTED);
    }
  }

  async #change(
    member: Member,
    permissions: string,
    isGivenUp = (): boolean => this.#stopped,
  ): Promise<void> {
    const change = this.#ledger.requestRule({ ...member, permissions });
    // Neither may be counted on while it is under way.
    this.#permissions.set(member.userUUID, '?');
    while (!isGivenUp()) {
      if (await this.#ask(change)) {
        change.acknowledged = true;
        this.#permissions.set(member.userUUID, permissions);
        return;
      }
      await delay(RETRY_MS);
    }
  }

  async #ask({ id, roomId, userUUID, permissions }: RuleRequest): Promise<boolean> {
    const node = this.#pickNode();
    const path = `/rooms/${roomId}/members`;
    const asking = (
      permissions === REMOVED
        ? request(node, 'DELETE', `${path}/${userUUID}`, { as: this.#owner })
        : request(node, 'PUT', path, {
            as: this.#owner,
            body: { userUUID, permissions, level: id },
          })
    )
      .then(({ status }) => {
        if (status < 300 || (status === 404 && permissions === REMOVED)) return true;
        if (status !== 503) this.#ledger.surprise(`${status} for a rule`);
        return false;
      })
      // The node, or the connection to it, is gone.
      .catch(() => false)
      .finally(() => this.#open.delete(asking));
    this.#open.add(asking);
    return Promise.race([asking, delay(ANSWER_TIMEOUT_MS, false, { ref: false })]);
  }
}
