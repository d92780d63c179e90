import { expect, it } from 'vitest';
import { encodeAccess, encodeEntry, encodeStatus } from '../../../src/protocol/v2/events.js';

const EMITTER = '7d9f1c2e-58a4-4b0e-9c3d-0a1b2c3d4e5f';

const entry = {
  roomId: 1,
  seq: 3,
  emitter: EMITTER,
  createdAt: '2026-01-15T09:30:00.000Z',
  content: '',
  ref: null,
};

const common = {
  room_id: 1,
  seq: 3,
  emitter: EMITTER,
  createdAt: '2026-01-15T09:30:00.000Z',
};

const member = { entity_UUID: EMITTER, level: 0, permissions: 'rw', accepted: false };
const room = { name: 'a "room"', data: null, level_admin: 1, max_entity_rules: 10 };
const reaction = { emoji: '👍', on: true, count: 3 };

it.each([
  [
    'message',
    { content: 'a "text"\n', data: '{"a":[1]}', replyTo: 2, mentions: [EMITTER], ref: 'a"1' },
    { content: 'a "text"\n', data: { a: [1] }, reply_to: 2, mentions: [EMITTER], ref: 'a"1' },
  ],
  ['edit', { target: 2, content: 'new', data: '{}' }, { target: 2, content: 'new', data: {} }],
  ['delete', { target: 2, ref: 'd' }, { target: 2, ref: 'd' }],
  ['reaction', { target: 2, content: JSON.stringify(reaction) }, { target: 2, ...reaction }],
  ['member', { content: JSON.stringify(member) }, member],
  ['members', { content: JSON.stringify({ members: [member] }) }, { members: [member] }],
  ['room', { content: JSON.stringify(room) }, room],
] as const)('a %s has its number and its fields', (kind, given, fields) => {
  expect(JSON.parse(encodeEntry({ ...entry, kind, ...given }))).toEqual({
    type: kind,
    data: { ...common, ...fields },
  });
});

it.each([
  ['a deleted message', 'message', { isWithheld: true, replyTo: 2 }, { reply_to: 2 }],
  // Its mentions are those of the message, whatever its text is now.
  [
    'an edited message',
    'message',
    { content: 'x', data: '{}', textSeq: 9, mentions: [EMITTER] },
    { mentions: [EMITTER] },
  ],
  ['an edit before another', 'edit', { isWithheld: true, target: 2 }, { target: 2 }],
  ['a reaction to a deleted message', 'reaction', { isWithheld: true, target: 2 }, { target: 2 }],
] as const)('%s has its number, and says nothing', (_what, kind, given, fields) => {
  expect(JSON.parse(encodeEntry({ ...entry, kind, ...given }))).toEqual({
    type: kind,
    data: { ...common, ...fields },
  });
});

it('an entry of a kind that this version does not know has its number', () => {
  const kind = 'poll' as 'message';
  expect(JSON.parse(encodeEntry({ ...entry, kind }))).toEqual({ type: 'poll', data: common });
});

it('an answer has its details in the names of the wire, without those that are undefined', () => {
  expect(encodeStatus('CONNECTED', { ref: undefined, roomId: 7, from: 2, expiresInMs: 5 })).toBe(
    '{"type":"status","data":"CONNECTED","room_id":7,"from":2,"expires_in_ms":5}',
  );
});

it('an access event has a reason only if the room was left', () => {
  expect(encodeAccess(7, 'rw')).toBe('{"type":"access","data":{"room_id":7,"permissions":"rw"}}');
  expect(JSON.parse(encodeAccess(7, '', 'REVOKED'))).toEqual({
    type: 'access',
    data: { room_id: 7, permissions: '', reason: 'REVOKED' },
  });
});
