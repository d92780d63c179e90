import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Ledger, NodePause } from './ledger.js';
import { TcpProxy } from './tcp-proxy.js';

const PROGRAM = fileURLToPath(new URL('../../dist/src/main.js', import.meta.url));
const CLOCK = new URL('shiftable-clock.mjs', import.meta.url).href;
/** Of three nodes that start at once on a slow machine. */
const READY_TIMEOUT_MS = 120_000;
/** A process that has not ended this long after SIGTERM is killed. */
const END_TIMEOUT_MS = 20_000;
const RESTART_MS = 500;
/** A garbage collection of a large heap takes a second or two. */
const ANSWER_TIMEOUT_MS = 20_000;

/** What is looked at inside of a node. */
export interface Probe {
  /** Flags of Node. Modules that they import may answer messages over the process' channel. */
  readonly flags: readonly string[];
  readonly metricsPort: number;
}

/** The dependencies of a node. */
interface Setup {
  readonly name: string;
  readonly port: number;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly ledger: Ledger;
  readonly probe: Probe | undefined;
  /** Called with each new process. */
  readonly onProcess: () => void;
}

/**
 * A node of the build, with the same port after each restart. There are proxies between it and its clients, Postgres
 * and Redis. If its process ends by itself, it is started again.
 */
export class ClusterNode {
  readonly name: string;
  /** `http://127.0.0.1:port`, for REST. */
  readonly url: string;
  readonly clientLinks: TcpProxy;
  readonly databaseLinks: TcpProxy;
  readonly redisLinks: TcpProxy;
  readonly #setup: Setup;
  readonly #logFile: string;
  #child: ChildProcess | undefined;
  #isReady = false;
  /** The signal by which the proof ends the process, if it does. */
  #asked: { signal: NodeJS.Signals; at: number } | undefined;
  #pause: NodePause | undefined;

  private constructor(
    setup: Setup,
    links: { client: TcpProxy; database: TcpProxy; redis: TcpProxy },
  ) {
    this.#setup = setup;
    this.name = setup.name;
    this.url = urlOf(setup.port);
    this.#logFile = join(setup.folder, `${setup.name.replace(' ', '-')}.log`);
    this.clientLinks = links.client;
    this.databaseLinks = links.database;
    this.redisLinks = links.redis;
  }

  static async create(setup: Setup): Promise<ClusterNode> {
    return new ClusterNode(setup, {
      client: await TcpProxy.open(urlOf(setup.port)),
      database: await TcpProxy.open(setup.databaseUrl),
      redis: await TcpProxy.open(setup.redisUrl),
    });
  }

  /** `ws://127.0.0.1:port/chat`, through a proxy. */
  get chatUrl(): string {
    return `${this.clientLinks.url.replace('http', 'ws').replace(/\/$/, '')}/chat`;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** `http://127.0.0.1:port/metrics`; undefined without a probe. */
  get metricsUrl(): string | undefined {
    const { probe } = this.#setup;
    return probe && `${urlOf(probe.metricsPort)}/metrics`;
  }

  /** The answer of the probe in its process. */
  async ask(question: object): Promise<unknown> {
    const child = this.#child;
    if (child === undefined) throw new Error(`${this.name} does not run`);
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const answered = once(child, 'message', { signal });
    // If the process ends meanwhile, there is no answer.
    child.send(question, () => undefined);
    return (await answered)[0] as unknown;
  }

  /** Resolves when it is ready. If another process has its port at the moment, it is tried again. */
  async start(): Promise<void> {
    this.#asked = undefined;
    const deadline = performance.now() + READY_TIMEOUT_MS;
    while (performance.now() < deadline) {
      // The proof has ended it meanwhile.
      if (this.#asked !== undefined) return;
      if (this.#child === undefined) this.#spawn();
      const isReady = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(1_000) })
        .then((response) => response.ok)
        .catch(() => false);
      if (isReady && this.#child !== undefined) {
        this.#isReady = true;
        return;
      }
      await delay(50);
    }
    throw new Error(`${this.name} was not ready in time; its log is ${this.#logFile}`);
  }

  /** Sends a signal that ends the process, and resolves when it has ended. */
  async stop(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#asked ??= { signal, at: performance.now() };
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const killTimer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
    await exited;
    clearTimeout(killTimer);
  }

  /** Suspends its process (SIGSTOP); connections stay open. */
  pause(): void {
    if (!this.#isReady) return;
    this.#pause = { node: this.name, from: performance.now(), to: Infinity };
    this.#setup.ledger.pauses.push(this.#pause);
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    if (this.#pause === undefined) return;
    this.#child?.kill('SIGCONT');
    this.#pause.to = performance.now();
    this.#pause = undefined;
  }

  /** Sets its wall clock an hour ahead, then an hour back, then right again. */
  stepClock(): void {
    if (this.#isReady) this.#child?.kill('SIGUSR2');
  }

  async end(): Promise<void> {
    await this.stop('SIGKILL');
    await Promise.all(
      [this.clientLinks, this.databaseLinks, this.redisLinks].map((at) => at.close()),
    );
  }

  #spawn(): void {
    const log = openSync(this.#logFile, 'a');
    const { folder, env, port, probe, onProcess } = this.#setup;
    const flags = ['--import', CLOCK, ...(probe?.flags ?? [])];
    const child = spawn(process.execPath, [...flags, PROGRAM], {
      // A folder without a .env.
      cwd: folder,
      env: {
        PATH: process.env['PATH'],
        PORT: String(port),
        DATABASE_URL: this.databaseLinks.url,
        REDIS_URL: this.redisLinks.url,
        ...(probe && { METRICS_PORT: String(probe.metricsPort) }),
        ...env,
      },
      stdio: ['ignore', log, log, ...(probe === undefined ? [] : ['ipc' as const])],
      // In a process group of its own: Ctrl-C in a terminal reaches the proof alone, which ends the nodes.
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    child.once('exit', (code, signal) => {
      this.#child = undefined;
      onProcess();
      this.#exited(code, signal);
    });
    onProcess();
  }

  #exited(code: number | null, signal: NodeJS.Signals | null): void {
    const { ledger } = this.#setup;
    const wasReady = this.#isReady;
    const at = performance.now();
    this.#isReady = false;
    this.resume();
    // If it was not ready yet, `start` starts it again.
    if (!wasReady) return;
    const asked = this.#asked;
    const tookMs = asked === undefined ? 0 : at - asked.at;
    ledger.exits.push({ node: this.name, asked: asked?.signal, code, signal, tookMs, at });
    if (asked !== undefined) return;
    setTimeout(() => {
      // The proof may end it meanwhile.
      if (this.#asked !== undefined) return;
      this.start().catch((error: Error) => {
        ledger.surprise(error.message);
      });
    }, RESTART_MS);
  }
}

function urlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}
