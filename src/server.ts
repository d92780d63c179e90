import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { createDevTokens } from './access/dev-users.js';
import { readOrCreateSecret } from './access/secret.js';
import { openKeySet, type KeySet } from './access/key-set.js';
import { createVerifier, fetchingKeys, type VerifyToken } from './access/token.js';
import { createActions } from './actions/actions.js';
import { createDevUsers } from './actions/dev-users.js';
import { createScreening } from './actions/screening.js';
import type { CreateBroker } from './broker/broker.js';
import { createLocalBroker } from './broker/local.js';
import { createRedisBroker } from './broker/redis.js';
import { createShardedBroker } from './broker/sharded.js';
import {
  createBeforeStoring,
  HOOK_TIMEOUT_MS,
  type BeforeStoring,
} from './hooks/before-storing.js';
import { createSignedPost } from './hooks/signed-post.js';
import { startWebhooks, type Webhooks } from './jobs/webhooks.js';
import { createHub, type Hub } from './feeds/hub.js';
import { createFlushQueue } from './feeds/flush-queue.js';
import { createChat } from './chat/upgrade.js';
import { createAddressOf } from './limits/client-address.js';
import { createFailedTokens } from './limits/failed-tokens.js';
import { createSocketLimits } from './limits/socket-limits.js';
import { createRates } from './limits/rates.js';
import { createMessageLimits } from './limits/message-limits.js';
import type { Config } from './config/load.js';
import { plainUrls } from './config/plain-urls.js';
import { StartError } from './errors.js';
import { createApp } from './http/app.js';
import { answerError, createConnections } from './http/connections.js';
import { readPage } from './http/page.js';
import { createReadiness } from './http/readiness.js';
import { createLogger, type Logger } from './logger.js';
import { createDecoder } from './protocol/v1/decode.js';
import { createDecoder as createDecoderV2 } from './protocol/v2/decode.js';
import type { Observer } from './observer.js';
import { shutDownNode } from './shutdown.js';
import { connectDatabase, type Database } from './store/connect.js';
import { createErasures } from './store/erasures.js';
import { openEpoch, type Epoch } from './store/epoch.js';
import { watchForLoneNodes } from './store/lone-node.js';
import { migrate, requireMigrated } from './store/migrate.js';
import { startStoringWords } from './store/message-words.js';
import { startPurging } from './store/purge.js';
import { startRetention } from './store/retention.js';
import { openRevocations, type Revocations } from './store/revocations.js';
import { createStore, type Store } from './store/store.js';

export { ConfigError, loadConfig, type Config } from './config/load.js';

const SECONDS_A_MINUTE = 60;
/** Standard Webhooks suggests 15 to 30 s. */
const WEBHOOK_TIMEOUT_MS = 15_000;
/** Nobody looks at an answer, but a connection whose answer was read takes the next event. */
const WEBHOOK_ANSWER_BYTES = 4_096;

/** A node: REST and `/chat` on one port. */
export interface Server {
  /** Resolves when connections are accepted; rejects if the port can't be had. */
  listen(): Promise<AddressInfo>;
  /** The address that it listens on; undefined before `listen` and after `close`. */
  readonly address: AddressInfo | undefined;
  /** The address of `/metrics`, likewise; undefined without METRICS_PORT. */
  readonly metricsAddress: AddressInfo | undefined;
  /** Whether the database is the embedded one. */
  readonly embedded: boolean;
  /** Whether the chat page is served at `/`. */
  readonly hasPage: boolean;
  /** Resolves with the reason if the node can't go on: then the process must be ended and started again. */
  readonly failed: Promise<Error>;
  /**
   * Shuts the node down: accepts no more connections, stores the messages in flight, closes sockets with 1012. Resolves
   * when everything that the server owns has ended, or the time for it is up.
   */
  close(): Promise<void>;
}

/**
 * Opens the database, migrates it, and wires the parts of a node; the one place that knows whether the
 * broker is Redis and the database embedded.
 * @throws {StartError} if the database can't be used, and says why
 */
