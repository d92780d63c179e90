import { describe, expect, it } from 'vitest';
import type { RoomState } from '../harness/room-state.js';
import {
  Ledger,
  placeKey,
  textOf,
  type ClientRecord,
  type LogRow,
  type SeenRoom,
  type Sending,
  type SentKind,
  type Tables,
} from './ledger.js';
import {
  ANSWER_WITHIN_MS,
  ENDS_WITHIN_MS,
  judge,
  TALKS_WITHIN_MS,
  type Verdict,
  type Violation,
} from './verdict.js';

const ROOM = 1;
const ANN = 'ann';
const BOB = 'bob';
const NODE = 'node 1';

function rule(seq: number, entity_UUID: string, permissions: string, level = 0): LogRow {
  const content = JSON.stringify({ entity_UUID, permissions, level, accepted: true });
  return { room_id: ROOM, seq, kind: 'member', emitter: 'owner', content, ref: null, at: seq };
}

function message(seq: number, emitter: string, ref: string, content = contentOf(ref)): LogRow {
  return { room_id: ROOM, seq, kind: 'message', emitter, content, ref, at: seq };
}

function change(seq: number, kind: SentKind, emitter: string, ref: string, target: number): LogRow {
  return { room_id: ROOM, seq, kind, emitter, content: '', ref, target, at: seq };
}

function contentOf(ref: string): string {
  return textOf('message', ref);
}

function stateWith(...contents: string[]): RoomState {
  return {
    messages: contents.map((content, index) => ({
      seq: index + 3,
      emitter: ANN,
      content,
      data: undefined,
      replyTo: undefined,
      mentions: undefined,
      reactions: [],
    })),
    members: [{ uuid: ANN, permissions: 'rw', level: 0, accepted: true }],
    settings: undefined,
  };
}

/** What a client shows that knows all of a state. */
function seen({ messages, members, settings }: RoomState): SeenRoom {
  const rules = members.map((member) => [member.uuid, member] as const);
  return { first: 0, messages, members: new Map(rules), settings };
}

/** An entry as a client gets it. */
type GotRow = Omit<LogRow, 'content'> & { readonly content: string | undefined };

/** An entry whose content is withheld. */
function withheld(row: LogRow): GotRow {
  return { ...row, content: undefined };
}

/** Two members and their messages, without a violation until a test adds one. */
class Story {
  readonly ledger = new Ledger();
  readonly ann = this.add(ANN);
  readonly bob = this.add(BOB);
  readonly log: LogRow[] = [rule(1, ANN, 'rw'), rule(2, BOB, 'rw')];

  add(userUUID: string, version: 1 | 2 = 1): ClientRecord {
    const client = this.ledger.addClient(version, userUUID, ROOM);
    this.ledger.addStretch(client, { epoch: this.ledger.epoch });
    return client;
  }

  send(
    client: ClientRecord,
    ref: string,
    acknowledgedSeq?: number,
    { transmissions = 1, kind = 'message', target }: Partial<Sending> = {},
  ): void {
    client.sendings.set(ref, {
      kind,
      target,
      ref,
      content: textOf(kind, ref),
      at: this.ledger.tick(),
      transmissions,
      acknowledgedSeq,
      acknowledgedIn:
        acknowledgedSeq === undefined ? undefined : [this.ledger.epoch, this.ledger.epoch],
    });
  }

  deliver(client: ClientRecord, ...rows: GotRow[]): void {
    const stretch = client.stretches.at(-1);
    if (stretch === undefined) throw new Error('the client has read nothing');
    for (const { kind, seq, emitter, content, ref } of rows) {
      this.ledger.delivered(stretch, { kind, seq, emitter, content, ref: ref ?? undefined });
    }
  }

  /** Stores messages, acknowledges them to their senders and delivers them to both. */
  tell(...rows: LogRow[]): void {
    for (const row of rows) {
      this.log.push(row);
      this.send(row.emitter === ANN ? this.ann : this.bob, row.ref ?? '', row.seq);
      this.deliver(this.ann, row);
      this.deliver(this.bob, row);
    }
  }

