import { setTimeout as delay } from 'node:timers/promises';
import { createRoom, putRule } from '../harness/api.js';
import { person, secondsFromNow } from '../harness/tokens.js';
import type { ClientOptions, Place, ProofClient } from './client.js';
import { ClientV1 } from './client-v1.js';
import { ClientV2 } from './client-v2.js';
import type { Cluster, LastNumbers } from './cluster.js';
import type { ClusterNode } from './cluster-node.js';
import { injectFaults } from './injector.js';
import type { Command, Ledger, Log } from './ledger.js';
import type { Options } from './options.js';
import { createRandom, type Random } from './random.js';
import { showProgress, type Result } from './report.js';
import { Reader } from './reader.js';
import { Shuffler, type Member } from './shuffler.js';
import { judge, TALKS_WITHIN_MS } from './verdict.js';

/** The largest `integer` of Postgres: the id of a rule request is a level, and the owner outranks all of them. */
const OWNER_LEVEL = 2_147_483_647;
/** The rights of one in this number of members of a room are changed. */
const SHUFFLED_ONE_IN = 5;
/** One in this number of clients speaks version 2, and is in several rooms. */
const V2_ONE_IN = 6;
const V2_ROOMS = 4;
const WHOLE_TIMEOUT_MS = 30_000;
/** Tokens are valid for longer than the proof runs, even if a clock is set ahead. */
const CLAIMS = { exp: secondsFromNow(4 * 3_600) };
const LOOK_INTERVAL_MS = 50;
/** How often the last numbers are read after the faults. */
const QUIET_INTERVAL_MS = 250;

/** What a proof does. */
export interface Load extends Omit<Options, 'gapRepair' | 'json'> {
  /** Which nodes may be ended; by default all. */
  readonly endable?: (nodes: readonly ClusterNode[]) => readonly ClusterNode[];
}

/** A running proof: the load, the faults, and the ledger of both. */
export class Proof {
  readonly #options: Load;
  readonly #cluster: Cluster;
  readonly #ledger: Ledger;
  readonly #owner = person({ levelOnEntity: OWNER_LEVEL }, CLAIMS);
  #roomIds: readonly number[] = [];
  #clients: readonly ProofClient[] = [];
  #newcomers: readonly ClientV2[] = [];
  #shuffler: Shuffler | undefined;
  #reader: Reader | undefined;
  #doing = 'starting';
  #deadline = Infinity;
  #stopped = false;

  constructor(options: Load, cluster: Cluster, ledger: Ledger) {
    this.#options = options;
    this.#cluster = cluster;
    this.#ledger = ledger;
  }