export async function createServer(
  config: Config,
  logger: Logger = createLogger({ level: config.logLevel, production: config.production }),
): Promise<Server> {
  if (config.production && config.redisUrls.length === 0) {
    logger.warn(
      'no REDIS_URL: this must be the only process on its database, or messages between processes are late',
    );
  }
  const plain = config.production ? plainUrls(config) : [];
  if (plain.length > 0) {
    logger.warn(
      { variables: plain },
      'http to a public host: whoever is on the way reads it, and can answer instead; use https',
    );
  }
  const page = config.page ? await readPage() : undefined;
  const secret = config.jwtSecret ?? (await ownSecret(config));
  const { database, epoch, revocations } = await openDatabase(config, logger);
  const { limits } = config;
  // Loaded only if somebody measures.
  const metrics =
    config.metrics && (await import('./metrics/metrics.js')).createMetrics(config.metrics, logger);
  const observer = metrics?.observer;
  const tracing = config.tracing && (await loadTracing())(config.tracing, epoch, logger);
  const tracer = tracing?.tracer;
  const tellsWebhooks = config.webhookUrl !== undefined;
  const store = createStore({ database, limits, logger, observer, tracer, tellsWebhooks });
  const keySet = config.keySetUrl && (await openKeySet(config.keySetUrl, logger));
  const verify = createTokenVerifier(config, secret, keySet);
  const flushQueue = createFlushQueue();
  const hub = createHub({
    log: store.log,
    epoch,
    revocations,
    flushQueue,
    createBroker: brokerOf(config, logger),
    repairsGaps: config.repairsGaps,
    limits,
    logger,
    observer,
    tracer,
    onStored: tellsWebhooks ? (roomId) => webhooks?.wake(roomId) : undefined,
  });
  const webhooks = postWebhooks(config, store, hub, logger, observer);

  const erasures = createErasures({
    sequelize: database.sequelize,
    publish: (entry) => void hub.publish(entry.roomId, [entry]),
    storeTimeoutMs: limits.storeTimeoutMs,
    logger,
  });
  const messageLimits = createMessageLimits(limits);
  const actions = createActions({
    store,
    hub,
    revocations,
    erasures,
    verify,
    screening:
      config.hookUrl &&
      createScreening({
        hook: hookAt(config.hookUrl, config, logger, observer),
        destinations: store.destinations,
        limits,
      }),
    messageLimits,
    directRoomLevel: config.directRoomLevel,
    limits,
    logger,
  });
  // No application has a secret that was made here, and production does not start with one.
  const devUsers =
    config.page && config.jwtSecret === undefined && secret !== undefined
      ? createDevUsers({
          sign: createDevTokens({ secret, audience: config.audience, issuer: config.issuer }),
          rooms: actions.rooms,
        })
      : undefined;
  const signIn: VerifyToken = (token) => actions.users.signIn(token);

  const stopPurging = startPurging({ sequelize: database.sequelize, logger });
  const stopRetention =
    config.retentionDays > 0
      ? startRetention({ sequelize: database.sequelize, days: config.retentionDays, logger })
      : undefined;
  const stopStoringWords = startStoringWords({ sequelize: database.sequelize, logger });
  const stopWatching = database.embedded
    ? undefined
    : watchForLoneNodes({ database, isLone: config.redisUrls.length === 0, logger });
  async function stopTasks(): Promise<void> {
    stopWatching?.();
    keySet?.close();
    rates.close();
    await Promise.all([
      stopPurging(),
      stopRetention?.(),
      stopStoringWords(),
      erasures.close(),
      webhooks?.close(),
      metrics?.close(),
      tracing?.close(),
    ]);
  }

  const addressOf = createAddressOf(config.trustedProxies, logger);
  const { requestsPerSecond, requestsBurst, failedTokensPerMinute } = limits;
  const countsRates = requestsPerSecond > 0 || failedTokensPerMinute > 0;
  // One of several is enough to count.
  const [url] = config.redisUrls;
  const { redisPrefix: prefix, redisSentinels: sentinels } = config;
  const rates = createRates({
    redis: countsRates && url !== undefined ? { url, sentinels, prefix, epoch } : undefined,
    logger,
  });
  const tokens = createFailedTokens({
    verify: signIn,
    limit:
      failedTokensPerMinute > 0
        ? {
            most: failedTokensPerMinute,
            windowMs: SECONDS_A_MINUTE * 1_000,
            rate: rates.create('failed-tokens', failedTokensPerMinute, SECONDS_A_MINUTE),
          }
        : undefined,
  });
  // A window has a second at least.
  const mostRequests = Math.max(requestsBurst, requestsPerSecond);
  const requestRate =
    requestsPerSecond > 0
      ? {
          most: mostRequests,
          count: rates.create(
            'requests',
            mostRequests,
            Math.ceil(mostRequests / requestsPerSecond),
          ),
        }
      : undefined;
  const chat = createChat({
    tokens,
    socketLimits: createSocketLimits(limits),
    addressOf,
    decode: createDecoder(limits),
    decodeV2: createDecoderV2(limits),
    hub,
    actions,
    limits,
    messageLimits,
    logger,
    observer,
    flushQueue,
    corsOrigins: config.corsOrigins,
    isRevoked: (identity) => revocations.covers(identity),
    refuse: answerError,
  });
  revocations.onRevoked((userUUID) => {
    chat.endRevoked(userUUID);
  });
  let closing: Promise<void> | undefined;
  const isClosing = (): boolean => closing !== undefined;
  const uploads = new WeakSet<IncomingMessage>();
  const app = createApp({
    actions,
    uploads,
    tokens,
    addressOf,
    requestRate,
    readiness: createReadiness({
      pingDatabase: () => database.ping(),
      brokerIsUp: () => hub.brokerIsUp,
      isClosing,
    }),
    isClosing,
    corsOrigins: config.corsOrigins,
    timeZone: config.timeZone,
    devUsers,
    page,
    limits,
    logger,
    observer,
  });
  metrics?.watch({
    chat,
    hub,
    epoch,
    unsettled: () => store.log.unsettled(),
    poolUses: () => database.poolUses(),
    webhookBacklog: tellsWebhooks ? () => store.webhookCursors.backlog() : undefined,
  });
  const handle = app.callback();
  const connections = createConnections({
    serve: (request, response) => {
      // Koa answers its own errors: the promise never rejects.
      void handle(request, response);
    },
    isHandshake: (request) => chat.isHandshake(request),
    upgrade: (request, stream, head) => {
      chat.upgrade(request, stream, head);
    },
    uploads,
    logger,
    observer,
  });
  const http = connections.server;

  return {
    embedded: database.embedded,
    hasPage: page !== undefined,
    failed: database.failed,
    get address() {
      return http.listening ? (http.address() as AddressInfo) : undefined;
    },
    get metricsAddress() {
      return metrics?.address;
    },
    async listen() {
      await metrics?.listen();
      http.listen({ port: config.port, ...(config.host !== undefined && { host: config.host }) });
      await once(http, 'listening');
      return http.address() as AddressInfo;
    },
    close() {
      closing ??= shutDownNode(
        { chat, log: store.log, connections, hub, stopTasks, database },
        { drainMs: limits.drainSeconds * 1_000, timeoutMs: limits.shutdownTimeoutMs },
        logger,
      );
      return closing;
    },
  };
}