  /** The log is set back to its first entries; the clients, both by default, are told and begin anew. */
  setBack(seq: number, told = this.ledger.clients): void {
    const head = Math.max(...this.log.map((row) => row.seq));
    this.ledger.logsBefore.push({ rows: [...this.log], heads: new Map([[ROOM, head]]) });
    this.log.splice(this.log.findIndex((row) => row.seq > seq));
    for (const client of told) {
      this.ledger.addStretch(client, { epoch: this.ledger.epoch });
      this.deliver(client, ...this.log.filter(({ kind }) => kind === 'message'));
    }
  }

  judge(head = Math.max(...this.log.map(({ seq }) => seq)), tables: Partial<Tables> = {}): Verdict {
    const nothing: Tables = {
      rooms: new Map(),
      markers: new Map(),
      texts: new Set(),
      wrongWords: [],
    };
    const log = { rows: this.log, heads: new Map([[ROOM, head]]) };
    return judge(log, this.ledger, { ...nothing, ...tables });
  }

  /** Judges it with other tables than those without anything. */
  judgeWith(tables: Partial<Tables>): Verdict {
    return this.judge(undefined, tables);
  }
}

/** The violations, without those that did not occur. */
function found({ counts }: Verdict): Partial<Record<Violation, number>> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

describe('the verdict', () => {
  it('passes a run without a violation', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, BOB, 'b1'));
    const verdict = story.judge();
    expect(found(verdict)).toEqual({});
    expect(verdict.passed).toBe(true);
  });

  it('passes a message that was refused, and one that was stored without an answer', () => {
    const story = new Story();
    story.send(story.ann, 'a1');
    story.tell(message(3, ANN, 'a2'));
    story.send(story.ann, 'a2');
    expect(found(story.judge())).toEqual({});
  });

  it('finds an acknowledged message that is not in the log', () => {
    const story = new Story();
    story.send(story.ann, 'a1', 3);
    const verdict = story.judge();
    expect(found(verdict)).toEqual({ lost: 1 });
    expect(verdict.passed).toBe(false);
    expect(verdict.examples).toEqual(['lost: a1 was acknowledged at 3, and is not stored']);
  });

  it('finds a message that a client never got', () => {
    const story = new Story();
    story.log.push(message(3, ANN, 'a1'));
    story.deliver(story.ann, message(3, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ lost: 1 });
  });

  it('expects no message for a client that may not read at the end', () => {
    const story = new Story();
    story.log.push(rule(3, BOB, 'w'), message(4, ANN, 'a1'));
    story.deliver(story.ann, message(4, ANN, 'a1'));
    expect(found(story.judge())).toEqual({});
  });

  it('finds an acknowledged rule that is not in the log', () => {
    const story = new Story();
    const request = story.ledger.requestRule({ userUUID: BOB, roomId: ROOM, permissions: 'w' });
    expect(found(story.judge())).toEqual({});
    request.acknowledgedIn = 0;
    expect(found(story.judge())).toEqual({ lost: 1 });
  });

  it('finds a ref that is stored twice', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'));
    story.log.push(message(4, ANN, 'a1'));
    for (const client of story.ledger.clients) story.deliver(client, message(4, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ doubled: 1 });
  });

  it('finds a number that one client got twice', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    story.deliver(story.bob, message(3, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ doubled: 1 });
  });

  it('finds a number that came behind a higher one', () => {
    const story = new Story();
    const [first, second] = [message(3, ANN, 'a1'), message(4, ANN, 'a2')];
    story.log.push(first, second);
    story.deliver(story.ann, first, second);
    story.deliver(story.bob, second, first);
    expect(found(story.judge())).toEqual({ reordered: 1 });
  });

  it('finds messages stored in another order than they were sent, unless they were sent again', () => {
    const sentInOrder = (transmissions: number): Verdict => {
      const story = new Story();
      story.tell(message(3, ANN, 'a2'), message(4, ANN, 'a1'));
      story.ann.sendings.clear();
      story.send(story.ann, 'a1', 4, { transmissions });
      story.send(story.ann, 'a2', 3);
      return story.judge();
    };
    expect(found(sentInOrder(1))).toEqual({ reordered: 1 });
    expect(found(sentInOrder(2))).toEqual({});
  });

  it('finds a message of a user who might not write', () => {
    for (const permissions of ['r', 'rwb', '']) {
      const story = new Story();
      story.log.push(rule(3, BOB, permissions), message(4, BOB, 'b1'), rule(5, BOB, 'rw'));
      story.deliver(story.ann, message(4, BOB, 'b1'));
      story.ledger.requestRule({ userUUID: BOB, roomId: ROOM, permissions: 'rw' });
      story.deliver(story.bob, message(4, BOB, 'b1'));
      expect(found(story.judge())).toEqual({ storedAfterRevocation: 1 });
    }
  });

  it('finds a message that reached a user who might not read, before the next grant was requested', () => {
    const story = new Story();
    const grant = { userUUID: BOB, roomId: ROOM, permissions: 'rw' };
    const late = message(4, ANN, 'a1');
    story.log.push(rule(3, BOB, 'w'), late);
    story.deliver(story.ann, late);
    story.deliver(story.bob, late);
    expect(found(story.judge())).toEqual({ deliveredAfterRevocation: 1 });
    const { id } = story.ledger.requestRule(grant);
    story.log.push(rule(5, BOB, 'rw', id));
    expect(found(story.judge())).toEqual({ deliveredAfterRevocation: 1 });
  });

  it('allows a user who may read again to catch up', () => {
    const story = new Story();
    const late = message(4, ANN, 'a1');
    story.log.push(rule(3, BOB, 'w'), late);
    story.deliver(story.ann, late);
    const grant = { userUUID: BOB, roomId: ROOM, permissions: 'rw' };
    const { id } = story.ledger.requestRule(grant);
    story.log.push(rule(5, BOB, 'rw', id));
    story.deliver(story.bob, late);
    expect(found(story.judge())).toEqual({});
  });

  it('finds a gap in the numbers, and a head that is not the last number', () => {
    const story = new Story();
    story.tell(message(4, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ gaps: 1 });
    expect(found(story.judge(5))).toEqual({ gaps: 2 });
  });

  it('finds a delivered message that is stored under another number, or not at all', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'));
    story.deliver(story.bob, message(4, ANN, 'a2'));
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
    const other = new Story();
    other.log.push(message(3, ANN, 'a1'));
    other.deliver(other.ann, message(3, ANN, 'a1'));
    other.deliver(other.bob, message(3, ANN, 'a2'));
    expect(found(other.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds a message with another text, delivered or stored', () => {
    const delivered = new Story();
    delivered.log.push(message(3, ANN, 'a1'));
    delivered.deliver(delivered.ann, message(3, ANN, 'a1'));
    delivered.deliver(delivered.bob, message(3, ANN, 'a1', 'something else'));
    expect(found(delivered.judge())).toEqual({ unlikeTheLog: 1 });
    const stored = new Story();
    stored.tell(message(3, ANN, 'a1', 'something else'));
    expect(found(stored.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds an acknowledgement with another number', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'));
    story.send(story.ann, 'a1', 4);
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
  });
});

