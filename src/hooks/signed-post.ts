import { Webhook } from 'standardwebhooks';

/** An answer of the receiver. */
export interface PostAnswer {
  readonly status: number;
  /** Its body as text, of which no more is read than `maxAnswerBytes`. */
  readonly text: string;
}

/**
 * Posts JSON, signed as Standard Webhooks has it: the receiver knows who sent it, and when. A redirect is an answer like
 * any other, and is not followed.
 * @param id names what is told, the same at each attempt
 * @param signal ends the request; then, and if there is no answer in time, the promise rejects
 */
export type SignedPost = (id: string, json: string, signal?: AbortSignal) => Promise<PostAnswer>;

/** @param secrets each signs, so that a receiver accepts the old and the new one while the secret is changed */
export function createSignedPost({
  url,
  secrets,
  timeoutMs,
  maxAnswerBytes,
}: {
  url: URL;
  secrets: readonly string[];
  timeoutMs: number;
  maxAnswerBytes: number;
}): SignedPost {
  const signers = secrets.map((secret) => new Webhook(secret));
  return async (id, json, signal) => {
    const now = new Date();
    const { ending, release } = endingOf(timeoutMs, signal);
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          // Node 20 takes a damaged brotli for an empty body, which a hook accepts by.
          'Accept-Encoding': 'identity',
          'Content-Type': 'application/json',
          'User-Agent': 'nano-messaging',
          'Webhook-Id': id,
          'Webhook-Timestamp': String(Math.floor(now.getTime() / 1_000)),
          'Webhook-Signature': signers.map((signer) => signer.sign(id, now, json)).join(' '),
        },
        body: json,
        redirect: 'manual',
        signal: ending,
      });
      return { status: response.status, text: await beginningOf(response, maxAnswerBytes) };
    } finally {
      release();
    }
  };
}

/**
 * A signal for the end of a request, by its time or by that of another signal. Not `AbortSignal.any`: a signal that
 * outlives many requests would keep something of each.
 */
function endingOf(
  timeoutMs: number,
  signal: AbortSignal | undefined,
): { readonly ending: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const end = (): void => {
    controller.abort(signal?.reason);
  };
  const timer = setTimeout(() => {
    controller.abort(new DOMException('no answer before the timeout', 'TimeoutError'));
  }, timeoutMs);
  if (signal?.aborted === true) end();
  else signal?.addEventListener('abort', end, { once: true });
  return {
    ending: controller.signal,
    release() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    },
  };
}

/** A body that is read to its end leaves the connection for the next request. */
async function beginningOf({ body }: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let left = maxBytes;
  for await (const chunk of body ?? []) {
    chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    // Ends the loop, which cancels the rest.
    if (left < 0) break;
  }
  return Buffer.concat(chunks).toString();
}
