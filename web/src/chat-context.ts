import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { ChatClient, Message, RoomList, RoomRow, UserRow } from '../../src/client/index.js';
import { t } from './i18n/text.js';
import type { Drafts } from './room/drafts.js';
import type { Unsent } from './room/unsent.js';
import type { Session } from './session/session.js';
import { plainName } from './text/names.js';

/** What all of the page needs while somebody is signed in. */
export interface ChatContextValue {
  readonly chat: ChatClient;
  readonly rooms: RoomList;
  readonly session: Session;
  readonly drafts: Drafts;
  readonly unsent: Unsent;
}

export const ChatContext = createContext<ChatContextValue | undefined>(undefined);

export function useChat(): ChatContextValue {
  const value = useContext(ChatContext);
  if (value === undefined) throw new Error('nobody is signed in');
  return value;
}

/** The part of an id that people can compare. */
const ID_CHARACTERS = 8;

/** The name of a user: theirs, or a part of their id. */
export function nameOf(userUUID: string, user: UserRow | undefined): string {
  const name = plainName(user?.name ?? '');
  return name ?? t('user.unnamed', { id: userUUID.slice(0, ID_CHARACTERS) });
}

/** The name of a room: a direct one has that of the other user. */
export function titleOf(row: RoomRow): string {
  const name = plainName(row.name);
  if (name !== undefined) return name;
  const { with: other } = row;
  if (other === undefined || other === null) return t('rooms.nobody');
  return nameOf(other.userUUID, other);
}

/** What a message says, in a line: of one that has only data, that. */
export function lineOf({ content }: Pick<Message, 'content'>): string {
  return content === '' ? t('rooms.attachment') : content;
}
