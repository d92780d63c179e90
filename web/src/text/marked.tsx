/** As the server compares words: without case and accents. */
function fold(text: string): string {
  return text.normalize('NFD').replaceAll(/\p{M}/gu, '').toLowerCase();
}

const CONTEXT_CHARACTERS = 40;

/** A text around the first word that was found, with such words marked. */
export function Marked({ text, query }: { readonly text: string; readonly query: string }) {
  const words = fold(query).match(/[\p{L}\p{N}]+/gu) ?? [];
  const parts = text.split(/([\p{L}\p{M}\p{N}]+)/u);
  const isHit = (part: string): boolean => {
    const folded = fold(part);
    return words.some((word) => folded.startsWith(word));
  };
  const first = parts.findIndex(isHit);
  const before = parts.slice(0, Math.max(first, 0)).join('');
  const isCut = before.length > CONTEXT_CHARACTERS;
  return (
    <>
      {isCut ? `…${before.slice(-CONTEXT_CHARACTERS).replace(/^\S*\s/u, '')}` : before}
      {parts.slice(Math.max(first, 0)).map((part, index) =>
        // The parts of a text have no other identity than their place.
        isHit(part) ? <mark key={index}>{part}</mark> : part,
      )}
    </>
  );
}
