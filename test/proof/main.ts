import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createRoom, putRule } from '../harness/api.js';
import { person, secondsFromNow, type Person } from '../harness/tokens.js';
import { ProofClient } from './client.js';
import { Cluster } from './cluster.js';
import { injectFaults } from './injector.js';
import { Ledger, type Command } from './ledger.js';
import { readOptions, type Options } from './options.js';
import { createRandom, type Random } from './random.js';
import { isProved, renderResult, showProgress, type Result } from './report.js';
import { Reader } from './reader.js';
import { Shuffler } from './shuffler.js';
import { judge, TALKS_WITHIN_MS } from './verdict.js';

/** The largest `integer` of Postgres: the id of a rule request is a level, and the owner outranks all of them. */
const OWNER_LEVEL = 2_147_483_647;
/** The rights of one in this number of members of a room are changed. */
const SHUFFLED_ONE_IN = 5;
const WHOLE_TIMEOUT_MS = 30_000;
/** Tokens are valid for longer than the proof runs, even if a clock is set ahead. */
const CLAIMS = { exp: secondsFromNow(4 * 3_600) };
const LOOK_INTERVAL_MS = 50;
/** How often the last numbers are read after the faults. */
const QUIET_INTERVAL_MS = 250;

/** A running proof: the load, the faults, and the ledger of both. */
class Proof {
  readonly #options: Options;
  readonly #cluster: Cluster;
  readonly #ledger: Ledger;
  readonly #owner = person({ levelOnEntity: OWNER_LEVEL }, CLAIMS);
  #roomIds: readonly number[] = [];
  #clients: readonly ProofClient[] = [];
  #shuffler: Shuffler | undefined;
  #reader: Reader | undefined;
  #doing = 'starting';
  #deadline = Infinity;
  #stopped = false;

  constructor(options: Options, cluster: Cluster, ledger: Ledger) {
    this.#options = options;
    this.#cluster = cluster;
    this.#ledger = ledger;
  }

  async run(): Promise<Result> {
    const { seed, seconds, faults } = this.#options;
    const random = createRandom(seed);
    const hideProgress = showProgress(this.#ledger, () => ({
      // Until everything has started, the deadline is far away.
      done: Math.max(0, 1 - Math.max(0, this.#deadline - performance.now()) / (seconds * 1_000)),
      doing: this.#doing,
      live: this.#clients.filter((client) => client.isLive).length,
    }));
    try {
      await this.#populate(random.fork());
      this.#deadline = performance.now() + seconds * 1_000;
      this.#doing = '';
      await injectFaults({
        names: faults,
        cluster: this.#cluster,
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
      await this.#endNodes();
      return await this.#result();
    } finally {
      hideProgress();
    }
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
    const members: { who: Person; roomId: number }[] = [];
    for (let index = 0; index < clientCount; index += 1) {
      const who = person({}, CLAIMS);
      const roomId = roomIds[index % roomCount] ?? 0;
      const { userUUID } = who;
      const rule = { userUUID, permissions: 'rw', level: 0 };
      const answer = await putRule(random.pick(nodes), owner, roomId, rule);
      if (answer.status !== 201) throw new Error(`no member: ${JSON.stringify(answer.meta)}`);
      members.push({ who, roomId });
    }
    this.#clients = members.map(
      ({ who, roomId }) =>
        new ProofClient({
          who,
          roomId,
          ledger: this.#ledger,
          random: random.fork(),
          nodes,
          messagesPerSecond: rate / clientCount,
        }),
    );
    this.#shuffler = new Shuffler({
      owner,
      members: members
        .filter((_, index) => Math.floor(index / roomCount) % SHUFFLED_ONE_IN === 0)
        .map(({ who, roomId }) => ({ userUUID: who.userUUID, roomId })),
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
    let last: Map<number, number> | undefined;
    while (performance.now() < timeoutAt && !this.#stopped) {
      // Postgres itself may be broken.
      last ??= await this.#cluster.lastMessages().catch(() => undefined);
      if (last !== undefined && this.#areUpTo(last)) return true;
      await delay(LOOK_INTERVAL_MS);
    }
    return false;
  }

  #areUpTo(last: ReadonlyMap<number, number>): boolean {
    return this.#clients.every(({ record: { userUUID, roomId }, isLive, lastSeq }) => {
      if (this.#shuffler?.mayRead(userUUID) === false) return true;
      return isLive && lastSeq >= (last.get(roomId) ?? 0);
    });
  }