/** @throws {StartError} if the packages, which are optional, are not there */
async function loadTracing() {
  try {
    return (await import('./tracing/tracing.js')).createTracing;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes('@opentelemetry/')) throw error;
    throw new StartError(
      'OTEL_EXPORTER_OTLP_ENDPOINT needs the optional packages of OpenTelemetry: install without --omit=optional, or leave it out',
      { cause: error },
    );
  }
}

/** The secret of an installation whose tokens no application signs. */
async function ownSecret({ hasPublicKeys, dataDir }: Config): Promise<string | undefined> {
  return hasPublicKeys ? undefined : readOrCreateSecret(dataDir);
}

function createTokenVerifier(
  { audience, issuer, oldSecrets, publicKeys, hasPublicKeys }: Config,
  secret: string | undefined,
  keySet: KeySet | undefined,
): VerifyToken {
  const verify = createVerifier({
    secrets: [...(secret === undefined ? [] : [secret]), ...oldSecrets],
    ...(hasPublicKeys && { publicKeys: () => [...publicKeys, ...(keySet?.keys ?? [])] }),
    audience,
    issuer,
  });
  return keySet === undefined ? verify : fetchingKeys(verify, keySet);
}

async function openDatabase(
  config: Config,
  logger: Logger,
): Promise<{ database: Database; epoch: Epoch; revocations: Revocations }> {
  const database = await connectDatabase(config, logger);
  try {
    const prepare = config.migrateOnStart ? migrate : requireMigrated;
    const failed = await Promise.race([prepare(database, logger), database.failed]);
    if (failed instanceof Error) throw failed;
    const epoch = await openEpoch(database, logger);
    return { database, epoch, revocations: await openRevocations(database) };
  } catch (error) {
    await database.close();
    throw error;
  }
}

function hookAt(
  url: URL,
  { webhookSecrets: secrets, hookFailsOpen: failsOpen, limits }: Config,
  logger: Logger,
  observer: Observer | undefined,
): BeforeStoring {
  const { bodyBytes: maxAnswerBytes } = limits;
  const post = createSignedPost({ url, secrets, timeoutMs: HOOK_TIMEOUT_MS, maxAnswerBytes });
  return createBeforeStoring({ post, failsOpen, limits, logger, observer });
}

/** Posts events to WEBHOOK_URL; undefined if there is none. */
function postWebhooks(
  { webhookUrl: url, webhookSecrets: secrets }: Config,
  { webhookCursors: cursors, recipients, log }: Store,
  hub: Hub,
  logger: Logger,
  observer: Observer | undefined,
): Webhooks | undefined {
  if (url === undefined) return undefined;
  return startWebhooks({
    cursors,
    recipients,
    log,
    post: createSignedPost({
      url,
      secrets,
      timeoutMs: WEBHOOK_TIMEOUT_MS,
      maxAnswerBytes: WEBHOOK_ANSWER_BYTES,
    }),
    online: (roomId) => hub.online(roomId),
    logger,
    observer,
  });
}

function brokerOf(config: Config, logger: Logger): CreateBroker {
  const { redisUrls, redisSentinels: sentinels, redisPrefix: prefix } = config;
  const [first, ...others] = redisUrls.map(
    (url): CreateBroker =>
      (onMessage) =>
        createRedisBroker({ url, sentinels, prefix, logger, onMessage }),
  );
  if (first === undefined) return createLocalBroker;
  if (others.length === 0) return first;
  return (onMessage) => createShardedBroker([first, ...others], onMessage);
}