describe('the verdict on changes of messages', () => {
  const edit = change(4, 'edit', ANN, 'a2', 3);
  const edited = { ...message(3, ANN, 'a1', 'edit a2'), text_seq: 4 };
  const deletion = change(4, 'delete', ANN, 'a2', 3);
  const deleted = { ...message(3, ANN, 'a1', ''), deleted_by: 4 };

  /** A story in which bob has version 2 and has got his and ann's rules. */
  function storyOf(...rows: LogRow[]): { story: Story; cleo: ClientRecord } {
    const story = new Story();
    const cleo = story.add(BOB, 2);
    story.deliver(cleo, ...story.log.map(withheld));
    story.log.push(...rows);
    return { story, cleo };
  }

  it('passes a text that an entry withholds, and the text that version 1 resumes with', () => {
    const { story, cleo } = storyOf(edited, edit);
    story.deliver(cleo, withheld(edited), { ...edit, content: 'edit a2' });
    story.deliver(story.ann, edited);
    story.deliver(story.bob, message(3, ANN, 'a1'));
    expect(found(story.judge())).toEqual({});
  });

  it('finds a text that was withheld without a reason', () => {
    const { story, cleo } = storyOf(message(3, ANN, 'a1'));
    for (const client of [story.ann, story.bob]) story.deliver(client, message(3, ANN, 'a1'));
    story.deliver(cleo, withheld(message(3, ANN, 'a1')));
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds an entry that shows what a later one did', () => {
    const { story, cleo } = storyOf(edited, edit);
    for (const client of [story.ann, story.bob]) story.deliver(client, edited);
    story.deliver(cleo, edited, { ...edit, content: 'edit a2' });
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds an entry of any kind that a client of version 2 never got', () => {
    const { story, cleo } = storyOf(deleted, deletion);
    story.deliver(cleo, withheld(deleted));
    expect(found(story.judge())).toEqual({ lost: 1 });
    story.deliver(cleo, withheld(deletion));
    expect(found(story.judge())).toEqual({});
  });

  it('finds a text that was set after the right to read had ended', () => {
    const story = new Story();
    const late = { ...message(3, ANN, 'a1', 'edit a2'), text_seq: 5 };
    story.log.push(late, rule(4, BOB, 'w'), change(5, 'edit', ANN, 'a2', 3));
    story.deliver(story.ann, late);
    story.deliver(story.bob, message(3, ANN, 'a1'));
    expect(found(story.judge())).toEqual({});
    story.bob.stretches.at(-1)?.deliveries.pop();
    story.deliver(story.bob, late);
    expect(found(story.judge())).toEqual({ deliveredAfterRevocation: 1 });
  });

  it('finds the entry that ends the right to read, at the one who lost it', () => {
    const { story, cleo } = storyOf(rule(3, BOB, 'w'));
    story.deliver(cleo, withheld(rule(3, BOB, 'w')));
    expect(found(story.judge())).toEqual({ deliveredAfterRevocation: 1 });
  });

  it('finds a message that has not the text of its last edit', () => {
    const { story, cleo } = storyOf({ ...edited, content: 'message a1' }, edit);
    for (const client of [story.ann, story.bob]) story.deliver(client, message(3, ANN, 'a1'));
    story.deliver(cleo, withheld(edited), { ...edit, content: 'edit a2' });
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds an acknowledged change that is not stored, unless it had been made before', () => {
    const { story, cleo } = storyOf(deleted, deletion);
    story.deliver(cleo, withheld(deleted), withheld(deletion));
    story.send(story.ann, 'a3', 4, { kind: 'delete', target: 3 });
    expect(found(story.judge())).toEqual({});
    story.send(story.ann, 'a4', 4, { kind: 'reaction', target: 3 });
    expect(found(story.judge())).toEqual({ lost: 1 });
  });
});

