import { isDeepStrictEqual } from 'node:util';
import type { RoomState } from '../harness/room-state.js';
import { placeKey, textOf } from './ledger.js';
import type {
  ClientRecord,
  Delivery,
  Incident,
  Ledger,
  Log,
  LogRow,
  RuleRequest,
  SeenRoom,
  Sending,
  Stretch,
  Tables,
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
  'stateDiffers',
  'deletedTextFound',
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
  /** All entries by number, in that order. */
  readonly rows: ReadonlyMap<number, LogRow>;
  /** Numbers of an entry, by `refKey`. */
  readonly numbers: ReadonlyMap<string, readonly number[]>;
  /** The edits of a message, by its number. */
  readonly edits: ReadonlyMap<number, readonly LogRow[]>;
  /** The rules of a UUID, in the order of their numbers. */
  readonly rules: ReadonlyMap<string, readonly RuleEntry[]>;
}

/** Examples of each violation. */
const MAX_EXAMPLES = 3;

/**
 * Compares the final log, and the logs that were set back, with what each client sent and got, and the final tables with
 * what clients have made of that. Checks the answers and the ends of all nodes.
 */
export function judge(log: Log, ledger: Ledger, tables: Tables): Verdict {
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
    judgeState(client, tables, ledger.epoch, found);
    if (client.stretches.at(-1)?.epoch !== ledger.epoch) {
      found('unlikeTheLog', `${client.userUUID} was not told that the log was set back`);
    }
  }
  judgeTexts(log, tables, found);
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
  const numbers = new Map<string, number[]>();
  const edits = new Map<number, LogRow[]>();
  for (const row of rows) {
    const { kind, emitter, ref, seq, target } = row;
    if (kind === 'edit') edits.set(target ?? 0, [...(edits.get(target ?? 0) ?? []), row]);
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
  return { rows: new Map(rows.map((row) => [row.seq, row])), numbers, edits, rules };
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

/** What a user needs for an entry of a kind; clients delete their own messages alone. */
const NEEDED: Readonly<Record<string, 'r' | 'w'>> = {
  message: 'w',
  edit: 'w',
  reaction: 'w',
  delete: 'r',
};

/** Each ref is stored once, its sender might write at that number, and messages have the texts of their last edits. */
function judgeStored(roomId: number, room: RoomLog, found: Found): void {
  for (const [key, [, ...more]] of room.numbers) {
    for (const seq of more) found('doubled', `room ${roomId} has ${key} again at ${seq}`);
  }
  for (const row of room.rows.values()) {
    const { seq, kind, emitter, ref, at } = row;
    const needed = NEEDED[kind];
    if (needed === undefined) continue;
    if (!allows(room, emitter, needed, seq)) {
      found('storedAfterRevocation', `room ${roomId} number ${seq} by ${emitter}, ref ${ref}`, at);
    }
    if (kind === 'message' && row.content !== textNow(row, room)) {
      found('unlikeTheLog', `room ${roomId} has "${row.content}" at ${seq}`, at);
    }
  }
}

/** The text that a message must have by the entries about it. */
function textNow(row: LogRow, { edits }: RoomLog): string {
  const last = edits.get(row.seq)?.at(-1);
  if (isNumber(row.deleted_by)) return '';
  if (isNumber(row.text_seq) || last !== undefined) return textAt(last);
  return row.content;
}

/** The text that an entry was stored with. */
function textAt(row: LogRow | undefined): string {
  return row === undefined ? 'no entry' : textOf(row.kind, row.ref ?? '');
}

function isNumber(seq: number | null | undefined): seq is number {
  return seq !== null && seq !== undefined;
}

/** Each acknowledged message or change is stored unchanged, under that number, and in the order of sending. */
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
    // What was sent again may be stored behind later ones, and what changed nothing is not stored.
    const isStored = epochs[latest]?.numbers.has(refKey(client.userUUID, ref)) ?? false;
    if (transmissions > 1 || earliest !== latest || fault !== undefined || !isStored) continue;
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

/** How the log differs from what was acknowledged; undefined if it does not. */
function faultOf(
  { kind, target, ref, content, acknowledgedSeq = 0 }: Sending,
  emitter: string,
  room: RoomLog,
): [Violation, string] | undefined {
  const [seq] = room.numbers.get(refKey(emitter, ref)) ?? [];
  const row = room.rows.get(seq ?? acknowledgedSeq);
  if (seq === undefined) {
    // The change had been made before, by the entry of that number, or never needed to be made.
    const isMade = row?.kind === kind && row.target === target && row.emitter === emitter;
    const isNeedless = kind === 'reaction' && acknowledgedSeq === target;
    if (kind !== 'message' && kind !== 'edit' && (isMade || isNeedless)) return undefined;
    return ['lost', `${ref} was acknowledged at ${acknowledgedSeq}, and is not stored`];
  }
  if (seq !== acknowledgedSeq) {
    return ['unlikeTheLog', `${ref} was acknowledged at ${acknowledgedSeq}, stored at ${seq}`];
  }
  if (row?.kind !== kind || (row.target ?? undefined) !== target) {
    return ['unlikeTheLog', `${ref}, ${kind} of ${target}, is ${row?.kind} of ${row?.target}`];
  }
  const isChanged = isNumber(row.text_seq) || isNumber(row.deleted_by);
  if (kind !== 'message' || isChanged || row.content === content) return undefined;
  return ['unlikeTheLog', `${ref} was sent as "${content}", and is stored as "${row.content}"`];
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
  const whole = candidates.find((room) =>
    deliveries.every((delivery) => isLikeTheLog(delivery, room)),
  );
  const seen = whole ?? candidates[0];
  if (seen === undefined) throw new Error(`there is no log of epoch ${epoch}`);
  return seen;
}

/** Whether a client got an entry as it was stored, or with a text that it may have had later. */
function isLikeTheLog(delivery: Delivery, room: RoomLog): boolean {
  const { seq, kind, emitter, content, ref } = delivery;
  const row = room.rows.get(seq);
  if (row?.kind !== kind || row.emitter !== emitter || row.ref !== (ref ?? null)) return false;
  const edits = room.edits.get(row.target ?? seq) ?? [];
  if (content === undefined) {
    if (kind === 'message') return edits.length > 0 || isNumber(row.deleted_by);
    const message = room.rows.get(row.target ?? 0);
    return kind !== 'edit' || edits.at(-1) !== row || isNumber(message?.deleted_by);
  }
  return textSetBy(delivery, room) !== undefined;
}

/**
 * The entry that set the text of a delivered one: itself, or, in version 1, an edit of the message; undefined if none of
 * them did.
 */
function textSetBy({ seq, content }: Delivery, { rows, edits }: RoomLog): LogRow | undefined {
  const row = rows.get(seq);
  if (row === undefined) return undefined;
  const isUnchanged =
    row.kind === 'message' && !isNumber(row.text_seq) && !isNumber(row.deleted_by);
  if (content === (isUnchanged ? row.content : textAt(row))) return row;
  return edits.get(seq)?.find((edit) => textAt(edit) === content);
}

/** The client got each entry of its version once, in order, and as it is stored; of a log that was set back, up to its last one. */
function judgeDeliveries(
  { version, userUUID, roomId, stretches }: ClientRecord,
  stretch: Stretch,
  room: RoomLog,
  found: Found,
): void {
  const { deliveries, from } = stretch;
  const seen = new Set<number>();
  let highest = from;
  for (const delivery of deliveries) {
    const { seq, emitter, content, ref, at } = delivery;
    if (!isLikeTheLog(delivery, room)) {
      found(
        'unlikeTheLog',
        `${userUUID} got ${ref}, "${content}", of ${emitter} as ${seq} of room ${roomId}`,
        at,
      );
    }
    if (version === 2 && content !== undefined && textSetBy(delivery, room)?.seq !== seq) {
      found('unlikeTheLog', `${userUUID} got "${content}" with ${seq} of room ${roomId}`, at);
    }
    if (seen.has(seq)) found('doubled', `${userUUID} got ${seq} of room ${roomId} again`, at);
    else if (seq <= highest) {
      found('reordered', `${userUUID} got ${seq} of room ${roomId} behind ${highest}`, at);
    }
    seen.add(seq);
    highest = Math.max(highest, seq);
  }
  const isLast = stretch === stretches.at(-1);
  // A client that may not read at the end can't catch up.
  if (isLast && !allows(room, userUUID, 'r', Infinity)) return;
  for (const row of room.rows.values()) {
    const { seq, at } = row;
    if (seq <= from || seen.has(seq) || (!isLast && seq > highest)) continue;
    // Version 1 shows messages, and those that are deleted not any more.
    if (version === 1 && (row.kind !== 'message' || isNumber(row.deleted_by))) continue;
    found('lost', `${userUUID} never got ${seq} of room ${roomId}`, at);
  }
}

/**
 * The client got entries that were stored while it might not read only after the next grant was requested: with that
 * grant it may catch up on them. The same holds for the text of an edit.
 */
function judgeRevocations(
  { version, userUUID, roomId }: ClientRecord,
  { deliveries }: Stretch,
  room: RoomLog,
  ruleRequests: ReadonlyMap<number, RuleRequest>,
  found: Found,
): void {
  const rules = room.rules.get(userUUID) ?? [];
  // Most users keep their rights.
  if (rules.every((rule) => grants(rule, 'r'))) return;
  for (const delivery of deliveries) {
    const { seq, at } = delivery;
    const shown = Math.max(seq, textSetBy(delivery, room)?.seq ?? 0);
    // In version 2 the entry that revokes the right does not come either, and the one that grants it does.
    if (allows(room, userUUID, 'r', version === 2 ? shown + 1 : shown)) continue;
    const grant = rules.find((rule) => rule.seq > shown && grants(rule, 'r'));
    const grantedAt = grant === undefined ? Infinity : (ruleRequests.get(grant.level)?.at ?? 0);
    if (at < grantedAt) {
      found('deliveredAfterRevocation', `${userUUID} got ${shown} of room ${roomId}`, at);
    }
  }
}

/** What a client of version 2 has made of its entries is what the tables hold, and no read marker was lost. */
function judgeState(client: ClientRecord, tables: Tables, epoch: number, found: Found): void {
  const { userUUID, roomId, state, read } = client;
  const stored = tables.rooms.get(roomId)?.stateFor(userUUID);
  if (state !== undefined && stored !== undefined) {
    const difference = differenceOf(state, stored);
    if (difference !== undefined) {
      found('stateDiffers', `${userUUID} has ${difference} of room ${roomId}`);
    }
  }
  const [marker, answered] = [tables.markers.get(placeKey(client)) ?? 0, read.get(epoch) ?? 0];
  if (marker < answered) {
    found(
      'stateDiffers',
      `${userUUID} has read ${answered} of room ${roomId}, stored is ${marker}`,
    );
  }
}

/** The first part of what a client shows that is not as it is stored. */
function differenceOf(seen: SeenRoom, stored: RoomState): string | undefined {
  const { first, messages, members, settings } = seen;
  const shown = stored.messages.filter(({ seq }) => seq >= first);
  const rules = new Map(stored.members.map((member) => [member.uuid, member]));
  const parts: [unknown, unknown][] = [
    ...(settings === undefined ? [] : [[settings, stored.settings] as [unknown, unknown]]),
    ...pairs(messages, shown),
    ...[...members].map(([uuid, member]): [unknown, unknown] => [member, rules.get(uuid)]),
  ];
  const different = parts.find(([one, other]) => !isDeepStrictEqual(one, other));
  return different
    ?.map((part) => (part === undefined ? 'nothing' : JSON.stringify(part)))
    .join(' instead of ');
}

function pairs<T>(some: readonly T[], others: readonly T[]): [unknown, unknown][] {
  const longer = some.length > others.length ? some : others;
  return longer.map((_, index) => [some[index], others[index]]);
}

/** No table holds a text that was replaced or deleted, or the words of it. */
function judgeTexts({ rows }: Log, { texts, wrongWords }: Tables, found: Found): void {
  for (const { room_id, seq } of wrongWords) {
    found('deletedTextFound', `the search has other words of ${seq} of room ${room_id}`);
  }
  const messages = new Map(
    rows.filter(({ kind }) => kind === 'message').map((row) => [keyOf(row), row]),
  );
  for (const row of rows) {
    if (row.kind !== 'message' && row.kind !== 'edit') continue;
    const message = messages.get(keyOf({ ...row, seq: row.target ?? row.seq }));
    const current = message?.text_seq ?? message?.seq;
    const isGone = isNumber(message?.deleted_by) || current !== row.seq;
    if (isGone && texts.has(textAt(row))) {
      found('deletedTextFound', `"${textAt(row)}" of room ${row.room_id} is stored`, row.at);
    }
  }
}

function keyOf({ room_id, seq }: Pick<LogRow, 'room_id' | 'seq'>): string {
  return `${room_id} ${seq}`;
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
