import type {
  ClientRecord,
  Delivery,
  Incident,
  Ledger,
  Log,
  LogRow,
  RuleRequest,
  Sending,
  Stretch,
} from './ledger.js';

/** STORE_TIMEOUT_MS of a node, and as much again for the rest of a command's work on a busy machine. */
export const ANSWER_WITHIN_MS = 10_000;
/** A request waits for a connection to the database, and for several answers, one after another. */
export const REST_ANSWER_WITHIN_MS = 20_000;
/** How long after the last fault a room may take until its messages arrive. */
export const TALKS_WITHIN_MS = 10_000;
/** SHUTDOWN_TIMEOUT_MS of a node, and a second more. */
export const ENDS_WITHIN_MS = 9_000;

/** Kinds of violations, as the columns of the table. */
export const VIOLATIONS = [
  'lost',
  'doubled',
  'reordered',
  'deliveredAfterRevocation',
  'storedAfterRevocation',
  'gaps',
  'unlikeTheLog',
  'unanswered',
  'hangingRooms',
  'badExits',
] as const;

export type Violation = (typeof VIOLATIONS)[number];

export interface Verdict {
  readonly counts: Readonly<Record<Violation, number>>;
  /** The first few violations of each kind, in words. */
  readonly examples: readonly string[];
  readonly passed: boolean;
}

interface RuleEntry {
  readonly seq: number;
  readonly permissions: string;
  readonly level: number;
}

/** One room of one log, indexed. */
interface RoomLog {
  /** Messages by number, in that order. */
  readonly messages: ReadonlyMap<number, LogRow>;
  /** Numbers of a message, by `refKey`. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
  /** The rules of a UUID, in the order of their numbers. */
  readonly rules: ReadonlyMap<string, readonly RuleEntry[]>;
}

/** Examples of each violation. */
const MAX_EXAMPLES = 3;

/**
 * Compares the final log, and the logs that were set back, with the messages that each client sent and got, and checks
 * the answers and the ends of all nodes.
 */
export function judge(log: Log, ledger: Ledger): Verdict {
  const { clients, ruleRequests, incidents } = ledger;
  const counts = Object.fromEntries(VIOLATIONS.map((name) => [name, 0])) as Record<
    Violation,
    number
  >;
  const examples: string[] = [];
  const found: Found = (violation, example, from, to) => {
    counts[violation] += 1;
    if (counts[violation] > MAX_EXAMPLES) return;
    examples.push(`${violation}: ${example}${describeFaults(incidents, from, to)}`);
  };
  const epochs = [...ledger.logsBefore, log].map((each) => judgeLog(each, found));
  for (const client of clients) {
    const rooms = epochs.map((epoch) => roomOf(epoch, client.roomId));
    judgeSendings(client, rooms, found);
    for (const [index, stretch] of client.stretches.entries()) {
      const room = logSeen(stretch, client.stretches[index + 1], rooms);
      judgeDeliveries(client, stretch, room, found);
      judgeRevocations(client, stretch, room, ruleRequests, found);
    }
    if (client.stretches.at(-1)?.epoch !== ledger.epoch) {
      found('unlikeTheLog', `${client.userUUID} was not told that the log was set back`);
    }
  }
  judgeRuleRequests(epochs, ruleRequests, found);
  judgeCommands(ledger, found);
  judgeListeners(ledger, found);
  judgeExits(ledger, found);
  return { counts, examples, passed: VIOLATIONS.every((name) => counts[name] === 0) };
}

/** If the times are known, the example names the faults that were injected then. */
type Found = (violation: Violation, example: string, from?: number, to?: number) => void;

/** The faults between two times from which not everyone had recovered; empty if there were none. */
export function describeFaults(
  incidents: readonly Incident[],
  from: number | undefined,
  to = from,
): string {
  if (from === undefined || to === undefined) return '';
  const during = incidents
    .filter((incident) => incident.from <= to && (incident.wholeAt ?? Infinity) >= from)
    .map(({ fault, detail }) => (detail === '' ? fault : `${fault} (${detail})`));
  return during.length === 0 ? '' : `; during ${during.join(', ')}`;
}

