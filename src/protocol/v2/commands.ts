/** What a session may ask for beside entries: events without a number about others in a room. */
export const HINTS = ['typing', 'presence', 'read'] as const;

export type Hint = (typeof HINTS)[number];

/** A room of a `join`. */
export interface WantedRoom {
  /** The room's number, or its uuid in lower case. */
  readonly id: number | string;
  /** `room_id` as the client wrote it, which an error repeats. */
  readonly givenId: number | string;
  /** The client has every entry up to this one. */
  readonly after?: number | undefined;
  /** The epoch of the log that `after` belongs to. */
  readonly epoch?: string | undefined;
}

/** The commands of a client over a socket of version 2, by type. Each may have a `ref`, which its answer repeats. */
export interface Commands {
  token: { readonly type: 'token'; readonly content: string; readonly ref?: string | undefined };
  join: {
    readonly type: 'join';
    readonly rooms: readonly WantedRoom[];
    /** Entries that a room may be behind; if it is further behind, nothing is replayed. */
    readonly max?: number | undefined;
    /** Of all rooms of the list. */
    readonly with: ReadonlySet<Hint>;
    readonly ref?: string | undefined;
  };
  leave: { readonly type: 'leave'; readonly roomId: number; readonly ref?: string | undefined };
  message: {
    readonly type: 'message';
    readonly roomId: number;
    /** Empty only beside `data`. */
    readonly content: string;
    /** A JSON object, as `JSON.stringify` writes it. */
    readonly data?: string | undefined;
    /** Seq of the message that it answers. */
    readonly replyTo?: number | undefined;
    /** UUIDs of users and of entities, in lower case, each once; not an empty list. */
    readonly mentions?: readonly string[] | undefined;
    readonly ref?: string | undefined;
  };
  edit: {
    readonly type: 'edit';
    readonly roomId: number;
    /** Seq of the message. */
    readonly target: number;
    /** Empty only beside `data`. */
    readonly content: string;
    /** As in `message`; undefined drops what the message has. */
    readonly data?: string | undefined;
    readonly ref?: string | undefined;
  };
  delete: {
    readonly type: 'delete';
    readonly roomId: number;
    readonly target: number;
    readonly ref?: string | undefined;
  };
  reaction: {
    readonly type: 'reaction';
    readonly roomId: number;
    readonly target: number;
    readonly emoji: string;
    readonly on: boolean;
    readonly ref?: string | undefined;
  };
  read: {
    readonly type: 'read';
    readonly roomId: number;
    /** Seq of the last entry that was read. */
    readonly upto: number;
    /** Whether the marker may go backwards. */
    readonly isBack: boolean;
    readonly ref?: string | undefined;
  };
  typing: { readonly type: 'typing'; readonly roomId: number; readonly ref?: string | undefined };
  ping: { readonly type: 'ping'; readonly ref?: string | undefined };
  quit: { readonly type: 'quit'; readonly ref?: string | undefined };
}

export type CommandType = keyof Commands;

export type Command = Commands[CommandType];

/** What a client may find of its own in the answer to a frame that was not understood, as far as it is valid. */
interface Origin {
  readonly ref: string | undefined;
  readonly roomId: number | undefined;
}

/** What one frame turned out to be. */
export type Decoded =
  | { readonly kind: 'command'; readonly command: Command }
  /** A command of a known type with wrong fields. */
  | {
      readonly kind: 'malformed';
      readonly type: CommandType;
      /** A sentence for the client. */
      readonly detail: string;
      readonly origin: Origin;
    }
  /** An object with an unknown `type`. */
  | { readonly kind: 'unknown'; readonly origin: Origin }
  /** No JSON, or no object. */
  | { readonly kind: 'not-json' };
