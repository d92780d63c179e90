/** Texts that are not sent yet: each room has its own, which outlives the page. */

const keyOf = (userUUID: string, roomId: number | ''): string =>
  `nano-messaging:draft:${userUUID}:${roomId}`;

export function readDraft(userUUID: string, roomId: number): string {
  return localStorage.getItem(keyOf(userUUID, roomId)) ?? '';
}

/** Nothing of a user who has signed out stays behind. */
export function forgetDrafts(userUUID: string): void {
  const prefix = keyOf(userUUID, '');
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(prefix)) localStorage.removeItem(key);
  }
}

export function keepDraft(userUUID: string, roomId: number, text: string): void {
  const key = keyOf(userUUID, roomId);
  try {
    if (text.trim() === '') localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // The browser keeps nothing: the draft lives as long as the room is shown.
  }
}