  /** Runs the load and the faults, and brings all to rest: each client then has every message. */
  async run(): Promise<void> {
    const { seed, seconds, faults } = this.#options;
    const random = createRandom(seed);
    const hideProgress = showProgress(this.#ledger, () => ({
      // Until everything has started, the deadline is far away.
      done: Math.max(0, 1 - Math.max(0, this.#deadline - performance.now()) / (seconds * 1_000)),
      doing: this.#doing,
      live: this.#places.filter(({ isLive }) => isLive).length,
    }));
    try {
      if (this.#options.breaksTables) await this.#cluster.breakTables();
      await this.#populate(random.fork());
      this.#deadline = performance.now() + seconds * 1_000;
      this.#doing = '';
      await injectFaults({
        names: faults,
        cluster: this.#cluster,
        endable: this.#options.endable?.(this.#cluster.nodes) ?? this.#cluster.nodes,
        clients: this.#clients,
        reader: this.#startReader(random.fork()),
        random: random.fork(),
        ledger: this.#ledger,
        deadline: this.#deadline,
        whole: () => this.#whole(),
        isStopped: () => this.#stopped,
        onFaults: (names) => {
          this.#doing = names.join(', ');
        },
      });
      // Without faults, nothing above has waited for the deadline.
      await delay(Math.max(0, this.#deadline - performance.now()));
      await this.#listen(random.fork());
      await this.#comeToRest();
      await this.#recordStates();
    } finally {
      hideProgress();
    }
  }

  /** All clients, in each of their rooms. */
  get #places(): Place[] {
    return this.#clients.flatMap(({ places }) => places);
  }

  /** Ends its clients and timers. */
  end(): void {
    this.#stopped = true;
    this.#shuffler?.end();
    this.#reader?.stop();
    for (const client of this.#clients) client.end();
  }

  /** Creates the rooms and their members, connects the clients, and starts to send and to change rights. */
  async #populate(random: ReturnType<typeof createRandom>): Promise<void> {
    const { clients: clientCount, rooms: roomCount, rate } = this.#options;
    const { nodes } = this.#cluster;
    const owner = this.#owner;
    const roomIds: number[] = [];
    while (roomIds.length < roomCount) {
      const node = random.pick(nodes);
      roomIds.push(await createRoom(node, owner, { max_entity_rules: clientCount + 2 }));
    }
    this.#roomIds = roomIds;
    const members: Member[] = [];
    const clients: ProofClient[] = [];
    for (let index = 0; index < clientCount; index += 1) {
      const who = person({}, CLAIMS);
      const isV2 = index % V2_ONE_IN === 0;
      const rooms = roomsFrom(roomIds, index, isV2 ? V2_ROOMS : 1);
      const { userUUID } = who;
      for (const roomId of rooms) {
        const rule = { userUUID, permissions: 'rw', level: 0 };
        const answer = await putRule(random.pick(nodes), owner, roomId, rule);
        if (answer.status !== 201) throw new Error(`no member: ${JSON.stringify(answer.meta)}`);
        members.push({ userUUID, roomId });
      }
      const options: ClientOptions = {
        who,
        ledger: this.#ledger,
        random: random.fork(),
        nodes,
        commandsPerSecond: rate / clientCount,
      };
      clients.push(
        isV2
          ? new ClientV2({ ...options, roomIds: rooms })
          : new ClientV1({ ...options, roomId: rooms[0] ?? 0 }),
      );
    }
    this.#clients = clients;
    this.#shuffler = new Shuffler({
      owner,
      members: members.filter((_, index) => index % SHUFFLED_ONE_IN === 0),
      ledger: this.#ledger,
      random: random.fork(),
      nodes,
    });
    for (const client of this.#clients) client.connect();
    if (!(await this.#whole())) throw new Error('the clients could not connect');
    for (const client of this.#clients) client.startSending();
    this.#shuffler.start();
  }

  #startReader(random: Random): Reader {
    const { nodes } = this.#cluster;
    const [roomIds, ledger] = [this.#roomIds, this.#ledger];
    const reader = new Reader({ who: this.#owner, nodes, roomIds, ledger, random });
    this.#reader = reader;
    reader.start();
    return reader;
  }

  /**
   * Resolves when each client that may read is live, with the last number at the time of the call; with false if that
   * took too long.
   */
  async #whole(): Promise<boolean> {
    const timeoutAt = performance.now() + WHOLE_TIMEOUT_MS;
    let last: LastNumbers | undefined;
    while (performance.now() < timeoutAt && !this.#stopped) {
      // Postgres itself may be broken.
      last ??= await this.#cluster.lastNumbers().catch(() => undefined);
      if (last !== undefined && this.#areUpTo(last)) return true;
      await delay(LOOK_INTERVAL_MS);
    }
    return false;
  }

  #areUpTo(last: LastNumbers): boolean {
    return this.#places.every(({ record, isLive, lastSeq }) => {
      if (this.#shuffler?.mayRead(record) === false) return true;
      return isLive && lastSeq >= (last.get(record.roomId)?.[record.version] ?? 0);
    });
  }

  /**
   * Records which listeners get the messages from now on: on every node a new client, in all rooms, and the members that
   * stay in their rooms.
   */
  async #listen(random: Random): Promise<void> {
    this.#doing = 'listening in each room';
    const begunAt = this.#ledger.tick();
    const deadline = begunAt + TALKS_WITHIN_MS;
    const newcomers = this.#cluster.nodes.map(
      (node) =>
        new ClientV2({
          who: this.#owner,
          roomIds: this.#roomIds,
          ledger: this.#ledger,
          random: random.fork(),
          nodes: [node],
          commandsPerSecond: 0,
        }),
    );
    for (const newcomer of newcomers) newcomer.connect();
    this.#newcomers = newcomers;
    this.#clients = [...this.#clients, ...newcomers];
    const nodeOf = new Map(
      this.#clients.flatMap((client) => client.places.map((place) => [place, client.nodeName])),
    );
    const heardAt = new Map<Place, number>();
    /** Newcomers, and members who are in their rooms all the time: one who comes back at its end may hear nothing. */
    const present = new Set(nodeOf.keys());
    const areNew = new Set(newcomers.flatMap(({ places }) => places as readonly Place[]));
    while (performance.now() < deadline && heardAt.size < nodeOf.size) {
      for (const place of nodeOf.keys()) {
        const isMember = place.isLive && this.#shuffler?.mayRead(place.record) !== false;
        if (!isMember && !areNew.has(place)) present.delete(place);
        if (place.newestHeardAt < begunAt || heardAt.has(place)) continue;
        heardAt.set(place, performance.now());
      }
      await delay(LOOK_INTERVAL_MS);
    }
    for (const [place, node] of nodeOf) {
      const { userUUID, roomId } = place.record;
      const hears = heardAt.get(place);
      if (hears === undefined && !present.has(place)) continue;
      this.#ledger.listeners.push({
        roomId,
        userUUID,
        node,
        heardAfterMs: hears === undefined ? undefined : hears - begunAt,
      });
    }
  }

