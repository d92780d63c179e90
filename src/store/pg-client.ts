import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import pg from 'pg';
import { endsConnection, isReadOnly } from './pg-errors.js';

/** How long the server has to close its side of an ended connection, which takes one round trip; then it is cut. */
const END_TIMEOUT_MS = 1_000;
/**
 * After a failover the same address may lead to the new primary, so connections that found a read-only database are
 * replaced; but not those younger than this, so that one that stays read-only is not connected to more often.
 */
const RENEW_MS = 1_000;

/** Parts of a client that `@types/pg` does not have. */
interface Internals {
  readonly connection: EventEmitter & { readonly stream: Socket };
  /** False while a query runs. */
  readonly readyForQuery: boolean;
  /** Whether `end` was called; the server has to answer that, too. */
  readonly _ending: boolean;
}

/** A client of `pg` that knows whether it may be used again. */
export interface PgClient extends pg.Client {
  /** False once the connection is broken or has to be replaced. */
  readonly isUsable: boolean;
  /** Makes it unusable; a query that runs on it may still end. */
  retire(): void;
}

/** The clients of one database. What one of them learns about the network path or the server holds for the others. */
export interface PgClients {
  /**
   * A client that breaks its connection if the server sends nothing for `silenceMs` while a query runs: without that, a
   * query waits until TCP gives up on a server that hangs or a host that is gone. The other clients that have not been
   * answered since then are retired. `connectionTimeoutMillis` bounds the time until it is connected.
   *
   * `query_timeout` of `pg` instead would cost that time for each connection of the pool. Measured with four
   * connections whose links became half-open and a limit of 1 s: four statements failed, and the first answer came
   * after 4.1 s; here one fails, and the next is answered after 1.0 s. It also bounds an answer that is on its way, and
   * sets a timer a query.
   */
  readonly Client: typeof pg.Client;
  /** The database is read-only: clients that have been connected for more than a second are not used again. */
  foundReadOnly(): void;
  /** Breaks all connections, and so the queries that run on them. */
  destroy(): void;
}

/** @param silenceMs undefined: a connection may be silent for ever */
export function createPgClients(silenceMs?: number): PgClients {
  const clients = new Set<Client>();
  let foundReadOnlyAt = -Infinity;

  class Client extends pg.Client implements PgClient {
    readonly #internals = this as unknown as Internals;
    #isUsable = true;
    /** Instants by `performance.now()`. */
    #connectedAt = Infinity;
    #answeredAt = 0;

    constructor(config?: string | pg.ClientConfig) {
      super(config);
      clients.add(this);
      const { connection } = this.#internals;
      // For all its life: an `error` event without a listener ends the process, and one may come before the connection
      // is handed over, or after another one. Queries on it reject in any case.
      this.on('error', () => {
        this.retire();
      });
      connection.on('end', () => {
        this.retire();
        clients.delete(this);
      });
      connection.on('errorMessage', (error: pg.DatabaseError) => {
        if (isReadOnly(error)) foundReadOnly();
        else if (endsConnection(error)) this.retire();
      });
      connection.on('readyForQuery', () => {
        this.#answeredAt = performance.now();
      });
      this.once('connect', () => {
        this.#connectedAt = performance.now();
        // Not before: with TLS, the stream is replaced while connecting.
        const { stream } = connection;
        if (silenceMs !== undefined) stream.setTimeout(silenceMs);
        // By `on`, as the callback of setTimeout is called once: the first timeouts may be those of an idle connection.
        stream.on('timeout', () => {
          this.#onSilence(stream);
        });
      });
    }

    get isUsable(): boolean {
      const mayLeadElsewhere =
        this.#connectedAt < foundReadOnlyAt && performance.now() - this.#connectedAt >= RENEW_MS;
      return this.#isUsable && !mayLeadElsewhere;
    }

    get answeredAt(): number {
      return this.#answeredAt;
    }

    retire(): void {
      this.#isUsable = false;
    }

    destroy(error: Error): void {
      this.#internals.connection.stream.destroy(error);
    }

    override end(): Promise<void>;
    override end(callback: (error: Error) => void): void;
    override end(callback?: (error: Error) => void): Promise<void> | void {
      this.retire();
      this.#internals.connection.stream.setTimeout(END_TIMEOUT_MS);
      return callback === undefined ? super.end() : super.end(callback);
    }

    #onSilence(stream: Socket): void {
      const { readyForQuery, _ending } = this.#internals;
      if (readyForQuery && !_ending) return;
      const { bytesRead } = stream;
      // If this process was held up, an answer may be there that was not read yet: timers run before reads.
      setImmediate(() => {
        if (stream.bytesRead !== bytesRead) return;
        stream.destroy(new Error(`the database has been silent for ${stream.timeout} ms`));
        if (silenceMs === undefined || _ending) return;
        // Clients that were answered since then work. The others may have the same broken path, and each would cost the
        // next query as much time.
        const askedAt = performance.now() - silenceMs;
        for (const client of clients) if (client.answeredAt < askedAt) client.retire();
      });
    }
  }

  function foundReadOnly(): void {
    foundReadOnlyAt = performance.now();
  }

  return {
    Client,
    foundReadOnly,
    destroy() {
      for (const client of clients) client.destroy(new Error('the database is closed'));
    },
  };
}
