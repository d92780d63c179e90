import { excerptOf } from './excerpt.js';

/** A text around the first word that was found, with such words marked. */
export function Marked({ text, query }: { readonly text: string; readonly query: string }) {
  return (
    <>
      {excerptOf(text, query).map(({ text, isHit }, index) =>
        // The parts of a text have no other identity than their place.
        isHit ? <mark key={index}>{text}</mark> : text,
      )}
    </>
  );
}
