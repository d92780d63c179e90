import { describe, expect, it } from 'vitest';
import { Ledger, type ClientRecord } from './ledger.js';
import { judge, type LogRow, type Verdict, type Violation } from './verdict.js';

const ROOM = 1;
const ANN = 'ann';
const BOB = 'bob';

function rule(seq: number, entity_UUID: string, permissions: string, level = 0): LogRow {
  const content = JSON.stringify({ entity_UUID, permissions, level, accepted: true });
  return { room_id: ROOM, seq, kind: 'rule', emitter: 'owner', content, ref: null };
}

function message(seq: number, emitter: string, ref: string, content = contentOf(ref)): LogRow {
  return { room_id: ROOM, seq, kind: 'message', emitter, content, ref };
}

function contentOf(ref: string): string {
  return `message ${ref}`;
}

/** Two members and what they did; everything went well until a test says otherwise. */
class Story {
  readonly ledger = new Ledger();
  readonly ann = this.ledger.addClient(ANN, ROOM);
  readonly bob = this.ledger.addClient(BOB, ROOM);
  readonly log: LogRow[] = [rule(1, ANN, 'rw'), rule(2, BOB, 'rw')];

  send(client: ClientRecord, ref: string, acknowledgedSeq?: number, transmissions = 1): void {
    const content = contentOf(ref);
    client.sendings.set(ref, { ref, content, transmissions, acknowledgedSeq, refused: false });
  }

  deliver(client: ClientRecord, ...rows: LogRow[]): void {
    for (const { seq, emitter, content, ref } of rows) {
      const at = this.ledger.tick();
      client.deliveries.push({ seq, emitter, content, ref: ref ?? undefined, at });
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

  judge(head = Math.max(...this.log.map(({ seq }) => seq))): Verdict {
    const { clients, ruleRequests } = this.ledger;
    return judge({ log: this.log, heads: new Map([[ROOM, head]]), clients, ruleRequests });
  }
}

/** The violations, without those that did not occur. */
function found({ counts }: Verdict): Partial<Record<Violation, number>> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

describe('the verdict', () => {
  it('passes what went well', () => {
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

  it('finds a message that somebody never got', () => {
    const story = new Story();
    story.log.push(message(3, ANN, 'a1'));
    story.deliver(story.ann, message(3, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ lost: 1 });
  });

  it('expects nothing to reach who may not read at the end', () => {
    const story = new Story();
    story.log.push(rule(3, BOB, 'w'), message(4, ANN, 'a1'));
    story.deliver(story.ann, message(4, ANN, 'a1'));
    expect(found(story.judge())).toEqual({});
  });

  it('finds an acknowledged rule that is not in the log', () => {
    const story = new Story();
    const request = story.ledger.requestRule({ userUUID: BOB, roomId: ROOM, permissions: 'w' });
    expect(found(story.judge())).toEqual({});
    request.acknowledged = true;
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

  it('finds messages stored in another order than they were sent in, unless they were sent again', () => {
    const sentInOrder = (transmissions: number): Verdict => {
      const story = new Story();
      story.tell(message(3, ANN, 'a2'), message(4, ANN, 'a1'));
      story.ann.sendings.clear();
      story.send(story.ann, 'a1', 4, transmissions);
      story.send(story.ann, 'a2', 3);
      return story.judge();
    };
    expect(found(sentInOrder(1))).toEqual({ reordered: 1 });
    expect(found(sentInOrder(2))).toEqual({});
  });

  it('finds a message of somebody who might not write', () => {
    for (const permissions of ['r', 'rwb', '']) {
      const story = new Story();
      story.log.push(rule(3, BOB, permissions), message(4, BOB, 'b1'), rule(5, BOB, 'rw'));
      story.deliver(story.ann, message(4, BOB, 'b1'));
      story.ledger.requestRule({ userUUID: BOB, roomId: ROOM, permissions: 'rw' });
      story.deliver(story.bob, message(4, BOB, 'b1'));
      expect(found(story.judge())).toEqual({ storedAfterRevocation: 1 });
    }
  });

  it('finds what reached somebody who might not read, before the next grant was asked for', () => {
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

  it('lets who may read again catch up', () => {
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

  it('finds a hole in the numbers, and a head that is not the last of them', () => {
    const story = new Story();
    story.tell(message(4, ANN, 'a1'));
    expect(found(story.judge())).toEqual({ gaps: 1 });
    expect(found(story.judge(5))).toEqual({ gaps: 2 });
  });

  it('finds a message that is not what is stored at its number, or that is not stored at all', () => {
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