/** Judges each room of a log, and indexes it. */
function judgeLog({ rows, heads }: Log, found: Found): ReadonlyMap<number, RoomLog> {
  const rooms = new Map<number, RoomLog>();
  for (const [roomId, head] of heads) {
    const ofRoom = rows.filter((row) => row.room_id === roomId).toSorted((a, b) => a.seq - b.seq);
    judgeNumbers(roomId, head, ofRoom, found);
    const room = indexRoom(ofRoom);
    judgeStored(roomId, room, found);
    rooms.set(roomId, room);
  }
  return rooms;
}

function roomOf(rooms: ReadonlyMap<number, RoomLog> | undefined, roomId: number): RoomLog {
  const room = rooms?.get(roomId);
  if (room === undefined) throw new Error(`there is no log of room ${roomId}`);
  return room;
}

function indexRoom(rows: readonly LogRow[]): RoomLog {
  const messages = rows.filter((row) => row.kind === 'message');
  const numbers = new Map<string, number[]>();
  for (const { emitter, ref, seq } of messages) {
    if (ref === null) continue;
    const key = refKey(emitter, ref);
    numbers.set(key, [...(numbers.get(key) ?? []), seq]);
  }
  const rules = new Map<string, RuleEntry[]>();
  for (const { kind, seq, content } of rows) {
    if (kind !== 'member') continue;
    const rule = JSON.parse(content) as Omit<RuleEntry, 'seq'> & { entity_UUID: string };
    const entries = rules.get(rule.entity_UUID) ?? [];
    entries.push({ seq, permissions: rule.permissions, level: rule.level });
    rules.set(rule.entity_UUID, entries);
  }
  return { messages: new Map(messages.map((row) => [row.seq, row])), numbers, rules };
}

function refKey(emitter: string, ref: string): string {
  return `${emitter} ${ref}`;
}

/** Each number from 1 to the head is stored once. */
function judgeNumbers(roomId: number, head: number, rows: readonly LogRow[], found: Found): void {
  let expected = 1;
  for (const { seq } of rows) {
    if (seq < expected) found('doubled', `room ${roomId} has number ${seq} twice`);
    for (; expected < seq; expected += 1) found('gaps', `room ${roomId} has no ${expected}`);
    expected = Math.max(expected, seq + 1);
  }
  if (head !== expected - 1) {
    found('gaps', `room ${roomId} ends at ${expected - 1}, and its head is ${head}`);
  }
}

/** Each ref is stored once, and its sender might write at that number. */
function judgeStored(roomId: number, room: RoomLog, found: Found): void {
  for (const [key, [, ...more]] of room.numbers) {
    for (const seq of more) found('doubled', `room ${roomId} has ${key} again at ${seq}`);
  }
  for (const { seq, emitter, ref, at } of room.messages.values()) {
    if (!allows(room, emitter, 'w', seq)) {
      found('storedAfterRevocation', `room ${roomId} number ${seq} by ${emitter}, ref ${ref}`, at);
    }
  }
}

/** Each acknowledged message is stored unchanged, under that number, and in the order of sending. */
function judgeSendings(client: ClientRecord, epochs: readonly RoomLog[], found: Found): void {
  /** Number of the last acknowledged message in each epoch. */
  const last = new Map<number, number>();
  for (const sending of client.sendings.values()) {
    const { ref, at, acknowledgedSeq, acknowledgedIn, transmissions } = sending;
    if (acknowledgedSeq === undefined || acknowledgedIn === undefined) continue;
    const [earliest, latest] = acknowledgedIn;
    const faults = epochs
      .slice(earliest, latest + 1)
      .map((room) => faultOf(sending, client.userUUID, room));
    const [fault] = faults;
    if (fault !== undefined && !faults.includes(undefined)) found(...fault, at);
    // A message that was sent again may be stored behind later ones.
    if (transmissions > 1 || earliest !== latest || fault !== undefined) continue;
    const before = last.get(latest) ?? 0;
    if (acknowledgedSeq < before) {
      found(
        'reordered',
        `${ref} is stored at ${acknowledgedSeq}, the one sent before at ${before}`,
        at,
      );
    }
    last.set(latest, Math.max(before, acknowledgedSeq));
  }
}