describe('the verdict on a client that begins behind a number', () => {
  it('finds nothing if it gets all entries from there on', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'), message(5, ANN, 'a3'));
    const cleo = story.ledger.addClient(2, 'cleo', ROOM);
    story.log[1] = rule(2, 'cleo', 'r');
    story.ledger.addStretch(cleo, { epoch: 0, from: 3 });
    story.deliver(cleo, message(4, ANN, 'a2'), message(5, ANN, 'a3'));
    expect(found(story.judge())).toEqual({});
  });

  it('finds an entry that it never got, and one from before', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'), message(5, ANN, 'a3'));
    const cleo = story.ledger.addClient(2, 'cleo', ROOM);
    story.log[1] = rule(2, 'cleo', 'r');
    story.ledger.addStretch(cleo, { epoch: 0, from: 3 });
    story.deliver(cleo, message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    expect(found(story.judge())).toEqual({ reordered: 1, lost: 1 });
  });
});

describe('the verdict on the tables', () => {
  it('finds a state of a client that is not that of the tables', () => {
    const story = new Story();
    const stored = new Map([[ROOM, { stateFor: () => stateWith('one', 'two') }]]);
    story.ann.state = seen(stateWith('one', 'two'));
    expect(found(story.judgeWith({ rooms: stored }))).toEqual({});
    story.ann.state = seen(stateWith('one'));
    const verdict = story.judgeWith({ rooms: stored });
    expect(found(verdict)).toEqual({ stateDiffers: 1 });
    expect(verdict.examples[0]).toMatch(/^stateDiffers: ann has nothing instead of .*two/);
  });

  it('asks of a client for the messages that it has loaded, and the rules that it was told of', () => {
    const story = new Story();
    const stored = new Map([[ROOM, { stateFor: () => stateWith('one', 'two') }]]);
    const whole = seen(stateWith('one', 'two'));
    const messages = whole.messages.slice(1);
    story.ann.state = { ...whole, first: 4, messages, members: new Map() };
    expect(found(story.judgeWith({ rooms: stored }))).toEqual({});
    story.ann.state = { ...whole, first: 3, messages, members: new Map() };
    expect(found(story.judgeWith({ rooms: stored }))).toEqual({ stateDiffers: 1 });
    story.ann.state = { ...whole, members: new Map([[ANN, undefined]]) };
    expect(found(story.judgeWith({ rooms: stored }))).toEqual({ stateDiffers: 1 });
  });

  it('finds a read marker that is behind what was answered', () => {
    const story = new Story();
    story.ann.read.set(0, 2);
    const at = (upto: number): Partial<Tables> => ({
      markers: new Map([[placeKey(story.ann), upto]]),
    });
    expect(found(story.judgeWith(at(2)))).toEqual({});
    expect(found(story.judgeWith(at(1)))).toEqual({ stateDiffers: 1 });
  });

  it('finds a deleted text in a table, and a replaced one', () => {
    const story = new Story();
    story.log.push(
      { ...message(3, ANN, 'a1', ''), deleted_by: 5 },
      change(4, 'edit', ANN, 'a2', 3),
      change(5, 'delete', ANN, 'a3', 3),
      { ...message(6, ANN, 'a4', 'edit a6'), text_seq: 8 },
      change(7, 'edit', ANN, 'a5', 6),
      change(8, 'edit', ANN, 'a6', 6),
    );
    for (const client of [story.ann, story.bob]) {
      story.deliver(client, { ...message(6, ANN, 'a4', 'edit a6') });
    }
    const inTables = (...texts: string[]): Verdict => story.judgeWith({ texts: new Set(texts) });
    expect(found(inTables('edit a6', 'message a9'))).toEqual({});
    const wrongWords = [{ room_id: ROOM, seq: 3 }];
    expect(found(story.judgeWith({ wrongWords }))).toEqual({ deletedTextFound: 1 });
    for (const text of ['message a1', 'edit a2', 'message a4', 'edit a5']) {
      expect(found(inTables('edit a6', text))).toEqual({ deletedTextFound: 1 });
    }
  });
});

