interface Part {
  readonly text: string;
  readonly href?: string;
}

/** A web address in a text; what follows a sentence is cut off below. */
const ADDRESS = /\bhttps?:\/\/[^\s<>"']+/giu;

/** The end of a sentence, and a closing bracket that was not opened, do not belong to an address. */
function withoutEnd(address: string): string {
  let end = address.replace(/[.,;:!?…]+$/u, '');
  while (end.endsWith(')') && end.split('(').length < end.split(')').length) {
    end = end.slice(0, -1).replace(/[.,;:!?…]+$/u, '');
  }
  return end;
}

/** A text cut into addresses and what is between them. */
function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = withoutEnd(found);
    if (!URL.canParse(address)) continue;
    if (index > from) parts.push({ text: text.slice(from, index) });
    parts.push({ text: address, href: address });
    from = index + address.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from) });
  return parts;
}

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
