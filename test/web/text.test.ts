import { describe, expect, it } from 'vitest';
import { partsOf } from '../../web/src/text/addresses.js';
import { excerptOf } from '../../web/src/text/excerpt.js';
import { mentionsIn } from '../../web/src/text/mentions.js';
import { plainName } from '../../web/src/text/names.js';

const addressesIn = (text: string) =>
  partsOf(text).flatMap(({ href }) => (href === undefined ? [] : [href]));

describe('partsOf', () => {
  it.each([
    ['see https://example.com/a?b=1#c now', 'https://example.com/a?b=1#c'],
    ['(https://example.com/a_(b))', 'https://example.com/a_(b)'],
    ['Is it https://example.com?!', 'https://example.com'],
    ['https://example.com/«ñ»,', 'https://example.com/«ñ»'],
    ['HTTP://EXAMPLE.COM', 'HTTP://EXAMPLE.COM'],
    ["https://example.com/Rubik's_Cube", "https://example.com/Rubik's_Cube"],
    ["('https://example.com/a')", 'https://example.com/a'],
    ['“https://example.com/a”', 'https://example.com/a'],
    ['看 https://example.com/a。', 'https://example.com/a'],
    ['"https://example.com/"onmouseover="x', 'https://example.com/'],
  ])('finds the address in %j', (text, address) => {
    expect(addressesIn(text)).toEqual([address]);
  });

  it.each([
    'javascript:alert(1)',
    'data:text/html,<script>',
    'ftp://example.com',
    'https://',
    'xhttps://example.com',
    'example.com',
  ])('finds none in %j', (text) => {
    expect(addressesIn(text)).toEqual([]);
  });

  it('ends an address at what turns the direction of the text', () => {
    expect(addressesIn('https://example.com/\u202Emoc.knab')).toEqual(['https://example.com/']);
  });

  it('loses no character', () => {
    const text = ' a https://example.com/(b), https://[ and https://example.org. end\n';
    expect(
      partsOf(text)
        .map((part) => part.text)
        .join(''),
    ).toBe(text);
  });
});

describe('excerptOf', () => {
  const marked = (text: string, query: string) =>
    excerptOf(text, query)
      .map((part) => (part.isHit ? `[${part.text}]` : part.text))
      .join('');

  it('marks words by their beginning, without case and accents', () => {
    expect(marked('Mañana, reunión de mañaneros', 'manana REUN')).toBe(
      '[Mañana], [reunión] de mañaneros',
    );
  });

  it('marks a run of characters that need no spaces if the word is within it', () => {
    expect(marked('我家在上海东边', '上海')).toBe('[我家在上海东边]');
  });

  it('cuts what is far before the first hit at a word', () => {
    expect(marked(`${'before '.repeat(20)}the hit and more`, 'hit')).toBe(
      '…before before before before before the [hit] and more',
    );
  });

  it('shows a text without a hit from its beginning', () => {
    expect(marked('nothing here', 'else')).toBe('nothing here');
  });
});

describe('mentionsIn', () => {
  const people = [
    { userUUID: 'a', name: 'Ana Rojas' },
    { userUUID: 'b', name: 'Bruno' },
    { userUUID: 'c', name: null },
  ];

  it.each([
    ['@ana is it ready?', ['a']],
    ['ask @Ana Rojas, @BRUNO', ['a', 'b']],
    ['@Anastasia and ana', []],
    ['@', []],
  ])('finds in %j the people who are named', (text, found) => {
    expect(mentionsIn(text, people)).toEqual(found);
  });

  it('finds no more people than the server takes', () => {
    const many = Array.from({ length: 30 }, (_, index) => ({ userUUID: String(index), name: 'X' }));
    expect(mentionsIn('@x', many)).toHaveLength(20);
  });
});

describe('plainName', () => {
  it('leaves out what turns the direction of the text behind it', () => {
    expect(plainName(' Ana\u202E\u2067 ')).toBe('Ana');
    expect(plainName('דנה')).toBe('דנה');
  });

  it('is nothing if nothing is left', () => {
    expect(plainName('\u202E ')).toBeUndefined();
  });
});
