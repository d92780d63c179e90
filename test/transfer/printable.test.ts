import { describe, expect, it } from 'vitest';
import { printable, printableJson } from '../../src/transfer/printable.js';

describe('a text on a terminal', () => {
  // The cursor, the title of the window, an answer of the terminal, and the direction of what follows.
  const hostile = 'a\u{1B}[2J\u{1B}]0;title\u{7}\u{9B}6n\u{7F}\r\u{202E}b\u{2066}';

  it('can neither control it nor turn its direction', () => {
    expect(printable(hostile)).toBe('a�[2J�]0;title��6n���b�');
    expect(printableJson([hostile])).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u);
  });

  it('is the same text as JSON, and one line in both', () => {
    expect(JSON.parse(printableJson({ hostile }))).toEqual({ hostile });
    expect(printable('one\r\ntwo\nthree')).toBe('one ⏎ two ⏎ three');
    expect(printable('añ 上海 🚀')).toBe('añ 上海 🚀');
  });
});
