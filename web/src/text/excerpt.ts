/** A piece of a text, and whether it is a word that was found. */
interface Part {
  readonly text: string;
  readonly isHit: boolean;
}

const CONTEXT_CHARACTERS = 40;
/** In texts of these letters a word stands anywhere in a run of them. */
const UNSPACED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}]/u;

/** As the server compares words: without case and accents. */
function fold(text: string): string {
  return text.normalize('NFD').replaceAll(/\p{M}/gu, '').toLowerCase();
}

/** A text around the first word of a query, cut into such words and what is between them. */
export function excerptOf(text: string, query: string): Part[] {
  const words = fold(query).match(/[\p{L}\p{N}]+/gu) ?? [];
  const parts = text.split(/([\p{L}\p{M}\p{N}]+)/u).map((part) => {
    const folded = fold(part);
    const isHit = words.some((word) =>
      UNSPACED.test(word) ? folded.includes(word) : folded.startsWith(word),
    );
    return { text: part, isHit };
  });
  const first = Math.max(
    parts.findIndex(({ isHit }) => isHit),
    0,
  );
  const before = parts
    .slice(0, first)
    .map((part) => part.text)
    .join('');
  const isCut = before.length > CONTEXT_CHARACTERS;
  const lead = isCut ? `…${before.slice(-CONTEXT_CHARACTERS).replace(/^\S*\s/u, '')}` : before;
  return [{ text: lead, isHit: false }, ...parts.slice(first)].filter((part) => part.text !== '');
}
