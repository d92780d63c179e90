import { partsOf } from './addresses.js';

/** A text whose web addresses are links. It is never anything else: what looks like HTML is text. */
export function Linked({ text }: { readonly text: string }) {
  return (
    <>
      {partsOf(text).map(({ text, href }, index) =>
        href === undefined ? (
          text
        ) : (
          // The parts of a text have no other identity than their place.
          <a key={index} href={href} target="_blank" rel="noopener noreferrer">
            {text}
          </a>
        ),
      )}
    </>
  );
}
