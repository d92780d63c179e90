import { ChatClient, type ChatError, type Room } from '../../src/client/index.js';
import type { Entry, Frame, Status } from '../../src/client/wire.js';
import { ProofClient, type ClientOptions } from './client.js';
import type { Sending, SentKind } from './ledger.js';
import { NodeSocket, pickNode, type ChatNode } from './node-socket.js';
import { PlaceV2 } from './place-v2.js';
import { REST_ANSWER_WITHIN_MS } from './verdict.js';

/** What a client does, as often as it stands here. */
const ACTS = [
  ...Array.from({ length: 10 }, () => 'message' as const),
  ...Array.from({ length: 3 }, () => 'edit' as const),
  ...Array.from({ length: 2 }, () => 'delete' as const),
  ...Array.from({ length: 3 }, () => 'reaction' as const),
  ...Array.from({ length: 2 }, () => 'read' as const),
] as const;
const EMOJIS = ['👍', '🎉', '\u{2764}\u{FE0F}'];
/** Changes are made of one of so many of the newest messages, so that some are made by several clients at once. */
const CHANGED_OF = 20;
/** How often a client leaves a room behind a command. */
const LEAVES = 0.02;
/** The most that the server gives. */
const PAGE = 1_000;
/** The library asks for the chat at an address; the proof picks the node. */
const ANY_NODE = 'http://node.invalid/';

const EXPECTED_ANSWERS: ReadonlySet<string> = new Set([
  'READY',
  'CONNECTED',
  'OK',
  'SENT',
  'NOTAUTHORIZED',
  'UNAVAILABLE',
  'INVALID',
  'NOTFOUND',
  'PONG',
]);
/** Rights are revoked, and messages deleted, while commands are on their way; after a reset others are not there. */
const EXPECTED_REASONS: ReadonlySet<string> = new Set([
  'FORBIDDEN',
  'REVOKED',
  'DELETED',
  'NO_SUCH_MESSAGE',
]);

interface Command {
  readonly type: string;
  readonly ref?: string;
  readonly rooms?: readonly { room_id: number }[];
}

/**
 * A client of version 2, a member of several rooms: an application of the client library. It sends messages and changes
 * of them, reads, and sometimes leaves a room for a moment. Everything else is the library's duty; the proof gives it the
 * sockets, and listens in.
 */
export class ClientV2 extends ProofClient {
  readonly places: readonly PlaceV2[];
  unsettled = 0;
  readonly #chat: ChatClient;
  readonly #nodes: readonly ChatNode[];
  readonly #byRoom: ReadonlyMap<number, PlaceV2>;
  readonly #timers = new Set<NodeJS.Timeout>();
  #socket: NodeSocket | undefined;
  #isEnded = false;

