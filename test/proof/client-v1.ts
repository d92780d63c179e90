import { ProofClient, type ClientOptions, type Place } from './client.js';
import type { ClientRecord, Sending, Stretch } from './ledger.js';
import { NodeSocket, pickNode, type ChatNode } from './node-socket.js';

const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 1_000;

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

/**
 * A client of version 1, a member of one room, over a raw socket. It sends messages with refs, sends unanswered ones
 * again, and comes back with the number of its last message.
 */
export class ClientV1 extends ProofClient implements Place {
  readonly record: ClientRecord;
  readonly places: readonly Place[] = [this];
  readonly #nodes: readonly ChatNode[];
  readonly #token: string;
  readonly #unanswered = new Map<string, Sending>();
  readonly #toRepeat = new Set<Sending>();
  #socket: NodeSocket | undefined;
  #ended = false;
  #attempts = 0;
  #live = false;
  #lastSeq = 0;
  #stretch: Stretch;
  #newestHeardAt = 0;
  #connectTimer: NodeJS.Timeout | undefined;
  #selectTimer: NodeJS.Timeout | undefined;
  #repeatTimer: NodeJS.Timeout | undefined;

  constructor(options: ClientOptions & { readonly roomId: number }) {
    super(options);
    const { who, roomId, ledger, nodes } = options;
    this.#nodes = nodes;
    this.record = ledger.addClient(1, who.userUUID, roomId);
    this.#stretch = ledger.addStretch(this.record, { epoch: ledger.epoch });
    this.#token = who.token;
  }

  get isLive(): boolean {
    return this.#live && this.#stretch.epoch === this.ledger.epoch;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  get newestHeardAt(): number {
    return this.#newestHeardAt;
  }

  get unsettled(): number {
    return this.#unanswered.size;
  }

  get nodeName(): string {
    return this.#socket?.node.name ?? 'no node';
  }

  connect(): void {
    const node = pickNode(this.#nodes, this.#socket?.node, this.random);
    const socket = new NodeSocket(node, [], this.ledger);
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      this.#received(JSON.parse(data.toString()) as Frame);
    });
    socket.on('close', () => {
      this.#disconnected();
      this.#reconnect();
    });
  }

  terminate(): void {
    this.#socket?.terminate();
  }

  stopReconnecting(): void {
    this.#ended = true;
  }

  end(): void {
    this.stopReconnecting();
    this.stopSending();
    this.terminate();
    clearTimeout(this.#connectTimer);
    this.#disconnected();
  }

  protected act(): void {
    if (!this.#live) return;
    const sending = this.ledger.addSending(this.record, 'message');
    this.#unanswered.set(sending.ref, sending);
    this.#transmit(sending);
  }

  #reconnect(): void {
    if (this.#ended) return;
    this.ledger.reconnects += 1;
    const backoff = Math.min(MIN_BACKOFF_MS * 2 ** this.#attempts, MAX_BACKOFF_MS);
    this.#attempts += 1;
    this.#connectTimer = setTimeout(
      () => {
        this.connect();
      },
      backoff * (0.5 + this.random.next()),
    );
  }

  #send(command: object): void {
    const socket = this.#socket;
    if (socket?.readyState === NodeSocket.OPEN) socket.send(JSON.stringify(command));
  }

  #disconnected(): void {
    this.#live = false;
    clearTimeout(this.#selectTimer);
    clearTimeout(this.#repeatTimer);
    this.#repeatTimer = undefined;
  }

  #received(frame: Frame): void {
    if (frame.type === 'message') this.#delivered(frame.data as MessageData);
    else this.#answered(frame);
  }

  #delivered({ seq, emitter, content, ref }: MessageData): void {
    this.ledger.delivered(this.#stretch, { kind: 'message', seq, emitter, content, ref });
    this.#lastSeq = Math.max(this.#lastSeq, seq);
    this.#newestHeardAt = Math.max(this.#newestHeardAt, this.ledger.sentAt(ref));
    if (emitter === this.record.userUUID && ref !== undefined) this.#acknowledged(ref, seq);
  }

  #answered({ data, ref, seq, reason }: Frame): void {
    if (ref !== undefined) this.#socket?.commands.answered(ref);
    switch (data) {
      case 'START?':
        this.#socket?.commands.greeted();
        this.#socket?.commands.tokenSent();
        this.#send({ type: 'token', content: this.#token });
        this.#select();
        break;
      case 'READY':
        this.#socket?.commands.tokenAnswered();
        break;
      case 'SELECTROOM?':
        // The message crossed the answer that the room is lost. It is sent again once the room is selected again.
        this.#socket?.commands.messageWithoutRoom();
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
        this.ledger.surprise(String(data));
        if (!this.#live) this.#selectLater();
    }
  }

  /** The numbers of the old log are no longer valid. */
  #beginAnew(): void {
    if (this.ledger.epoch === 0) this.ledger.surprise('LOG_RESET');
    this.#stretch = this.ledger.addStretch(this.record, { epoch: this.ledger.epoch });
    this.#lastSeq = 0;
  }

  #select(): void {
    const { roomId } = this.record;
    // In version 1 only sessions in the room are told; other clients learn of it from their operator.
    if (this.#stretch.epoch < this.ledger.epoch) this.#beginAnew();
    this.#socket?.commands.selectSent();
    this.#send({ type: 'select_room', room_id: roomId, after: this.#lastSeq });
  }

  #selectLater(): void {
    this.#socket?.commands.selectAnswered();
    this.#live = false;
    clearTimeout(this.#selectTimer);
    this.#selectTimer = setTimeout(
      () => {
        this.#select();
      },
      this.random.between(150, 350),
    );
  }

  #entered(): void {
    this.#socket?.commands.selectAnswered();
    this.#live = true;
    // It has got on: the next attempt to reconnect is a first one again.
    this.#attempts = 0;
    this.#toRepeat.clear();
    for (const sending of this.#unanswered.values()) this.#transmit(sending);
  }

  #transmit(sending: Sending): void {
    sending.transmissions += 1;
    const { content, ref } = sending;
    this.#socket?.commands.sent(ref);
    this.#send({ type: 'message', content, ref });
  }

  #acknowledged(ref: string, seq: number): void {
    this.#unanswered.delete(ref);
    this.ledger.acknowledge(this.record, ref, seq, this.#stretch.epoch);
  }

  #refused(ref: string): void {
    if (this.#unanswered.delete(ref)) this.ledger.refused += 1;
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
      this.random.between(200, 500),
    );
  }
}
