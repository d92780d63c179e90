import { Retry } from './backoff.js';
import type { Connection } from './connection.js';
import { ChatError } from './errors.js';
import { messageOf, type Message } from './message.js';
import type { Outbox, Pending } from './outbox.js';
import { newRef } from './platform.js';
import type { Limits, Status } from './wire.js';

/** What it needs of its room. */
interface SendingRoom {
  readonly id: number;
  readonly phase: string;
  settled: (pending: Pending) => void;
  /** Joins it again if it is not joined yet. */
  rejoin: () => void;
}

/** What it needs of its client. */
export interface SenderHost {
  readonly client: {
    readonly user: { readonly userUUID: string } | undefined;
    readonly limits: Limits | undefined;
  };
  readonly connection: Pick<Connection, 'state' | 'send'>;
  readonly outbox: Outbox;
}

/** What the server takes as a `ref`. */
const REF = /^[^\0\p{Cs}]{1,64}$/u;

/** Sends the commands of a room, one at a time, so that none overtakes one that has to be repeated. */
export class RoomSender {
  readonly #room: SendingRoom;
  readonly #host: SenderHost;
  /** The `ref` of the command that is on its way. */
  #sent: string | undefined;
  readonly #retry = new Retry();

  constructor(room: SendingRoom, host: SenderHost) {
    this.#room = room;
    this.#host = host;
  }

  /** Messages that are not stored yet. */
  get messages(): readonly Message[] {
    return this.#host.outbox
      .of(this.#room.id)
      .filter(({ command }) => command.type === 'message')
      .map((pending) => this.messageOf(pending));
  }

  /** The message that a command sends, as long as it has no number. */
  messageOf({ command, at }: Pending): Message {
    const emitter = this.#host.client.user?.userUUID ?? '';
    return messageOf({ ...command, emitter, createdAt: at }, undefined);
  }

  /** @throws {ChatError} the reason of the server's, or CLOSED */
  async add(type: Pending['command']['type'], fields: object): Promise<number> {
    const { connection, outbox } = this.#host;
    if (connection.state === 'stopped') throw new ChatError('CLOSED');
    // As it is now: if the application changes its `data` later, the same is sent again all the same.
    const given = JSON.parse(JSON.stringify(fields)) as object;
    const command = { ref: newRef(), ...given, type, room_id: this.#room.id };
    // The server's answer would not say what it is about.
    if (!REF.test(command.ref)) throw new ChatError('INVALID');
    const outcome = outbox.add(command);
    this.transmit();
    return outcome;
  }

  /** Sends the oldest command that is not settled, once the room is joined, or if nobody wants to join it. */
  transmit(): void {
    const { outbox, connection, client } = this.#host;
    const isReady = connection.state === 'online' && this.#room.phase !== 'joining';
    if (!isReady || !outbox.isLoaded || this.#sent !== undefined) return;
    const [pending] = outbox.of(this.#room.id);
    if (pending === undefined) return;
    const { command } = pending;
    const frame = JSON.stringify(command);
    if (new Blob([frame]).size > (client.limits?.frame ?? Infinity)) {
      // The server would close the socket, again and again.
      outbox.refuse(command.ref, new ChatError('TOO_LARGE'));
      this.#room.settled(pending);
      return;
    }
    this.#sent = command.ref;
    connection.send(command);
  }

  /** A command was settled. */
  settled({ command }: Pending): void {
    if (this.#sent === command.ref) this.#sent = undefined;
    this.#retry.worked();
    this.transmit();
  }

  /** The room was joined. */
  joined(): void {
    this.#retry.worked();
    this.transmit();
  }

  /** A command, or the `join`, was UNAVAILABLE or RATELIMITED: it is sent again. */
  unavailable({ retry_after_ms: leastMs = 0 }: Status): void {
    this.#retry.failed(() => {
      this.#sent = undefined;
      this.#room.rejoin();
      this.transmit();
    }, leastMs);
  }

  /** The socket is closed. */
  disconnected(): void {
    this.#retry.cancel();
    this.#sent = undefined;
  }
}