  constructor(options: ClientOptions & { readonly roomIds: readonly number[] }) {
    super(options);
    const { who, roomIds, ledger, nodes } = options;
    this.#nodes = nodes;
    const pick = (): ChatNode => pickNode(nodes, this.#socket?.node, this.random);
    const opened = (socket: NodeSocket): void => {
      this.#opened(socket);
    };
    const sending = (command: Command): void => {
      this.#sending(command);
    };
    this.#chat = new ChatClient(ANY_NODE, {
      token: () => who.token,
      fetch: (input, init) => this.#fetch(input, init),
      WebSocket: class extends NodeSocket {
        constructor(_url: string, protocol: string) {
          super(pick(), [protocol], ledger);
          opened(this);
        }

        override send(frame: string): void {
          sending(JSON.parse(frame) as Command);
          super.send(frame);
        }
      },
    });
    this.#chat.on('state', (state, reason) => {
      if (state === 'stopped' && !this.#isEnded) ledger.surprise(`the client stopped: ${reason}`);
    });
    this.places = roomIds.map((roomId) => this.#enter(who.userUUID, roomId));
    this.#byRoom = new Map(this.places.map((place) => [place.record.roomId, place]));
  }

  get nodeName(): string {
    return this.#socket?.node.name ?? 'no node';
  }

  connect(): void {
    this.#chat.reconnect();
  }

  terminate(): void {
    this.#socket?.terminate();
  }

  stopReconnecting(): void {
    this.#isEnded = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#chat.close();
  }

  end(): void {
    this.stopSending();
    this.stopReconnecting();
    this.terminate();
  }

  /** Records what it shows of each room. @param isWhole whether all messages are loaded before */
  async recordState({ isWhole = false } = {}): Promise<void> {
    for (const place of this.places) {
      if (isWhole) await loadWhole(place.room);
      place.recordState();
    }
  }

  protected act(): void {
    const place = this.random.pick(this.places);
    if (!place.isLive) return;
    const act = this.random.pick(ACTS);
    if (act === 'message') this.#send(place);
    else if (act === 'read') this.#read(place);
    else this.#change(place, act);
    // What is on its way then comes again once the room is joined again.
    if (this.random.next() < LEAVES) {
      place.room.leave();
      this.#openLater(place.record.roomId);
    }
  }

  #enter(userUUID: string, roomId: number): PlaceV2 {
    const room = this.#chat.room(roomId);
    room.on('closed', (reason) => {
      if (this.#isEnded) return;
      if (!EXPECTED_REASONS.has(reason)) this.ledger.surprise(`a room is closed: ${reason}`);
      this.#openLater(roomId);
    });
    return new PlaceV2(this.ledger.addClient(2, userUUID, roomId), room, this.ledger);
  }

  #openLater(roomId: number): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#chat.room(roomId);
      },
      this.random.between(150, 350),
    );
    this.#timers.add(timer);
  }

  #send(place: PlaceV2): void {
    const { ref, content } = this.ledger.addSending(place.record, 'message');
    this.#settles(place, ref, place.room.send({ content, ref }));
  }

  #change(place: PlaceV2, kind: Exclude<SentKind, 'message'>): void {
    const { record, room } = place;
    const changeable = room.messages
      .slice(-CHANGED_OF)
      .filter(({ emitter }) => kind === 'reaction' || emitter === record.userUUID)
      .flatMap(({ seq }) => seq ?? []);
    if (changeable.length === 0) return;
    const target = this.random.pick(changeable);
    const { ref, content } = this.ledger.addSending(record, kind, target);
    const outcomes = {
      edit: () => room.edit(target, { content, ref }),
      delete: () => room.delete(target, { ref }),
      reaction: () => {
        const isOn = this.random.next() < 0.7;
        return room.react(target, this.random.pick(EMOJIS), isOn, { ref });
      },
    };
    this.#settles(place, ref, outcomes[kind]());
  }

  #settles(place: PlaceV2, ref: string, outcome: Promise<number>): void {
    this.unsettled += 1;
    outcome.then(
      (seq) => {
        this.unsettled -= 1;
        this.ledger.acknowledge(place.record, ref, seq, place.epoch);
      },
      ({ reason }: ChatError) => {
        if (reason === 'CLOSED') return;
        this.unsettled -= 1;
        this.ledger.refused += 1;
        if (!EXPECTED_REASONS.has(reason)) this.ledger.surprise(reason);
      },
    );
  }

  #read({ record: { read }, room, epoch }: PlaceV2): void {
    room.markRead().then(
      (upto) => read.set(epoch, Math.max(upto, read.get(epoch) ?? 0)),
      ({ reason }: ChatError) => {
        if (reason !== 'CLOSED' && !EXPECTED_REASONS.has(reason)) this.ledger.surprise(reason);
      },
    );
  }

  #opened(socket: NodeSocket): void {
    if (this.#socket !== undefined) this.ledger.reconnects += 1;
    this.#socket = socket;
    // Before the library, which listens from now on.
    socket.on('message', (data: Buffer) => {
      if (socket === this.#socket) this.#received(JSON.parse(data.toString()) as Frame);
    });
  }

  #received(frame: Frame): void {
    const commands = this.#socket?.commands;
    if (frame.type === 'query') {
      commands?.greeted();
    } else if (frame.type === 'status') {
      const { data: word, ref = '', room_id, reason } = frame as Status;
      const roomId = Number(room_id);
      commands?.answered(ref);
      commands?.answered(keyOf(ref, roomId));
      if (word === 'READY') commands?.tokenAnswered();
      else if (word === 'CONNECTED') this.#byRoom.get(roomId)?.joined(frame as Status);
      else if (!EXPECTED_ANSWERS.has(word)) this.ledger.surprise(`${word} ${reason}`);
      if (reason === 'AHEAD' && this.ledger.epoch === 0) this.ledger.surprise(reason);
    } else {
      const { room_id, seq = 0 } = frame.data as Partial<Entry>;
      const room = this.#byRoom.get(room_id ?? 0)?.room;
      if (room?.phase === 'joined' && seq > room.last + 1) {
        this.ledger.surprise('a number was left out');
      }
    }
  }

  /** A command that must be answered. */
  #sending({ type, ref = '', rooms = [] }: Command): void {
    const commands = this.#socket?.commands;
    if (type === 'token') {
      commands?.tokenSent();
    } else if (type === 'join') {
      for (const { room_id } of rooms) commands?.sent(keyOf(ref, room_id), type);
    } else if (ref !== '') {
      const sending = this.#sendingOf(ref);
      if (sending !== undefined) sending.transmissions += 1;
      commands?.sent(ref, type);
    }
  }

  #sendingOf(ref: string): Sending | undefined {
    return this.places.map(({ record }) => record.sendings.get(ref)).find(Boolean);
  }

  /** Asks any node. */
  async #fetch(input: Parameters<typeof fetch>[0], init?: RequestInit): Promise<Response> {
    const { pathname, search } = new URL(input instanceof Request ? input.url : input);
    const node = this.random.pick(this.#nodes);
    const command = this.ledger.addCommand(`GET ${pathname}`, node.name, REST_ANSWER_WITHIN_MS);
    try {
      return await fetch(new URL(`${pathname}${search}`, node.url), init);
    } finally {
      command.settledAt = performance.now();
    }
  }
}

async function loadWhole(room: Room): Promise<void> {
  let hasOlder = true;
  while (hasOlder) hasOlder = await room.loadOlder(PAGE);
}

/** Each room of a `join` is answered by itself. */
function keyOf(ref: string, roomId: number): string {
  return `${ref} ${roomId}`;
}
