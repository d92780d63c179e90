/** Less than the 5 s that load balancers of AWS and Google wait for a probe, so that they read what is missing. */
const PROBE_TIMEOUT_MS = 2_000;
/** However many clients ask, the database is asked once in this time: probes come every few seconds. */
const ANSWER_HOLDS_MS = 1_000;

/** Whether a node can serve. */
export interface Readiness {
  /** What keeps the node from serving: `database`, `server`. */
  missing(): Promise<string[]>;
  readonly brokerIsUp: boolean;
}

export interface ReadinessOptions {
  /** Rejects if the database does not answer. */
  readonly pingDatabase: () => Promise<void>;
  readonly brokerIsUp: () => boolean;
  readonly isClosing: () => boolean;
}

export function createReadiness({
  pingDatabase,
  brokerIsUp,
  isClosing,
}: ReadinessOptions): Readiness {
  const databaseAnswers = onceAWhile(() => answers(pingDatabase));
  return {
    async missing() {
      const missing = (await databaseAnswers()) ? [] : ['database'];
      if (isClosing()) missing.push('server');
      return missing;
    },
    get brokerIsUp() {
      return brokerIsUp();
    },
  };
}

/** Asks again only if the last answer is older than ANSWER_HOLDS_MS; callers in between share one answer. */
function onceAWhile(ask: () => Promise<boolean>): () => Promise<boolean> {
  let answer: Promise<boolean> | undefined;
  let askedAt = -Infinity;
  return () => {
    const now = performance.now();
    if (answer === undefined || now - askedAt >= ANSWER_HOLDS_MS) {
      askedAt = now;
      answer = ask();
    }
    return answer;
  };
}

async function answers(probe: () => Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('no answer in time'));
    }, PROBE_TIMEOUT_MS);
  });
  try {
    await Promise.race([probe(), timeout]);
    return true;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}
