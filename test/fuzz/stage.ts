import { randomUUID } from 'node:crypto';
import { putRule, request } from '../harness/api.js';
import { person, secondsFromNow, sign, type Person } from '../harness/tokens.js';

/** Who sends what is generated. */
export const ROLES = ['owner', 'member', 'reader', 'banned', 'stranger', 'server'] as const;

export type Role = (typeof ROLES)[number];

/**
 * The rooms and the users of one run, new for each: what a run does depends on its input alone, so that a failure can be
 * repeated and made smaller.
 */
export interface Stage {
  readonly people: Readonly<Record<Role, Person>>;
  /** By `{name}` in what is generated, what stands there. */
  readonly words: Readonly<Record<string, string | number>>;
  /** The rooms' ids: of both the owner and the member, and of the owner alone. */
  readonly rooms: readonly [shared: number, own: number];
}

/** Creates two rooms with some messages. */
export async function setStage(node: { readonly url: string }): Promise<Stage> {
  const owner = person({ levelOnEntity: 999 });
  const people: Stage['people'] = {
    owner,
    member: person(),
    reader: person({ entityUUID: owner.entityUUID }),
    banned: person(),
    stranger: person({ levelOnEntity: 999 }),
    server: person({}, { server: true }),
  };
  const [shared, own] = [await makeRoom(node, people), await makeRoom(node, { owner })];
  for (const content of ['the first message', 'the second message']) {
    const path = `/rooms/${shared.id}/messages`;
    await request(node, 'POST', path, { as: people.member, body: { content, ref: content } });
  }
  const { meta } = await request(node, 'GET', `/rooms/${shared.id}/messages`, { as: owner });
  const claims = { ...people.member, exp: secondsFromNow(600) };
  return {
    people,
    rooms: [shared.id, own.id],
    words: {
      room: shared.id,
      'room as text': String(shared.id),
      'room uuid': shared.uuid,
      'own room': own.id,
      'own room uuid': own.uuid,
      'new uuid': randomUUID(),
      epoch: (meta as { epoch?: string }).epoch ?? '',
      entity: owner.entityUUID,
      'old token': sign({ ...claims, exp: 1 }),
      'forged token': sign(claims, 'another secret of at least forty-eight characters'),
      'odd token': sign({ ...claims, userUUID: 'nobody' }),
      ...Object.fromEntries(ROLES.map((role) => [role, people[role].userUUID])),
      ...Object.fromEntries(ROLES.map((role) => [`token of ${role}`, people[role].token])),
    },
  };
}

async function makeRoom(
  node: { readonly url: string },
  { owner, member, reader, banned }: Pick<Stage['people'], 'owner'> & Partial<Stage['people']>,
): Promise<{ id: number; uuid: string }> {
  const rules = [
    ...(member === undefined ? [] : [{ userUUID: member.userUUID, permissions: 'rw', level: 0 }]),
    ...(reader === undefined ? [] : [{ userUUID: reader.userUUID, permissions: 'r', level: 0 }]),
  ];
  const uuid = randomUUID();
  const { content, status } = await request(node, 'PUT', `/rooms/${uuid}`, {
    as: owner,
    body: { name: 'a room', type: 'group', rules },
  });
  if (status !== 201) throw new Error(`no room: ${status}`);
  const { id } = (content as { room: { id: number } }).room;
  if (banned !== undefined) {
    await putRule(node, owner, id, { userUUID: banned.userUUID, permissions: 'b' });
  }
  return { id, uuid };
}

/** Replaces each `{name}` in a value; a text that is nothing else becomes the word itself, which may be a number. */
export function fill<T>(value: T, words: Stage['words']): T {
  return filled(value, words) as T;
}

function filled(value: unknown, words: Stage['words']): unknown {
  if (typeof value === 'string') {
    return (
      words[/^\{([\w ]+)\}$/.exec(value)?.[1] ?? ''] ??
      value.replaceAll(/\{([\w ]+)\}/g, (text, name: string) => String(words[name] ?? text))
    );
  }
  if (Array.isArray(value)) return value.map((item) => filled(item, words));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item, words)]));
}
