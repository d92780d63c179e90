/** What a connection needs of a WebSocket: a browser has it, Node since 22, and `ws`. */
export interface Socket {
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(type: 'close', listener: (event: { readonly code: number }) => void): void;
  addEventListener(type: 'error', listener: () => void): void;
  send(data: string): void;
  close(code?: number): void;
}

export type SocketClass = new (url: string, protocol: string) => Socket;

interface Target {
  addEventListener(type: string, listener: () => void, options: { signal: AbortSignal }): void;
}

/** What a browser has, and Node has not. */
interface Platform extends Partial<Target> {
  readonly document?: Target & { readonly visibilityState: string };
  readonly WebSocket?: SocketClass;
  readonly location?: { readonly href: string };
  readonly localStorage?: Record<string, unknown> & {
    setItem(key: string, value: string): void;
    removeItem(key: string): void;
  };
}

export const platform = globalThis as unknown as Platform;

/** What clients use that are given nothing else; node.ts completes it. */
export const defaults: { WebSocket: SocketClass | undefined } = { WebSocket: platform.WebSocket };

/** A name that nobody else gives: 128 random bits. `crypto.randomUUID` is there on pages of https alone. */
export function newRef(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join('-');
}

/** What the application gives must come within so long. */
const MOST_WAIT_MS = 30_000;

/** Asks the application for something, in a later turn. Rejects if it takes too long, and would hold up all else. */
export function inTime<Value>(give: () => Value | Promise<Value>): Promise<Value> {
  const late = new Promise<never>((_, reject) => {
    AbortSignal.timeout(MOST_WAIT_MS).addEventListener('abort', reject);
  });
  return Promise.race([Promise.resolve().then(give), late]);
}
