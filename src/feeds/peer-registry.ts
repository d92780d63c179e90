/** Another node, as this node knows it. */
export interface Peer {
  /** Its name, which it changes when it may have lost messages. */
  readonly name: string;
  /** Heartbeats of this node since the peer's last one. */
  missed: number;
  /** Heartbeats of this node since the peer was asked for its rooms, or announced some. */
  requestedSince: number;
  /** Whether it has begun to announce them since it was asked. */
  isAnnouncing: boolean;
}

/** The lasting part of a name: the node. */
export function nodeOf(name: string): string {
  return name.slice(0, Math.max(name.indexOf('.'), 0));
}

/** The peers of this node, and which of this node's rooms they have open. */
export class PeerRegistry {
  readonly #peers = new Map<string, Peer>();
  /** By peer, the rooms of this node that it has open. */
  readonly #roomsOf = new Map<Peer, Set<number>>();
  /** The rooms of this node, with the number of peers that have each open. */
  readonly #rooms = new Map<number, number>();
  /** Peers that may have more rooms open than are known. */
  readonly #incomplete = new Set<Peer>();

  get peers(): Iterable<Peer> {
    return this.#peers.values();
  }

  get rooms(): Iterable<number> {
    return this.#rooms.keys();
  }

  get hasRooms(): boolean {
    return this.#rooms.size > 0;
  }

  /** Whether all rooms of all peers are known. */
  get isComplete(): boolean {
    return this.#incomplete.size === 0;
  }

  has(roomId: number): boolean {
    return this.#rooms.has(roomId);
  }

  /** The number of peers that are known to have a room open; undefined if it is not open here. */
  count(roomId: number): number | undefined {
    return this.#rooms.get(roomId);
  }

  addRoom(roomId: number): void {
    this.#rooms.set(roomId, 0);
  }

  removeRoom(roomId: number): void {
    this.#rooms.delete(roomId);
    for (const rooms of this.#roomsOf.values()) rooms.delete(roomId);
  }

  find(name: string): Peer | undefined {
    return this.#peers.get(name);
  }

  /** Adds a peer by its name, and forgets the node's former name with its rooms. */
  add(name: string): Peer {
    for (const other of this.#peers.values()) {
      if (nodeOf(other.name) === nodeOf(name)) this.remove(other);
    }
    const peer: Peer = { name, missed: 0, requestedSince: 0, isAnnouncing: false };
    this.#peers.set(name, peer);
    this.#roomsOf.set(peer, new Set());
    this.#incomplete.add(peer);
    return peer;
  }

  remove(peer: Peer): void {
    this.clear(peer);
    this.#peers.delete(peer.name);
    this.#roomsOf.delete(peer);
    this.#incomplete.delete(peer);
  }

  /** Forgets the open rooms of a peer. */
  clear(peer: Peer): void {
    for (const roomId of this.#roomsOf.get(peer) ?? []) this.setOpen(peer, roomId, false);
  }

  setComplete(peer: Peer, isComplete: boolean): void {
    if (isComplete) this.#incomplete.delete(peer);
    else this.#incomplete.add(peer);
  }

  knowsAllOf(peer: Peer): boolean {
    return !this.#incomplete.has(peer);
  }

  hasOpen(peer: Peer, roomId: number): boolean {
    return this.#roomsOf.get(peer)?.has(roomId) ?? false;
  }

  setOpen(peer: Peer, roomId: number, isOpen: boolean): void {
    const rooms = this.#roomsOf.get(peer);
    const count = this.#rooms.get(roomId);
    if (rooms === undefined || count === undefined || rooms.has(roomId) === isOpen) return;
    if (isOpen) rooms.add(roomId);
    else rooms.delete(roomId);
    this.#rooms.set(roomId, isOpen ? count + 1 : count - 1);
  }
}