/** How the log differs from an acknowledged message; undefined if it does not. */
function faultOf(
  { ref, content, acknowledgedSeq }: Sending,
  emitter: string,
  room: RoomLog,
): [Violation, string] | undefined {
  const [seq] = room.numbers.get(refKey(emitter, ref)) ?? [];
  if (seq === undefined) {
    return ['lost', `${ref} was acknowledged at ${acknowledgedSeq}, and is not stored`];
  }
  if (seq !== acknowledgedSeq) {
    return ['unlikeTheLog', `${ref} was acknowledged at ${acknowledgedSeq}, stored at ${seq}`];
  }
  const stored = room.messages.get(seq)?.content;
  if (stored === content) return undefined;
  return ['unlikeTheLog', `${ref} was sent as "${content}", and is stored as "${stored}"`];
}

/**
 * The log that a client saw between two resets that it was told of. A client that had seen no lost message may get
 * messages of the new log before it is told: all its messages are of the one log, or of the other.
 */
function logSeen(
  { epoch, deliveries }: Stretch,
  next: Stretch | undefined,
  rooms: readonly RoomLog[],
): RoomLog {
  const candidates = rooms.slice(epoch, (next?.epoch ?? epoch) + 1);
  const whole = candidates.find((room) => deliveries.every((delivery) => isStored(delivery, room)));
  const seen = whole ?? candidates[0];
  if (seen === undefined) throw new Error(`there is no log of epoch ${epoch}`);
  return seen;
}

function isStored({ seq, emitter, content, ref }: Delivery, room: RoomLog): boolean {
  const stored = room.messages.get(seq);
  return stored?.emitter === emitter && stored.content === content && stored.ref === (ref ?? null);
}

/** The client got each message once, in order, and as it is stored; of a log that was set back, up to its last one. */
function judgeDeliveries(
  { userUUID, roomId, stretches }: ClientRecord,
  stretch: Stretch,
  room: RoomLog,
  found: Found,
): void {
  const { after, deliveries } = stretch;
  const seen = new Set<number>();
  let highest = after;
  for (const delivery of deliveries) {
    const { seq, emitter, content, ref, at } = delivery;
    if (!isStored(delivery, room)) {
      found(
        'unlikeTheLog',
        `${userUUID} got ${ref}, "${content}", of ${emitter} as ${seq} of room ${roomId}`,
        at,
      );
    }
    if (seen.has(seq)) found('doubled', `${userUUID} got ${seq} of room ${roomId} again`, at);
    else if (seq < highest) {
      found('reordered', `${userUUID} got ${seq} of room ${roomId} behind ${highest}`, at);
    }
    seen.add(seq);
    highest = Math.max(highest, seq);
  }
  const isLast = stretch === stretches.at(-1);
  // A client that may not read at the end can't catch up.
  if (isLast && !allows(room, userUUID, 'r', Infinity)) return;
  for (const { seq, at } of room.messages.values()) {
    if (seq <= after || seen.has(seq) || (!isLast && seq > highest)) continue;
    found('lost', `${userUUID} never got ${seq} of room ${roomId}`, at);
  }
}

/**
 * The client got messages that were stored while it might not read only after the next grant was requested: with that
 * grant it may catch up on them.
 */
