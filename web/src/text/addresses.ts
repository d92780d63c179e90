/** A piece of a text: a web address if it has an `href`. */
interface Part {
  readonly text: string;
  readonly href?: string;
}

/**
 * A web address in a text; what follows a sentence is cut off below. Characters that turn the direction of a text end it:
 * they could show another address than the one that is opened.
 */
const ADDRESS = /\bhttps?:\/\/[^\s<>"“”\p{Bidi_Control}]+/giu;

/** Of a sentence, or of a quotation: an apostrophe within an address belongs to it. */
const END = /[.,;:!?…'’。，、！？；：]+$/u;

/** The end of a sentence, and a closing bracket that was not opened, do not belong to an address. */
function withoutEnd(address: string): string {
  let end = address.replace(END, '');
  while (end.endsWith(')') && end.split('(').length < end.split(')').length) {
    end = end.slice(0, -1).replace(END, '');
  }
  return end;
}

/** A text cut into addresses and what is between them. */
export function partsOf(text: string): Part[] {
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
