/** What may control a terminal, or turn the direction of its text. */
const CONTROL = /[\p{Cc}\p{Bidi_Control}]/gu;

/** A text on one line, which can't control a terminal. */
export function printable(text: string): string {
  return text.replaceAll(/\r?\n/g, ' ⏎ ').replaceAll(CONTROL, '\u{FFFD}');
}

/** JSON on one line, which can't control a terminal: it escapes more than `JSON.stringify` does. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    CONTROL,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