describe('the verdict on a log that was set back', () => {
  it('compares the messages of a client with the log of that time', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'), message(5, ANN, 'a3'));
    story.setBack(3);
    story.tell(message(4, BOB, 'b1'), message(5, BOB, 'b2'));
    expect(found(story.judge())).toEqual({});
    story.deliver(story.ann, message(6, ANN, 'a3'));
    expect(found(story.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('finds a message of the new log before the client was told, and of the old log after', () => {
    const early = new Story();
    early.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    early.setBack(3, [early.ann]);
    const news = message(5, BOB, 'b1');
    early.log.push(message(4, BOB, 'b0'), news);
    early.deliver(early.ann, message(4, BOB, 'b0'), news);
    early.deliver(early.bob, news);
    early.ledger.addStretch(early.bob, { epoch: early.ledger.epoch });
    early.deliver(early.bob, message(3, ANN, 'a1'), message(4, BOB, 'b0'), news);
    expect(found(early.judge())).toEqual({ unlikeTheLog: 1 });
    const late = new Story();
    late.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    late.setBack(3);
    late.tell(message(4, BOB, 'b1'));
    late.deliver(late.ann, message(5, ANN, 'a2'));
    expect(found(late.judge())).toEqual({ unlikeTheLog: 1 });
  });

  it('allows a client that has seen no lost message to continue before it is told', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'));
    story.log.push(message(4, ANN, 'a2'));
    story.setBack(3, [story.ann]);
    const news = message(4, BOB, 'b1');
    story.log.push(news);
    story.deliver(story.ann, news);
    story.deliver(story.bob, news);
    story.ledger.addStretch(story.bob, { epoch: story.ledger.epoch });
    story.deliver(story.bob, message(3, ANN, 'a1'), news);
    expect(found(story.judge())).toEqual({});
  });

  it('finds a client that was not told', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    story.setBack(3, [story.ann]);
    expect(story.judge().examples).toEqual([
      'unlikeTheLog: bob was not told that the log was set back',
    ]);
  });

  it('finds a gap in the messages that a client got of the old log', () => {
    const story = new Story();
    const rows = [message(3, ANN, 'a1'), message(4, ANN, 'a2'), message(5, ANN, 'a3')] as const;
    story.log.push(...rows);
    story.deliver(story.ann, ...rows);
    story.deliver(story.bob, rows[0]);
    story.setBack(3);
    expect(found(story.judge())).toEqual({});
    const holed = new Story();
    holed.log.push(...rows);
    holed.deliver(holed.ann, ...rows);
    holed.deliver(holed.bob, rows[0], rows[2]);
    holed.setBack(3);
    expect(found(holed.judge())).toEqual({ lost: 1 });
  });

  it('expects an acknowledged message in the log of that time', () => {
    const story = new Story();
    story.tell(message(3, ANN, 'a1'), message(4, ANN, 'a2'));
    story.setBack(3);
    expect(found(story.judge())).toEqual({});
    story.send(story.ann, 'a3', 4);
    expect(found(story.judge())).toEqual({ lost: 1 });
    // It is known to be stored, but not in which log.
    story.send(story.ann, 'a2', 4);
    expect(found(story.judge())).toEqual({ lost: 2 });
    const sending = story.ann.sendings.get('a2');
    if (sending !== undefined) sending.acknowledgedIn = [0, 1];
    expect(found(story.judge())).toEqual({ lost: 1 });
  });

  it('expects an acknowledged rule in the log of its time', () => {
    const story = new Story();
    const { ledger } = story;
    const request = ledger.requestRule({ userUUID: BOB, roomId: ROOM, permissions: 'rw' });
    story.log.push(rule(3, BOB, 'rw', request.id));
    story.setBack(2);
    request.acknowledgedIn = 0;
    expect(found(story.judge())).toEqual({});
    request.acknowledgedIn = 1;
    expect(found(story.judge())).toEqual({ lost: 1 });
  });
});

describe('the verdict on commands', () => {
  const command = { what: 'select_room', node: NODE, withinMs: ANSWER_WITHIN_MS };

  /** A command that was sent at 1,000, and settled `ms` later. */
  function waited(ms: number | undefined, ...pauses: { from: number; to: number }[]): Verdict {
    const story = new Story();
    const at = 1_000;
    const settledAt = ms === undefined ? undefined : at + ms;
    story.ledger.commands.push({ ...command, at, settledAt });
    story.ledger.pauses.push(...pauses.map((pause) => ({ node: NODE, ...pause })));
    return story.judge();
  }

  it('finds a command that was answered too late, or never', () => {
    expect(found(waited(ANSWER_WITHIN_MS))).toEqual({});
    expect(found(waited(ANSWER_WITHIN_MS + 1))).toEqual({ unanswered: 1 });
    const never = waited(undefined);
    expect(found(never)).toEqual({ unanswered: 1 });
    expect(never.passed).toBe(false);
    expect(never.examples).toEqual(['unanswered: select_room on node 1, never']);
  });

  it('expects no answer from a stopped node, and the usual time from another one', () => {
    const stopped = { from: 2_000, to: 32_000 };
    expect(found(waited(30_000 + ANSWER_WITHIN_MS, stopped))).toEqual({});
    expect(found(waited(30_001 + ANSWER_WITHIN_MS, stopped))).toEqual({ unanswered: 1 });
    expect(found(waited(undefined, { from: 2_000, to: Infinity }))).toEqual({ unanswered: 1 });
    const story = new Story();
    story.ledger.pauses.push({ node: NODE, ...stopped });
    story.ledger.commands.push({ ...command, node: 'node 2', at: 1_000, settledAt: 31_000 });
    expect(found(story.judge())).toEqual({ unanswered: 1 });
  });

  it('names the faults that were injected meanwhile, or from which a node had not recovered', () => {
    const story = new Story();
    const fault = { detail: '', from: 0, to: 500, allOverAt: 500, wholeAt: 700 };
    story.ledger.incidents.push(
      { ...fault, fault: 'before' },
      { ...fault, fault: 'during', detail: NODE, from: 1_500, to: 2_000, wholeAt: 2_500 },
      { ...fault, fault: 'never-whole', wholeAt: undefined },
      { ...fault, fault: 'after', from: 40_000, to: 41_000, wholeAt: 41_000 },
    );
    story.ledger.commands.push({ ...command, what: 'a1', at: 1_000, settledAt: 31_000 });
    expect(story.judge().examples).toEqual([
      'unanswered: a1 on node 1, not for 30.0 s; during during (node 1), never-whole',
    ]);
  });
});

describe('the verdict on rooms', () => {
  it('finds a room in which a user hears nothing, or too late', () => {
    const story = new Story();
    const listener = { roomId: 1, userUUID: ANN, node: NODE, heardAfterMs: TALKS_WITHIN_MS };
    story.ledger.listeners.push(listener, { ...listener, roomId: 2, heardAfterMs: 20 });
    expect(found(story.judge())).toEqual({});
    story.ledger.listeners.push({ ...listener, heardAfterMs: TALKS_WITHIN_MS + 1 });
    expect(found(story.judge())).toEqual({ hangingRooms: 1 });
    const deaf = { ...listener, userUUID: BOB, node: 'node 2', heardAfterMs: undefined };
    story.ledger.listeners.push(deaf, { ...deaf, roomId: 2 });
    const verdict = story.judge();
    expect(found(verdict)).toEqual({ hangingRooms: 2 });
    expect(verdict.passed).toBe(false);
    expect(verdict.examples).toContain('hangingRooms: bob hears nothing in room 2 on node 2');
  });
});

describe('the verdict on the ends of nodes', () => {
  const exit = { node: NODE, asked: 'SIGTERM', code: 0, signal: null, tookMs: 20, at: 50 } as const;

  it.each([
    ['one that ends with 0, in time, when it is asked to', exit, {}],
    ['one that is killed', { ...exit, asked: 'SIGKILL', code: null, signal: 'SIGKILL' }, {}],
    ['one that ends with another code', { ...exit, code: 1 }, { badExits: 1 }],
    ['one that takes too long', { ...exit, tookMs: ENDS_WITHIN_MS + 1 }, { badExits: 1 }],
    [
      'one that had to be killed',
      { ...exit, code: null, signal: 'SIGKILL', tookMs: 20_000 },
      { badExits: 1 },
    ],
    ['one that ends by itself', { ...exit, asked: undefined }, { badExits: 1 }],
    ['one that crashes', { ...exit, asked: undefined, code: 1 }, { badExits: 1 }],
  ] as const)('judges %s', (_, given, expected) => {
    const story = new Story();
    story.ledger.exits.push(given);
    const verdict = story.judge();
    expect(found(verdict)).toEqual(expected);
    expect(verdict.passed).toBe(Object.keys(expected).length === 0);
  });
});
