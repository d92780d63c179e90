import type { ClientRecord, Incident, Ledger, RuleRequest } from './ledger.js';

/** STORE_TIMEOUT_MS of a node, and as much again for what a command does besides, on a busy machine. */
export const ANSWER_WITHIN_MS = 10_000;
/** How long after the last fault a room may take until it talks. */
export const TALKS_WITHIN_MS = 10_000;
/** SHUTDOWN_TIMEOUT_MS of a node, and some. */
export const ENDS_WITHIN_MS = 9_000;

/** A row of the log, as Postgres has it. */
export interface LogRow {
  readonly room_id: number;
  readonly seq: number;
  readonly kind: string;
  readonly emitter: string;
  /** Of a rule, the rule as JSON. */
  readonly content: string;
  readonly ref: string | null;
  /** On the clock of the ledger. */
  readonly at: number;
}

/** What must not happen, as the columns of the table. */
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
  /** The first few of each, in words. */
  readonly examples: readonly string[];
  readonly passed: boolean;
}

/** What `judge` compares. */
export interface Evidence {
  /** The whole log of all rooms. */
  readonly log: readonly LogRow[];
  /** `head` of each room. */
  readonly heads: ReadonlyMap<number, number>;
  readonly ledger: Ledger;
}

interface RuleEntry {
  readonly seq: number;
  readonly permissions: string;
  readonly level: number;
}

/** One room's log, indexed. */
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

/** Compares the log with what each client sent and saw, and asks whether all nodes did what they have to. */
export function judge({ log, heads, ledger }: Evidence): Verdict {
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
  const rooms = new Map<number, RoomLog>();
  for (const [roomId, head] of heads) {
    const rows = log.filter((row) => row.room_id === roomId).toSorted((a, b) => a.seq - b.seq);
    judgeNumbers(roomId, head, rows, found);
    const room = indexRoom(rows);
    rooms.set(roomId, room);
    judgeStored(roomId, room, found);
  }
  for (const client of clients) {
    const room = rooms.get(client.roomId);
    if (room === undefined) throw new Error(`there is no log of room ${client.roomId}`);
    judgeSendings(client, room, found);
    judgeDeliveries(client, room, found);
    judgeRevocations(client, room, ruleRequests, found);
  }
  judgeRuleRequests(rooms, ruleRequests, found);
  judgeCommands(ledger, found);
  judgeListeners(ledger, found);
  judgeExits(ledger, found);
  return { counts, examples, passed: VIOLATIONS.every((name) => counts[name] === 0) };
}

/** Times, where they are known, say which faults were injected then. */
type Found = (violation: Violation, example: string, from?: number, to?: number) => void;

/** The faults between two times that were not over, or not got over; empty where there were none. */
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
    if (kind !== 'rule') continue;
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

/** Every number from 1 to the head is there, once. */
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

/** Each ref is stored once, and by somebody who might write at that number. */
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

/** What was acknowledged is kept as it was sent, at that number, and in the order in which it was sent. */
function judgeSendings(client: ClientRecord, room: RoomLog, found: Found): void {
  let last = 0;
  for (const { ref, content, at, acknowledgedSeq, transmissions } of client.sendings.values()) {
    if (acknowledgedSeq === undefined) continue;
    const [seq] = room.numbers.get(refKey(client.userUUID, ref)) ?? [];
    if (seq === undefined) {
      found('lost', `${ref} was acknowledged at ${acknowledgedSeq}, and is not stored`, at);
      continue;
    }
    if (seq !== acknowledgedSeq) {
      found('unlikeTheLog', `${ref} was acknowledged at ${acknowledgedSeq}, stored at ${seq}`, at);
    }
    const stored = room.messages.get(seq)?.content;
    if (stored !== content) {
      found('unlikeTheLog', `${ref} was sent as "${content}", and is stored as "${stored}"`, at);
    }
    // What was sent again may stand behind what was sent after it.
    if (transmissions > 1) continue;
    if (seq < last) {
      found('reordered', `${ref} is stored at ${seq}, the one sent before at ${last}`, at);
    }
    last = Math.max(last, seq);
  }
}

/** Every message of the log came, once, in order, and as it is stored. */
function judgeDeliveries(client: ClientRecord, room: RoomLog, found: Found): void {
  const { userUUID, roomId, after } = client;
  const seen = new Set<number>();
  let highest = after;
  for (const { seq, emitter, content, ref, at } of client.deliveries) {
    const stored = room.messages.get(seq);
    const isSame =
      stored?.emitter === emitter && stored.content === content && stored.ref === (ref ?? null);
    if (!isSame) {
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
  // Who may not read at the end can't catch up.
  if (!allows(room, userUUID, 'r', Infinity)) return;
  for (const { seq, at } of room.messages.values()) {
    if (seq <= after || seen.has(seq)) continue;
    found('lost', `${userUUID} never got ${seq} of room ${roomId}`, at);
  }
}

/**
 * What was stored while the client might not read came only after the next grant was asked for: whoever may
 * read again may catch up on it.
 */
function judgeRevocations(
  client: ClientRecord,
  room: RoomLog,
  ruleRequests: ReadonlyMap<number, RuleRequest>,
  found: Found,
): void {
  const { userUUID, roomId } = client;
  const rules = room.rules.get(userUUID) ?? [];
  // Most people's rights are never taken.
  if (rules.every((rule) => grants(rule, 'r'))) return;
  for (const { seq, at } of client.deliveries) {
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
  rooms: ReadonlyMap<number, RoomLog>,
  ruleRequests: ReadonlyMap<number, RuleRequest>,
  found: Found,
): void {
  for (const { id, userUUID, roomId, permissions, at, acknowledged } of ruleRequests.values()) {
    if (!acknowledged || permissions === '') continue;
    const stored = rooms.get(roomId)?.rules.get(userUUID) ?? [];
    if (!stored.some((rule) => rule.level === id && rule.permissions === permissions)) {
      found('lost', `the rule ${permissions} of ${userUUID} in room ${roomId}`, at);
    }
  }
}

/** Every command was answered in time, or its connection closed; a node that is stopped can do neither. */
function judgeCommands({ commands, pauses }: Ledger, found: Found): void {
  for (const { what, node, at, settledAt = Infinity } of commands) {
    const waitedMs = settledAt - at;
    if (waitedMs <= ANSWER_WITHIN_MS) continue;
    const stoppedMs = pauses
      .filter((pause) => pause.node === node)
      .reduce((sum, { from, to }) => {
        return sum + Math.max(0, Math.min(to, settledAt) - Math.max(from, at));
      }, 0);
    if (waitedMs - stoppedMs <= ANSWER_WITHIN_MS) continue;
    const outcome = settledAt === Infinity ? 'never' : `not for ${inSeconds(waitedMs)}`;
    found('unanswered', `${what} on ${node}, ${outcome}`, at, settledAt);
  }
}

/** In each room what somebody says after the last fault soon reaches everyone who looks at it, on every node. */
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

/** A node ends in order, in time, and when it is asked to. */
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
