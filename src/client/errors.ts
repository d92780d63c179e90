/** Why something was refused, or was not done. */
export class ChatError extends Error {
  override readonly name = 'ChatError';
  /** A constant of docs/PROTOCOL.md or docs/HTTP-API.md, or one of the client: CLOSED, OFFLINE. */
  readonly reason: string;
  /** Beside REF_USED the number of the first message. */
  readonly seq: number | undefined;
  /** Milliseconds to wait before the same is tried again. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: string, { detail, seq, retryAfterMs }: Details = {}) {
    super(detail ?? reason);
    this.reason = reason;
    this.seq = seq;
    this.retryAfterMs = retryAfterMs;
  }
}

interface Details {
  readonly detail?: string | undefined;
  readonly seq?: number | undefined;
  readonly retryAfterMs?: number | undefined;
}
