import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ben, expectInvalid, HttpLab, type HttpAnswer } from '../harness/http-lab.js';

let lab: HttpLab;

beforeAll(async () => {
  lab = await HttpLab.open();
});
afterEach(() => lab.bystanders.expectServed());
afterAll(() => lab.close());

describe('a query', () => {
  const history = (query: string): Promise<HttpAnswer> =>
    lab.call('GET', `/rooms/${lab.room}/messages?${query}`);

  it.each([
    'limit=0',
    'limit=-1',
    'limit=1001',
    'limit=1e2',
    'limit=1.5',
    'limit=0x10',
    'limit=',
    'limit=%20',
    'limit=ten',
    'limit=%00',
    'limit=%zz',
    'limit=99999999999999999999',
    'limit=1;drop%20table%20rooms',
    'limit=1&limit=2',
    'limit=1&limit=1',
    'before=0',
    'before=-1',
    'before=9007199254740992',
    'before=1&before=2',
    'after=-1',
    'after=NaN',
    'after=9007199254740992',
    'timezone=Mars%2FPhobos',
    'timezone=UTC%2B25',
    'timezone=',
    'timezone=%00',
    'timezone=..%2F..%2Fetc%2Fpasswd',
    'timezone=UTC&timezone=UTC',
    'dateFrom=garbage',
    'dateFrom=',
    'dateFrom=%00',
    'dateFrom=%zz',
    'dateFrom=2026-02-30',
    'dateFrom=2026-13-01',
    'dateFrom=2026-00-10',
    'dateFrom=2026-1-1',
    'dateFrom=20260101',
    'dateFrom=01%2F02%2F2026',
    'dateFrom=2026-W01',
    'dateFrom=2026-001',
    'dateFrom=now',
    'dateFrom=1767225600000',
    'dateFrom=%2B275760-09-13',
    'dateFrom=%2B275760-09-14',
    'dateFrom=-000001-01-01',
    'dateFrom=-271821-04-19',
    'dateFrom=2026-01-01T',
    'dateFrom=2026-01-01T25:00:00',
    'dateFrom=2026-01-01T00:61:00',
    'dateFrom=2026-01-01T00:00:00%2B99:99',
    'dateFrom=2026-01-01T00:00:00Z%00',
    'dateFrom=2026-01-01T00:00:00Z;select%201',
    'dateFrom=2026-01-01&dateFrom=2026-01-02',
    'dateTo=2026-02-29',
    'dateTo=garbage',
  ])('of the history with %s is 400 INVALID, and the answer names the parameter', async (query) => {
    const [field = ''] = query.split('=');
    expectInvalid(await history(query), field);
    // With pages by number, too.
    if (field.startsWith('date')) expectInvalid(await history(`${query}&limit=5`), field);
  });

  it.each([
    'dateFrom=2026-01-02&dateTo=2026-01-01',
    'dateFrom=2026-01-01T12:00:00Z&dateTo=2026-01-01T11:59:59Z',
    'dateFrom=9999-12-31',
    'dateTo=2000-01-01',
  ])('with dateTo before dateFrom is 400 INVALID: %s', async (query) => {
    expectInvalid(await history(query), 'dateTo');
  });

  it.each([
    'dateFrom=0000-01-01',
    'dateFrom=0000-01-01T00:00:00%2B14:00',
    'dateFrom=0001-01-01&timezone=Asia%2FTokyo',
    'dateFrom=0001-01-01&timezone=Pacific%2FKiritimati',
    'dateFrom=1970-01-01&dateTo=9999-12-31',
    'dateFrom=1970-01-01&dateTo=9999-12-31&timezone=Pacific%2FMidway',
    'dateFrom=1970-01-01&dateTo=9999-12-31T23:59:59.999-12:00',
  ])('at the end of the calendar is answered, whole or 400: %s', async (query) => {
    for (const page of ['', '&limit=5', '&after=0']) {
      const answer = await history(query + page);
      // The messages of this test are in the period.
      const whole = { status: 200, content: expect.arrayContaining([inRoom(lab.room)]) };
      const refused = { status: 400, meta: { reason: 'INVALID' }, content: {} };
      expect(answer).toMatchObject(answer.status === 400 ? refused : whole);
    }
  });

  it.each([
    'dateFrom=0000-01-01&dateTo=0000-12-31',
    'dateFrom=0000-01-01&dateTo=0001-01-01&timezone=Asia%2FTokyo',
    'dateFrom=9999-12-31&dateTo=9999-12-31&timezone=Pacific%2FMidway',
  ])('before or after all messages is answered, empty or 400: %s', async (query) => {
    for (const page of ['', '&limit=5']) {
      const answer = await history(query + page);
      const refused = { status: 400, meta: { reason: 'INVALID' }, content: {} };
      expect(answer).toMatchObject(answer.status === 400 ? refused : { status: 200, content: [] });
    }
  });

  it.each([
    '__proto__=1',
    '__proto__[limit]=x',
    'constructor=1&toString=2&hasOwnProperty=3',
    'limit[]=x',
    'nonsense=1&nonsense=2',
    '%00=%00',
    '=&&==&=x',
    '%zz=%zz',
    'a=%ff%fe',
    `a=${'b'.repeat(6_000)}`,
  ])('with unknown keys is answered as without them: %s', async (query) => {
    for (const path of [`/rooms/${lab.room}/messages`, '/rooms', '/rooms/all', '/test/token']) {
      expect((await lab.call('GET', `${path}?${query}`)).status).toBe(200);
    }
  });

  it.each([
    'limit=0',
    'limit=1001',
    'limit=1&limit=2',
    'offset=-1',
    'offset=2147483648',
    'offset=1e3',
    'offset=',
    'accepted=yes',
    'accepted=1',
    'accepted=',
    'accepted=TRUE',
    'accepted=true&accepted=true',
  ])('of the rooms with %s is 400 INVALID, and the answer names the parameter', async (query) => {
    const [field = ''] = query.split('=');
    expectInvalid(await lab.call('GET', `/rooms?${query}`), field);
  });
});

