import { WebSocket } from 'ws';
import type { Person } from '../harness/tokens.js';
import type { ClientRecord, Ledger, Sending, Stretch } from './ledger.js';
import { OpenCommands } from './open-commands.js';
import type { Random } from './random.js';
import { ANSWER_WITHIN_MS } from './verdict.js';

/** A client with this number of unanswered messages sends no new ones. */
const MAX_UNANSWERED = 20;
const HANDSHAKE_TIMEOUT_MS = 3_000;
/** How often a client checks for unanswered commands. */
const LOOK_INTERVAL_MS = 250;
const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;
/**
 * Close codes that faults explain: a lost connection (1006), a node that shuts down (1012), and an overloaded node
 * (1013).
 */
const EXPECTED_CLOSES: ReadonlySet<number> = new Set([1006, 1012, 1013]);

interface Frame {
  readonly type: string;
  readonly data: unknown;
  readonly ref?: string;
  readonly seq?: number;
  readonly reason?: string;
}

interface MessageData {
  readonly seq: number;
  readonly emitter: string;
  readonly content: string;
  readonly ref?: string;
}

/** The address of a node for its clients. */
export interface ChatNode {
  readonly name: string;
  readonly chatUrl: string;
}

/**
 * A member of one room, over a raw socket. It sends messages with refs, sends unanswered ones again, and closes a
 * socket that leaves a command unanswered. It reconnects to any node with the number of its last message, and records
 * everything in the ledger.
 */
export class ProofClient {
  readonly record: ClientRecord;
  readonly #ledger: Ledger;
  readonly #token: string;
  readonly #random: Random;
  readonly #nodes: readonly ChatNode[];
  readonly #intervalMs: number;
  readonly #unanswered = new Map<string, Sending>();
  readonly #toRepeat = new Set<Sending>();
  #socket: WebSocket | undefined;
  #node: ChatNode | undefined;
  #commands: OpenCommands | undefined;
  #live = false;
  #ended = false;
  #attempts = 0;
  #lastSeq: number;
  #stretch: Stretch;
  #newestHeardAt = 0;
  #sayTimer: NodeJS.Timeout | undefined;
  #connectTimer: NodeJS.Timeout | undefined;
  #lookTimer: NodeJS.Timeout | undefined;
  #selectTimer: NodeJS.Timeout | undefined;
  #repeatTimer: NodeJS.Timeout | undefined;

  constructor(options: {
    who: Person;
    roomId: number;
    ledger: Ledger;
    random: Random;
    nodes: readonly ChatNode[];
    messagesPerSecond: number;
    /** The `after` of its first selection. */
    after?: number;
  }) {
    const { who, roomId, after = 0 } = options;
    this.record = options.ledger.addClient(who.userUUID, roomId);
    this.#stretch = options.ledger.addStretch(this.record, after);
    this.#lastSeq = after;
    this.#ledger = options.ledger;
    this.#token = who.token;
    this.#random = options.random;
    this.#nodes = options.nodes;
    this.#intervalMs = 1_000 / options.messagesPerSecond;
  }

  /** Whether it is in its room, and knows the present epoch of the log. */
  get isLive(): boolean {
    return this.#live && this.#stretch.epoch === this.#ledger.epoch;
  }

  /** Number of the last message that it got. */
  get lastSeq(): number {
    return this.#lastSeq;
  }

  /** When the newest of its received messages was first sent. */
  get newestHeardAt(): number {
    return this.#newestHeardAt;
  }

  /** Name of the node to which it is connected, or connects. */
  get nodeName(): string {
    return this.#node?.name ?? 'no node';
  }

  /** Messages that were neither acknowledged nor refused. */
  get unsettled(): number {
    return this.#unanswered.size;
  }

  connect(): void {
    // Not the node that it had before, or that did not answer.
    const others = this.#nodes.filter((other) => other !== this.#node);
    const node = this.#random.pick(others.length > 0 ? others : this.#nodes);
    this.#node = node;
    const socket = new WebSocket(node.chatUrl, {
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    const commands = new OpenCommands(this.#ledger, node.name);
    this.#socket = socket;
    this.#commands = commands;
    this.#lookTimer = setInterval(() => {
      if (performance.now() - commands.oldestAt > ANSWER_WITHIN_MS) socket.terminate();
    }, LOOK_INTERVAL_MS);
    socket.on('message', (data: Buffer) => {
      this.#take(JSON.parse(data.toString()) as Frame);
    });
    // `close` follows.
    socket.on('error', () => undefined);
    socket.on('close', (code) => {
      commands.closed();
      if (!EXPECTED_CLOSES.has(code)) this.#ledger.surprise(`close ${code}`);
      this.#disconnected();
    });
  }

  startSending(): void {
    const pause = this.#intervalMs * (0.5 + this.#random.next());
    this.#sayTimer = setTimeout(() => {
      this.startSending();
      if (this.#live && this.#unanswered.size < MAX_UNANSWERED) this.#say();
    }, pause);
  }

