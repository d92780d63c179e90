import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createRoom, putRule } from '../harness/api.js';
import { person, secondsFromNow, type Person } from '../harness/tokens.js';
import { ProofClient } from './client.js';
import { Cluster } from './cluster.js';
import { injectFaults, type Incident } from './faults.js';
import { Ledger } from './ledger.js';
import { readOptions, type Options } from './options.js';
import { createRandom } from './random.js';
import { isProved, renderResult, showProgress, type Result } from './report.js';
import { Shuffler } from './shuffler.js';
import { judge } from './verdict.js';

/** Postgres' `integer`: the id of a rule request is a level, and the owner outranks them all. */
const OWNER_LEVEL = 2_147_483_647;
const MESSAGES_PER_SECOND = 300;
/** One member of so many has rights that come and go. */
const SHUFFLED_ONE_IN = 5;
const WHOLE_TIMEOUT_MS = 30_000;
const LOOK_INTERVAL_MS = 50;
/** How often the last numbers are read while the quiet lasts. */
const QUIET_INTERVAL_MS = 250;

/** A proof that runs: the load, the faults and what is written down of them. */
class Proof {
  readonly #options: Options;
  readonly #cluster: Cluster;
  readonly #ledger = new Ledger();
  readonly #incidents: Incident[] = [];
  #clients: readonly ProofClient[] = [];
  #shuffler: Shuffler | undefined;
  #doing = 'starting';
  #deadline = Infinity;
  #stopped = false;

  constructor(options: Options, cluster: Cluster) {
    this.#options = options;
    this.#cluster = cluster;
  }

  async run(): Promise<Result> {
    const { seed, seconds, faults } = this.#options;
    const random = createRandom(seed);
    const hideProgress = showProgress(this.#ledger, () => ({
      // While all is still starting, the deadline is far away.
      done: Math.max(0, 1 - Math.max(0, this.#deadline - Date.now()) / (seconds * 1_000)),
      doing: this.#doing,
      live: this.#clients.filter((client) => client.isLive).length,
    }));
    try {
      await this.#populate(random.fork());
      this.#deadline = Date.now() + seconds * 1_000;
      this.#doing = '';
      await injectFaults({
        names: faults,
        cluster: this.#cluster,
        clients: this.#clients,
        random: random.fork(),
        deadline: this.#deadline,
        whole: () => this.#whole(),
        isStopped: () => this.#stopped,
        onFault: (name) => {
          this.#doing = name ?? '';
        },
        onIncident: (incident) => this.#incidents.push(incident),
      });
      // Without faults there was nothing to wait for.
      await delay(Math.max(0, this.#deadline - Date.now()));
      await this.#comeToRest();
      return await this.#result();
    } finally {
      hideProgress();
    }
  }

  /** Ends its clients and timers. */
  end(): void {
    this.#stopped = true;
    for (const client of this.#clients) client.end();
  }

  /** Creates the rooms and their members, connects everyone, and begins to send and to shuffle. */
  async #populate(random: ReturnType<typeof createRandom>): Promise<void> {
    const { clients: clientCount, rooms: roomCount } = this.#options;
    const { nodes } = this.#cluster;
    const claims = { exp: secondsFromNow(this.#options.seconds + 3_600) };
    const owner = person({ levelOnEntity: OWNER_LEVEL }, claims);
    const roomIds: number[] = [];
    while (roomIds.length < roomCount) {
      const node = random.pick(nodes);
      roomIds.push(await createRoom(node, owner, { max_entity_rules: clientCount + 2 }));
    }
    const members: { who: Person; roomId: number }[] = [];
    for (let index = 0; index < clientCount; index += 1) {
      const who = person({}, claims);
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
          urls: nodes.map((node) => node.chatUrl),
          messagesPerSecond: MESSAGES_PER_SECOND / clientCount,
        }),
    );
    this.#shuffler = new Shuffler({
      owner,
      members: members
        .filter((_, index) => index % SHUFFLED_ONE_IN === 0)
        .map(({ who, roomId }) => ({ userUUID: who.userUUID, roomId })),
      ledger: this.#ledger,
      random: random.fork(),
      pickNode: () => random.pick(nodes),
    });
    for (const client of this.#clients) client.connect();
    if (!(await this.#whole())) throw new Error('the clients could not connect');
    for (const client of this.#clients) client.startSending();
    this.#shuffler.start();
  }

  /** Resolves when everyone who may read is live, on what was the last number at the call; false: not in time. */
  async #whole(): Promise<boolean> {
    const timeoutAt = Date.now() + WHOLE_TIMEOUT_MS;
    let last: Map<number, number> | undefined;
    while (Date.now() < timeoutAt && !this.#stopped) {
      // Postgres may be the one that was broken.
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

  /** Everyone gets all rights, stops sending, and has all that there is; bounded in time. */
  async #comeToRest(): Promise<void> {
    this.#doing = 'coming to rest';
    await this.#shuffler?.stop();
    for (const client of this.#clients) client.stopSending();
    const timeoutAt = Date.now() + WHOLE_TIMEOUT_MS;
    while (Date.now() < timeoutAt && !this.#stopped) {
      const areAnswered = this.#clients.every((client) => client.unanswered === 0);
      // What nobody waits for any more may still be on its way: the last numbers are read after.
      if (areAnswered && this.#areUpTo(await this.#cluster.lastMessages())) return;
      await delay(QUIET_INTERVAL_MS);
    }
  }

  async #result(): Promise<Result> {
    const { log, heads } = await this.#cluster.readLog();
    const { clients, ruleRequests, surprises, sent, acknowledged, refused, delivered, reconnects } =
      this.#ledger;
    return {
      seed: this.#options.seed,
      seconds: this.#options.seconds,
      sent,
      acknowledged,
      refused,
      unanswered: this.#clients.reduce((sum, client) => sum + client.unanswered, 0),
      delivered,
      reconnects,
      ruleChanges: ruleRequests.size,
      verdict: judge({ log, heads, clients, ruleRequests }),
      incidents: this.#incidents,
      surprises: Object.fromEntries(surprises),
    };
  }
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const cluster = await Cluster.start(options.gapRepair ? {} : { NANO_TEST_NO_GAP_REPAIR: '1' });
  const proof = new Proof(options, cluster);
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
