/** What a client may ask for over the socket. docs/PROTOCOL.md has the table of answers. */
export type Command =
  | { readonly type: 'token'; readonly content: string }
  | { readonly type: 'select_room'; readonly roomId: number; readonly after?: number | undefined }
  | { readonly type: 'message'; readonly content: string; readonly ref?: string | undefined }
  | { readonly type: 'quit' };

export type CommandType = Command['type'];

/** A command of a known type whose fields are wrong. */
export interface Malformed {
  readonly type: CommandType;
  /** The first field that is. */
  readonly field: string;
  /** A sentence for the client. */
  readonly problem: string;
  /** The sender's name for the command, where that is sound. */
  readonly ref?: string | undefined;
}

/** What one frame turned out to be. */
export type Decoded =
  | { readonly kind: 'command'; readonly command: Command }
  | { readonly kind: 'malformed'; readonly malformed: Malformed }
  /** An object whose `type` is none of ours. */
  | { readonly kind: 'unknown' }
  /** Not JSON, or not an object. */
  | { readonly kind: 'not-json' };