  stopSending(): void {
    clearTimeout(this.#sayTimer);
  }

  /** Breaks the connection without a close frame; the client reconnects. */
  terminate(): void {
    this.#socket?.terminate();
  }

  /** Stops reconnecting when its socket ends. */
  stopReconnecting(): void {
    this.#ended = true;
  }

  /** Closes its socket, and does not reconnect. */
  end(): void {
    this.stopReconnecting();
    this.stopSending();
    this.terminate();
    this.#clearTimers();
  }

  #disconnected(): void {
    this.#live = false;
    this.#clearTimers();
    if (this.#ended) return;
    this.#ledger.reconnects += 1;
    const backoff = Math.min(MIN_BACKOFF_MS * 2 ** this.#attempts, MAX_BACKOFF_MS);
    this.#attempts += 1;
    this.#connectTimer = setTimeout(
      () => {
        this.connect();
      },
      backoff * (0.5 + this.#random.next()),
    );
  }

  #clearTimers(): void {
    clearInterval(this.#lookTimer);
    for (const timer of [this.#connectTimer, this.#selectTimer, this.#repeatTimer]) {
      clearTimeout(timer);
    }
    this.#repeatTimer = undefined;
  }

  #take(frame: Frame): void {
    if (frame.type === 'message') this.#delivered(frame.data as MessageData);
    else this.#answered(frame);
  }

  #delivered({ seq, emitter, content, ref }: MessageData): void {
    this.#ledger.delivered += 1;
    this.#stretch.deliveries.push({ seq, emitter, content, ref, at: this.#ledger.tick() });
    this.#lastSeq = Math.max(this.#lastSeq, seq);
    this.#newestHeardAt = Math.max(this.#newestHeardAt, this.#ledger.sentAt(ref));
    if (emitter === this.record.userUUID && ref !== undefined) this.#acknowledged(ref, seq);
  }

  #answered({ data, ref, seq, reason }: Frame): void {
    if (ref !== undefined) this.#commands?.messageAnswered(ref);
    switch (data) {
      case 'START?':
        this.#commands?.greeted();
        this.#commands?.tokenSent();
        this.#send({ type: 'token', content: this.#token });
        this.#select();
        break;
      case 'READY':
        this.#commands?.tokenAnswered();
        break;
      case 'SELECTROOM?':
        // The message crossed the answer that the room is lost. It is sent again once the room is selected again.
        this.#commands?.messageWithoutRoom();
        break;
      case 'CONNECTED':
        this.#entered();
        break;
      case 'SENT':
        if (ref !== undefined && seq !== undefined) this.#acknowledged(ref, seq);
        break;
      case 'NOTAUTHORIZED':
        if (reason === 'LOG_RESET') this.#beginAnew();
        if (ref === undefined) this.#selectLater();
        else this.#refused(ref);
        break;
      case 'UNAVAILABLE':
        if (ref === undefined) this.#selectLater();
        else this.#repeatLater(ref);
        break;
      default:
        this.#ledger.surprise(String(data));
        if (!this.#live) this.#selectLater();
    }
  }

  /** The numbers of the old log are no longer valid. */
  #beginAnew(): void {
    if (this.#ledger.epoch === 0) this.#ledger.surprise('LOG_RESET');
    this.#stretch = this.#ledger.addStretch(this.record, 0);
    this.#lastSeq = 0;
  }

  #select(): void {
    const { roomId } = this.record;
    // In version 1 only sessions in the room are told; other clients learn of it from their operator.
    if (this.#stretch.epoch < this.#ledger.epoch) this.#beginAnew();
    this.#commands?.selectSent();
    this.#send({ type: 'select_room', room_id: roomId, after: this.#lastSeq });
  }

  #selectLater(): void {
    this.#commands?.selectAnswered();
    this.#live = false;
    clearTimeout(this.#selectTimer);
    this.#selectTimer = setTimeout(
      () => {
        this.#select();
      },
      this.#random.between(150, 350),
    );
  }

  #entered(): void {
    this.#commands?.selectAnswered();
    this.#live = true;
    this.#attempts = 0;
    this.#toRepeat.clear();
    for (const sending of this.#unanswered.values()) this.#transmit(sending);
  }

  #say(): void {
    const ref = `${this.record.userUUID.slice(0, 8)}-${this.record.sendings.size + 1}`;
    const sending = this.#ledger.addSending(this.record, ref);
    this.#unanswered.set(ref, sending);
    this.#transmit(sending);
  }

  #transmit(sending: Sending): void {
    sending.transmissions += 1;
    const { content, ref } = sending;
    this.#commands?.messageSent(ref);
    this.#send({ type: 'message', content, ref });
  }

  #acknowledged(ref: string, seq: number): void {
    const sending = this.record.sendings.get(ref);
    if (sending === undefined) {
      this.#ledger.surprise('a ref that was never sent');
      return;
    }
    this.#unanswered.delete(ref);
    const { epoch } = this.#ledger;
    if (sending.acknowledgedIn === undefined) {
      sending.acknowledgedSeq = seq;
      sending.acknowledgedIn = [this.#stretch.epoch, epoch];
      this.#ledger.acknowledged += 1;
    } else if (sending.acknowledgedIn[0] === epoch && sending.acknowledgedSeq !== seq) {
      this.#ledger.surprise('one ref acknowledged with two numbers');
    }
  }

  #refused(ref: string): void {
    const sending = this.#unanswered.get(ref);
    if (sending === undefined) return;
    this.#unanswered.delete(ref);
    sending.refused = true;
    this.#ledger.refused += 1;
  }

  #repeatLater(ref: string): void {
    const sending = this.#unanswered.get(ref);
    if (sending === undefined) return;
    this.#toRepeat.add(sending);
    this.#repeatTimer ??= setTimeout(
      () => {
        this.#repeatTimer = undefined;
        const due = [...this.#toRepeat];
        this.#toRepeat.clear();
        // The session has no room: the messages are sent again once it is selected again.
        if (!this.#live) return;
        for (const sending of due) if (this.#unanswered.has(sending.ref)) this.#transmit(sending);
      },
      this.#random.between(200, 500),
    );
  }

  #send(command: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }
}