  /**
   * Records which listeners get the messages from now on: in each room a new client on every node, and the members that
   * are in the room.
   */
  async #listen(random: Random): Promise<void> {
    this.#doing = 'listening in each room';
    const begunAt = this.#ledger.tick();
    const deadline = begunAt + TALKS_WITHIN_MS;
    const last = await this.#cluster.lastMessages();
    const newcomers = this.#roomIds.flatMap((roomId) =>
      this.#cluster.nodes.map(
        (node) =>
          new ProofClient({
            who: this.#owner,
            roomId,
            ledger: this.#ledger,
            random: random.fork(),
            nodes: [node],
            messagesPerSecond: 0,
            after: last.get(roomId) ?? 0,
          }),
      ),
    );
    for (const newcomer of newcomers) newcomer.connect();
    this.#clients = [...this.#clients, ...newcomers];
    const heardAt = new Map<ProofClient, number>();
    while (performance.now() < deadline && heardAt.size < this.#clients.length) {
      for (const client of this.#clients) {
        if (client.newestHeardAt < begunAt || heardAt.has(client)) continue;
        heardAt.set(client, performance.now());
      }
      await delay(LOOK_INTERVAL_MS);
    }
    for (const client of this.#clients) {
      const { userUUID, roomId } = client.record;
      const hears = heardAt.get(client);
      const isMember = client.isLive && this.#shuffler?.mayRead(userUUID) !== false;
      if (hears === undefined && !isMember && !newcomers.includes(client)) continue;
      this.#ledger.listeners.push({
        roomId,
        userUUID,
        node: client.nodeName,
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
      if (areAnswered && this.#areUpTo(await this.#cluster.lastMessages())) return;
      await delay(QUIET_INTERVAL_MS);
    }
  }

  /** Ends all nodes by SIGTERM. The clients no longer matter then. */
  async #endNodes(): Promise<void> {
    this.#doing = 'ending the nodes';
    for (const client of this.#clients) client.stopReconnecting();
    await Promise.all(this.#cluster.nodes.map((node) => node.stop('SIGTERM')));
  }

  async #result(): Promise<Result> {
    const log = await this.#cluster.readLog();
    const { surprises, ruleRequests, incidents } = this.#ledger;
    const { sent, acknowledged, refused, delivered, reconnects, commands } = this.#ledger;
    return {
      seed: this.#options.seed,
      seconds: this.#options.seconds,
      again: this.#options.again,
      sent,
      acknowledged,
      refused,
      unsettled: this.#clients.reduce((sum, client) => sum + client.unsettled, 0),
      delivered,
      reconnects,
      ruleChanges: ruleRequests.size,
      slowest: commands.reduce<Command | undefined>((slowest, command) => {
        return waitedMs(command) > waitedMs(slowest) ? command : slowest;
      }, undefined),
      verdict: judge(log, this.#ledger),
      incidents,
      surprises: Object.fromEntries(surprises),
    };
  }
}

function waitedMs(command: Command | undefined): number {
  return (command?.settledAt ?? 0) - (command?.at ?? 0);
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const ledger = new Ledger();
  const env = options.gapRepair ? {} : { NANO_TEST_NO_GAP_REPAIR: '1' };
  const cluster = await Cluster.start(env, ledger);
  const proof = new Proof(options, cluster, ledger);
  let keepLogs = true;
  const end = async (): Promise<void> => {
    proof.end();
    await cluster.end({ keepLogs });
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      keepLogs = false;
      void end().finally(() => process.exit(130));
    });
  }
  try {
    const result = await proof.run();
    const proved = isProved(result);
    process.stdout.write(`${renderResult(result)}\n`);
    if (options.json !== undefined) {
      writeFileSync(options.json, `${JSON.stringify(result, null, 2)}\n`);
    }
    keepLogs = !proved && options.gapRepair;
    return proved ? 0 : 1;
  } finally {
    if (keepLogs) process.stderr.write(`The nodes' logs are in ${cluster.folder}\n`);
    await end();
  }
}

process.exitCode = await main();