function judgeRevocations(
  { userUUID, roomId }: ClientRecord,
  { deliveries }: Stretch,
  room: RoomLog,
  ruleRequests: ReadonlyMap<number, RuleRequest>,
  found: Found,
): void {
  const rules = room.rules.get(userUUID) ?? [];
  // Most users keep their rights.
  if (rules.every((rule) => grants(rule, 'r'))) return;
  for (const { seq, at } of deliveries) {
    if (allows(room, userUUID, 'r', seq)) continue;
    const grant = rules.find((rule) => rule.seq > seq && grants(rule, 'r'));
    const grantedAt = grant === undefined ? Infinity : (ruleRequests.get(grant.level)?.at ?? 0);
    if (at < grantedAt) {
      found('deliveredAfterRevocation', `${userUUID} got ${seq} of room ${roomId}`, at);
    }
  }
}

/** An acknowledged change of a rule is in the log; a removal has no id to look for. */
function judgeRuleRequests(
  epochs: readonly ReadonlyMap<number, RoomLog>[],
  ruleRequests: ReadonlyMap<number, RuleRequest>,
  found: Found,
): void {
  for (const { id, userUUID, roomId, permissions, at, acknowledgedIn } of ruleRequests.values()) {
    if (acknowledgedIn === undefined || permissions === '') continue;
    const stored = epochs[acknowledgedIn]?.get(roomId)?.rules.get(userUUID) ?? [];
    if (!stored.some((rule) => rule.level === id && rule.permissions === permissions)) {
      found('lost', `the rule ${permissions} of ${userUUID} in room ${roomId}`, at);
    }
  }
}

/** Each command was answered in time, or its connection closed; the time in which a node was stopped does not count. */
function judgeCommands({ commands, pauses }: Ledger, found: Found): void {
  for (const { what, node, withinMs, at, settledAt = Infinity } of commands) {
    const waitedMs = settledAt - at;
    if (waitedMs <= withinMs) continue;
    const stoppedMs = pauses
      .filter((pause) => pause.node === node)
      .reduce((sum, { from, to }) => {
        return sum + Math.max(0, Math.min(to, settledAt) - Math.max(from, at));
      }, 0);
    if (waitedMs - stoppedMs <= withinMs) continue;
    const outcome = settledAt === Infinity ? 'never' : `not for ${inSeconds(waitedMs)}`;
    found('unanswered', `${what} on ${node}, ${outcome}`, at, settledAt);
  }
}

/** In each room, a message that is sent after the last fault soon reaches all listeners, on every node. */
function judgeListeners({ listeners, incidents }: Ledger, found: Found): void {
  const lastFaultAt = incidents.at(-1)?.to;
  for (const roomId of new Set(listeners.map((listener) => listener.roomId))) {
    const deaf = listeners.find((listener) => {
      const { heardAfterMs = Infinity } = listener;
      return listener.roomId === roomId && heardAfterMs > TALKS_WITHIN_MS;
    });
    if (deaf === undefined) continue;
    const { userUUID, node } = deaf;
    found('hangingRooms', `${userUUID} hears nothing in room ${roomId} on ${node}`, lastFaultAt);
  }
}

/** A node exits with 0, in time, and only on request. */
function judgeExits({ exits }: Ledger, found: Found): void {
  for (const { node, asked, code, signal, tookMs, at } of exits) {
    if (asked === 'SIGKILL') continue;
    if (asked !== undefined && code === 0 && tookMs <= ENDS_WITHIN_MS) continue;
    const reason = asked === undefined ? 'by itself' : `${inSeconds(tookMs)} after ${asked}`;
    found('badExits', `${node} ended with ${code ?? signal}, ${reason}`, at - tookMs, at);
  }
}

function inSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

/** Whether the last rule before `seq` grants `letter`. */
function allows(room: RoomLog, uuid: string, letter: 'r' | 'w', seq: number): boolean {
  const rule = room.rules.get(uuid)?.findLast((rule) => rule.seq < seq);
  return rule !== undefined && grants(rule, letter);
}

function grants({ permissions }: RuleEntry, letter: 'r' | 'w'): boolean {
  return permissions.includes(letter) && !permissions.includes('b');
}
