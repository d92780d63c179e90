import type { Rule } from '../access/permissions.js';
import type { EntryKind } from '../protocol/entry-kinds.js';

/** An entry of a room's log, as it is read, published and delivered. */
export interface Entry {
  readonly roomId: number;
  /** 1, 2, 3, ... in its room, without gaps. */
  readonly seq: number;
  readonly kind: EntryKind;
  readonly emitter: string;
  /**
   * The text of a message or of an edit, which may be empty beside `data`; a reaction, an erased user, rules or a room as
   * JSON (`reactionOf`, `erasedUserOf`, `ruleOf`, `rulesOf`, `roomSettingsOf`); else empty.
   */
  readonly content: string;
  readonly ref: string | null;
  /** ISO 8601, UTC, milliseconds. */
  readonly createdAt: string;
  /** Of an edit, a deletion or a reaction: seq of the message that it is about. */
  readonly target?: number | undefined;
  /** Of a message or an edit: a JSON object, as `JSON.stringify` writes it. */
  readonly data?: string | undefined;
  /** Of a message: seq of the message that it answers. */
  readonly replyTo?: number | undefined;
  /** Of a message: UUIDs of users and of entities. */
  readonly mentions?: readonly string[] | undefined;
  /** Of a message that was edited: seq of the edit whose `content` and `data` it has. */
  readonly textSeq?: number | undefined;
  /**
   * What a message, an edit or a reaction said is not here: the message was deleted, what its user wrote was erased, or
   * the edit was followed by another.
   */
  readonly isWithheld?: true | undefined;
}

/** An entry before it is stored: without `seq` and date. */
export type EntryDraft = Omit<Entry, 'seq' | 'createdAt' | 'textSeq' | 'isWithheld'> & {
  /** It does not say what its sender said, so that nothing tells whether another entry with its ref is the same. */
  readonly isReplaced?: true | undefined;
};

/** The entry of a stored draft. All have the same keys in the same order: V8 reads such objects fastest. */
export function entryOf(draft: EntryDraft, seq: number, createdAt: string): Entry {
  const { roomId, kind, emitter, content, ref, target, data, replyTo, mentions } = draft;
  return { roomId, seq, kind, emitter, content, ref, createdAt, target, data, replyTo, mentions };
}

/** A reaction, as the content of its entry has it. */
export interface Reaction {
  readonly emoji: string;
  readonly on: boolean;
  /** The number of users who have it on, as of this entry. */
  readonly count: number;
}

/** The reaction of a `reaction` entry that is not withheld. */
export function reactionOf(entry: Pick<Entry, 'content'>): Reaction {
  return JSON.parse(entry.content) as Reaction;
}

/** The content of an `erase` entry: the user whose messages and reactions are erased. */
export function erasureContent(userUUID: string): string {
  return JSON.stringify({ userUUID });
}

/** The user of an `erase` entry. */
export function erasedUserOf(entry: Pick<Entry, 'content'>): string {
  return (JSON.parse(entry.content) as { userUUID: string }).userUUID;
}

/** What a `room` entry may change of a room. */
export interface RoomSettings {
  readonly name: string;
  /** A JSON object, as text. */
  readonly data: string | null;
  readonly levelAdmin: number;
  readonly maxEntityRules: number;
}

/** The content of a `room` entry, as JSON. */
interface RoomContent {
  readonly name: string;
  readonly data: unknown;
  readonly level_admin: number;
  readonly max_entity_rules: number;
}

/** The content of a `room` entry: all settings, those that stay included. */
export function roomContent({ name, data, levelAdmin, maxEntityRules }: RoomSettings): string {
  const content: RoomContent = {
    name,
    data: data === null ? null : JSON.parse(data),
    level_admin: levelAdmin,
    max_entity_rules: maxEntityRules,
  };
  return JSON.stringify(content);
}

/** The settings of a room from a `room` entry on, as far as permissions depend on them. */
export function roomSettingsOf(entry: Entry): Pick<RoomSettings, 'levelAdmin' | 'maxEntityRules'> {
  const { level_admin, max_entity_rules } = JSON.parse(entry.content) as RoomContent;
  return { levelAdmin: level_admin, maxEntityRules: max_entity_rules };
}

/** The content of a `member` entry, as JSON. */
type RuleContent = Omit<Rule, 'entityUUID'> & { readonly entity_UUID: string };

function contentOf({ entityUUID, level, permissions, accepted }: Rule): RuleContent {
  return { entity_UUID: entityUUID, level, permissions, accepted };
}

/** The content of a `member` entry. A removed rule is one with empty permissions. */
export function ruleContent(rule: Rule): string {
  return JSON.stringify(contentOf(rule));
}

/** The content of a `members` entry, likewise. */
export function rulesContent(rules: readonly Rule[]): string {
  return JSON.stringify({ members: rules.map(contentOf) });
}

/** The rule that a `member` entry sets; its permissions are empty if the entry removes it. */
export function ruleOf(entry: Entry): Rule {
  return ruleIn(JSON.parse(entry.content) as RuleContent);
}

/** The rules that a `members` entry sets, likewise. */
export function rulesOf(entry: Entry): Rule[] {
  return (JSON.parse(entry.content) as { members: RuleContent[] }).members.map(ruleIn);
}

function ruleIn({ entity_UUID, ...rule }: RuleContent): Rule {
  return { entityUUID: entity_UUID, ...rule };
}
