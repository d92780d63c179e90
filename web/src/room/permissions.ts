import type { TextKey } from '../i18n/en.js';

/** What a rule of a room allows, in words. */
export type Role = 'read' | 'write' | 'admin' | 'banned' | 'custom';

/** The letters of the roles that can be chosen. */
export const LETTERS = { read: 'r', write: 'rw', admin: 'rwa', banned: 'b' } as const;
export type ChosenRole = keyof typeof LETTERS;
export const CHOSEN_ROLES = Object.keys(LETTERS) as readonly ChosenRole[];

/** The role that letters of `rwba` make, in any order. */
export function roleOf(letters: string): Role {
  if (letters.includes('b')) return 'banned';
  const sorted = Array.from(letters).toSorted().join('');
  const role = CHOSEN_ROLES.find(
    (name) => Array.from(LETTERS[name]).toSorted().join('') === sorted,
  );
  return role ?? 'custom';
}

export function roleKey(role: Role): TextKey {
  return `role.${role}`;
}
