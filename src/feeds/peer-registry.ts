/** Another node, as it is known here. */
export interface Peer {
  /** Its name; another one since each time it may have lost something. */
  readonly name: string;
  /** Heartbeats of this node since the last one of that node. */
  missed: number;
  /** Heartbeats of this node since it was asked for its rooms, or named some. */
  requestedSince: number;
  /** Whether it has begun to name them since it was asked. */
  isAnnouncing: boolean;
}

/** A node keeps the first part of its name. */
export function nodeOf(name: string): string {
  return name.slice(0, Math.max(name.indexOf('.'), 0));
}

/** Which other nodes there are, and which of this node's rooms they look at. */
export class PeerRegistry {
  readonly #peers = new Map<string, Peer>();
  /** By peer: those of this node's rooms that it looks at. */
  readonly #roomsOf = new Map<Peer, Set<number>>();
  /** This node's rooms, with how many peers look at each. */
  readonly #rooms = new Map<number, number>();
  /** Peers of which it is not known whether they look at other rooms, too. */
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

  /** How many peers are known to look at a room; undefined if this node does not. */
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

  /** Adds a peer by its name, and forgets what was known of it by a former one. */
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

  /** It looks at none of this node's rooms, for all that is known. */
  clear(peer: Peer): void {
    for (const roomId of this.#roomsOf.get(peer) ?? []) this.setWatches(peer, roomId, false);
  }

  setComplete(peer: Peer, isComplete: boolean): void {
    if (isComplete) this.#incomplete.delete(peer);
    else this.#incomplete.add(peer);
  }

  knowsAllOf(peer: Peer): boolean {
    return !this.#incomplete.has(peer);
  }

  watches(peer: Peer, roomId: number): boolean {
    return this.#roomsOf.get(peer)?.has(roomId) ?? false;
  }

  setWatches(peer: Peer, roomId: number, watches: boolean): void {
    const rooms = this.#roomsOf.get(peer);
    const count = this.#rooms.get(roomId);
    if (rooms === undefined || count === undefined || rooms.has(roomId) === watches) return;
    if (watches) rooms.add(roomId);
    else rooms.delete(roomId);
    this.#rooms.set(roomId, watches ? count + 1 : count - 1);
  }
}
