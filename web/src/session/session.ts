import { tabStorage } from '../browser-storage.js';
import type { TextKey } from '../i18n/en.js';

/** What the page reads of a token; the server checks it. */
interface Claims {
  readonly userUUID: string;
  readonly name?: string;
  readonly levelOnEntity?: number | string;
}

/** Who has signed in, in this tab: another tab may be somebody else. */
export interface Session {
  readonly userUUID: string;
  readonly canCreateRooms: boolean;
  readonly token: () => Promise<string>;
}

interface Kept {
  readonly token: string;
  /** The one of the trial's users who it is, if it is one. */
  readonly trialName?: string | undefined;
}

/** Why nobody is signed in. */
export class SignInError extends Error {
  override readonly name = 'SignInError';
  readonly key: TextKey;
  readonly detail: string;

  constructor(key: TextKey, detail = '') {
    super(key);
    this.key = key;
    this.detail = detail;
  }
}

const STORAGE_KEY = 'nano-messaging:session';
/** `levelOnEntity` from which the server lets users create groups. */
const CREATOR_LEVEL = 100;

/** Where the API is: beside the page. */
export const API_URL = new URL('./', location.href);

/** The session of this tab before it was loaded again. */
export function restoreSession(): Session | undefined {
  const kept = tabStorage.get(STORAGE_KEY);
  try {
    return kept === undefined ? undefined : sessionOf(JSON.parse(kept) as Kept);
  } catch {
    return undefined;
  }
}

export function forgetSession(): void {
  tabStorage.delete(STORAGE_KEY);
}

/** @throws {SignInError} */
export async function signInByToken(token: string): Promise<Session> {
  const session = sessionOf({ token });
  const detail = await refusalOf(token);
  if (detail !== undefined) throw new SignInError('signIn.refused', detail);
  return keep({ token }, session);
}

/** @throws {SignInError} */
export async function signInAs(trialName: string): Promise<Session> {
  const token = await trialToken(trialName);
  return keep({ token, trialName }, sessionOf({ token, trialName }));
}

/** Whom the server lets anybody become: nobody, unless it runs on a secret that it has made itself. */
export async function trialNames(): Promise<readonly string[]> {
  try {
    const response = await ask('dev/token');
    if (!response.ok) return [];
    const { content } = (await response.json()) as { content: { names: string[] } };
    return content.names;
  } catch {
    return [];
  }
}

/** Whether the server says that the session's token is not good any more. */
export async function hasEnded(session: Session): Promise<boolean> {
  try {
    return (await refusalOf(await session.token())) !== undefined;
  } catch (error) {
    return error instanceof SignInError && error.key === 'signIn.ended';
  }
}

function keep(kept: Kept, session: Session): Session {
  tabStorage.set(STORAGE_KEY, JSON.stringify(kept));
  return session;
}

function sessionOf({ token, trialName }: Kept): Session {
  const { userUUID, levelOnEntity = 0 } = claimsOf(token);
  return {
    userUUID: userUUID.toLowerCase(),
    canCreateRooms: Number(levelOnEntity) >= CREATOR_LEVEL,
    token: () => (trialName === undefined ? Promise.resolve(token) : trialToken(trialName)),
  };
}

/** @throws {SignInError} */
function claimsOf(token: string): Claims {
  try {
    const payload = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Partial<Claims>;
    if (typeof claims.userUUID === 'string') return claims as Claims;
  } catch {
    // As one without a user.
  }
  throw new SignInError('signIn.malformed');
}

/** What the server has against a token; undefined if nothing. @throws {SignInError} */
async function refusalOf(token: string): Promise<string | undefined> {
  const response = await ask('test/token', { headers: { authorization: `Bearer ${token}` } });
  if (response.ok) return undefined;
  const { meta } = (await response.json()) as { meta: { detail?: string; message: string } };
  if (response.status !== 401) throw new SignInError('signIn.unreachable');
  return meta.detail ?? meta.message;
}

/** @throws {SignInError} */
async function trialToken(name: string): Promise<string> {
  const response = await ask('dev/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name }),
  });
  if (response.status === 404) throw new SignInError('signIn.ended');
  if (!response.ok) throw new SignInError('signIn.unreachable');
  const { content } = (await response.json()) as { content: { token: string } };
  return content.token;
}

async function ask(path: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(new URL(path, API_URL), init);
  } catch {
    throw new SignInError('signIn.unreachable');
  }
}