  /** Gives all rights to all members, stops sending, and waits for a time until each client has every message. */
  async #comeToRest(): Promise<void> {
    this.#doing = 'coming to rest';
    this.#reader?.stop();
    await this.#shuffler?.stop();
    for (const client of this.#clients) client.stopSending();
    const timeoutAt = performance.now() + WHOLE_TIMEOUT_MS;
    while (performance.now() < timeoutAt && !this.#stopped) {
      const areAnswered = this.#clients.every((client) => client.unsettled === 0);
      // Messages that no client waits for may still be stored: the last numbers are read after them.
      if (areAnswered && this.#areUpTo(await this.#cluster.lastNumbers())) return;
      await delay(QUIET_INTERVAL_MS);
    }
  }

  /** Records what clients show: newcomers of whole rooms, members of what they have loaded. */
  async #recordStates(): Promise<void> {
    this.#doing = 'loading whole rooms';
    for (const client of this.#clients) {
      if (!(client instanceof ClientV2)) continue;
      await client.recordState({ isWhole: this.#newcomers.includes(client) });
    }
  }

  /** Ends all nodes by SIGTERM, and judges what the clients saw by the log. */
  async result(): Promise<Result> {
    // The clients no longer matter.
    for (const client of this.#clients) client.stopReconnecting();
    await Promise.all(this.#cluster.nodes.map((node) => node.stop('SIGTERM')));
    const log = logOf(this.#roomIds, await this.#cluster.readLog());
    const tables = await this.#cluster.readTables(this.#roomIds);
    const { surprises, ruleRequests, incidents } = this.#ledger;
    const { sent, acknowledged, refused, received, reconnects, commands } = this.#ledger;
    return {
      seed: this.#options.seed,
      seconds: this.#options.seconds,
      again: this.#options.again,
      sent,
      acknowledged,
      refused,
      unsettled: this.#clients.reduce((sum, client) => sum + client.unsettled, 0),
      delivered: received,
      reconnects,
      ruleChanges: ruleRequests.size,
      slowest: commands.reduce<Command | undefined>((slowest, command) => {
        return waitedMs(command) > waitedMs(slowest) ? command : slowest;
      }, undefined),
      verdict: judge(log, this.#ledger, tables),
      incidents,
      surprises: Object.fromEntries(surprises),
    };
  }
}

/** So many of the rooms, from the one at an index on. */
function roomsFrom(roomIds: readonly number[], index: number, count: number): number[] {
  const first = index % roomIds.length;
  return [...roomIds.slice(first), ...roomIds.slice(0, first)].slice(0, count);
}

function waitedMs(command: Command | undefined): number {
  return (command?.settledAt ?? 0) - (command?.at ?? 0);
}

/** The log of these rooms alone. */
function logOf(roomIds: readonly number[], { rows, heads }: Log): Log {
  const own = new Set(roomIds);
  return {
    rows: rows.filter((row) => own.has(row.room_id)),
    heads: new Map([...heads].filter(([roomId]) => own.has(roomId))),
  };
}
