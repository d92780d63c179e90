/** They turn the direction of what follows: a name with one would make the text behind it read backwards. */
const TURNS = /\p{Bidi_Control}/gu;

/** A name that somebody chose, fit to stand within another text; undefined if nothing of it is left. */
export function plainName(name: string): string | undefined {
  const plain = name.replaceAll(TURNS, '').trim();
  return plain === '' ? undefined : plain;
}