describe('a query of a newer route', () => {
  const LIMITS = ['limit=0', 'limit=-1', 'limit=1e1', 'limit=', 'limit=ten', 'limit=1&limit=1'];
  const CURSORS = [
    'cursor=',
    'cursor=x',
    'cursor=%00',
    'cursor=bnVsbA',
    'cursor=W10',
    'cursor=W251bGwsbnVsbCxudWxsXQ',
    'cursor=WyJcdTAwMDAiXQ',
    `cursor=${Buffer.from(JSON.stringify([1e300, -1, 0.5])).toString('base64url')}`,
    `cursor=${'W'.repeat(8_000)}`,
    'cursor=W10&cursor=W10',
  ];
  const queries: Readonly<Record<string, string[]>> = {
    '/me/rooms': [
      ...LIMITS,
      ...CURSORS,
      'limit=101',
      'q=',
      'q=%00',
      `q=${'x'.repeat(101)}`,
      'q=a&q=b',
      'type=',
      'type=channel',
    ],
    '/messages': [
      ...LIMITS.map((limit) => `q=a&${limit}`),
      ...CURSORS.map((cursor) => `q=a&${cursor}`),
      'q=a&limit=101',
      'q=',
      'q=%00',
      'q=%21%3F',
      `q=${'x'.repeat(201)}`,
      'q=a&q=b',
      'q=a&room=0',
      'q=a&room=x',
      'q=a&room=%00',
    ],
    '/users': [
      '',
      'ids=',
      'ids=x',
      'ids=,',
      'ids=%00',
      `ids=${ben.userUUID},`,
      `ids=${ben.userUUID}%00`,
      `ids=${Array.from({ length: 101 }, () => ben.userUUID).join()}`,
      `ids=${ben.userUUID}&ids=${ben.userUUID}`,
    ],
    '/rooms/ROOM/members': [...LIMITS, ...CURSORS, 'limit=1001'],
    '/rooms/ROOM/entries': [
      ...LIMITS,
      'limit=1001',
      'after=-1',
      'after=x',
      'after=',
      'after=9007199254740992',
      'after=1&after=1',
    ],
    '/rooms/ROOM/messages': ['thread=0', 'thread=-1', 'thread=x', 'thread=', 'thread=1&thread=1'],
  };

  it.each(Object.entries(queries))('of %s is 400 INVALID', async (path, bad) => {
    for (const query of bad) {
      const answer = await lab.call('GET', `${path.replace('ROOM', String(lab.room))}?${query}`);
      const field = query.split('&').at(-1)?.split('=')[0] || 'ids';
      expectInvalid(answer, field);
    }
  });

  it('of a deletion is 400 INVALID, and deletes nothing', async () => {
    const path = `/rooms/${lab.room}/messages/${lab.message}`;
    for (const ref of ['ref=', 'ref=%00', `ref=${'r'.repeat(65)}`, 'ref=a&ref=a']) {
      expectInvalid(await lab.call('DELETE', `${path}?${ref}`), 'ref');
    }
    expect((await lab.call('GET', path)).status).toBe(200);
  });
});

function inRoom(id: number): unknown {
  return expect.objectContaining({ room_id: id });
}
