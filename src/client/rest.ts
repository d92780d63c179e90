import { ChatError } from './errors.js';
import { inTime } from './platform.js';
import type { Answer } from './wire.js';

/** Until an answer is complete: the server's own time limits are shorter. */
const ANSWER_TIMEOUT_MS = 30_000;

interface Options {
  /** Ends in a slash. */
  readonly url: URL;
  readonly token: () => string | Promise<string>;
  readonly fetch: typeof fetch;
}

/** The REST API, and the user's token. */
export class Rest {
  readonly #options: Options;
  /** The token that was fetched last; undefined if that failed, or it was refused. */
  #token: Promise<string> | undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Fetches another token. @throws {ChatError} NO_TOKEN */
  freshToken(): Promise<string> {
    const token = this.#fetchToken();
    this.#token = token;
    token.catch(() => {
      if (this.#token === token) this.#token = undefined;
    });
    return token;
  }

  /** @throws {ChatError} the reason of the server's, OFFLINE if it does not answer, NO_TOKEN */
  async request<Content>(
    method: string,
    path: string,
    body?: object,
    isAgain = false,
  ): Promise<Answer<Content>> {
    const token = this.#token ?? this.freshToken();
    const answer = await this.#ask<Content>(method, path, body, await token);
    const { code, reason = 'INTERNAL', detail, seq } = answer.meta;
    if (code < 400) return answer;
    if (reason !== 'UNAUTHORIZED' || isAgain) throw new ChatError(reason, { detail, seq });
    // It has ended meanwhile. Many requests find out together, and the first one fetches another one.
    if (this.#token === token) this.#token = undefined;
    return this.request(method, path, body, true);
  }

  async #fetchToken(): Promise<string> {
    try {
      return await inTime(this.#options.token);
    } catch (error) {
      throw new ChatError('NO_TOKEN', { cause: error });
    }
  }

  async #ask<Content>(
    method: string,
    path: string,
    body: object | undefined,
    token: string,
  ): Promise<Answer<Content>> {
    const { url, fetch } = this.#options;
    try {
      const response = await fetch(new URL(path.slice(1), url), {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        // Without one it is undefined.
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      });
      const answer = (await response.json()) as Answer<Content>;
      // Something between may answer in a form of its own.
      if (answer.meta.code === response.status) return answer;
      throw new Error(`status ${response.status}`);
    } catch (error) {
      throw new ChatError('OFFLINE', { cause: error });
    }
  }
}

/** The query of a URL, of all that is defined. */
export function queryOf(fields: Readonly<Record<string, string | number | undefined>>): string {
  const defined = JSON.parse(JSON.stringify(fields)) as Record<string, string>;
  return `?${String(new URLSearchParams(defined))}`;
}
