/** A user, and their name if it is known. */
export interface Named {
  readonly userUUID: string;
  readonly name: string | null | undefined;
}

/** The server takes no more in a message. */
const MOST_MENTIONS = 20;

/** The users whom a text names as `@Ana Rojas` or `@Ana`, in any case. */
export function mentionsIn(text: string, people: readonly Named[]): readonly string[] {
  const folded = text.toLowerCase();
  const isNamed = ({ name }: Named): boolean => {
    if (name == null) return false;
    const first = name.split(/\s/u)[0] ?? name;
    return [name, first].some((called) => hasWord(folded, `@${called.toLowerCase()}`));
  };
  return people
    .filter(isNamed)
    .map(({ userUUID }) => userUUID)
    .slice(0, MOST_MENTIONS);
}

/** Whether a text has a word that does not go on with another letter. */
function hasWord(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at !== -1; at = text.indexOf(word, at + 1)) {
    if (!/^[\p{L}\p{N}]/u.test(text.slice(at + word.length))) return true;
  }
  return false;
}
