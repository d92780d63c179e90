/** Why something was refused, or was not done. */
export class ChatError extends Error {
  override readonly name = 'ChatError';
  /** A constant of docs/PROTOCOL.md or docs/HTTP-API.md, or one of the client: CLOSED, NO_TOKEN, OFFLINE. */
  readonly reason: string;
  /** Beside REF_USED the number of the first message. */
  readonly seq: number | undefined;

  constructor(reason: string, { detail, seq, cause }: Details = {}) {
    super(detail ?? reason, { cause });
    this.reason = reason;
    this.seq = seq;
  }
}

interface Details {
  readonly detail?: string | undefined;
  readonly seq?: number | undefined;
  readonly cause?: unknown;
}
