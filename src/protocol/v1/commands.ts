/** The commands of a client over the socket, by type. docs/PROTOCOL.md has the table of answers. */
export interface Commands {
  token: { readonly type: 'token'; readonly content: string };
  select_room: {
    readonly type: 'select_room';
    readonly roomId: number;
    readonly after?: number | undefined;
  };
  message: {
    readonly type: 'message';
    readonly content: string;
    readonly ref?: string | undefined;
  };
  quit: { readonly type: 'quit' };
}

export type CommandType = keyof Commands;

export type Command = Commands[CommandType];

/** A command of a known type with wrong fields. */
export interface Malformed<Type extends CommandType = CommandType> {
  readonly type: Type;
  /** The first wrong field, by its name in the command. */
  readonly field: string;
  /** A sentence for the client. */
  readonly problem: string;
  /** The sender's name for the command, if that is valid. */
  readonly ref?: string | undefined;
}

/** What one frame turned out to be. */
export type Decoded =
  | { readonly kind: 'command'; readonly command: Command }
  | { readonly kind: 'malformed'; readonly malformed: Malformed }
  /** An object with an unknown `type`. */
  | { readonly kind: 'unknown' }
  /** No JSON, or no object. */
  | { readonly kind: 'not-json' };
