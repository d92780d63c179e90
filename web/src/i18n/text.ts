import { en, type TextKey } from './en.js';
import { es } from './es.js';

const LANGUAGES = { en, es };
type Language = keyof typeof LANGUAGES;

/** The keys of texts that depend on a number, without their ending. */
type CountKey = { [Key in TextKey]: Key extends `${infer Base}_other` ? Base : never }[TextKey];
type Values = Readonly<Record<string, string | number>>;

const preferred = navigator.languages.find((tag) => tag.slice(0, 2) in LANGUAGES) ?? 'en';

/** The language of the page: the browser's first one that there is, else English. */
export const language = preferred.slice(0, 2) as Language;
/** With the region that the browser names, for dates and numbers. */
export const locale = preferred;

const plurals = new Intl.PluralRules(locale);
const numbers = new Intl.NumberFormat(locale);

/** The text of a key in the language of the page. */
export function t(key: TextKey, values: Values = {}): string {
  const text: string = LANGUAGES[language][key];
  return text.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ''));
}

/** The text of a key for a number, which is its `{count}`. */
export function tCount(key: CountKey, count: number, values: Values = {}): string {
  const form = plurals.select(count) === 'one' ? 'one' : 'other';
  return t(`${key}_${form}` as TextKey, { count: numbers.format(count), ...values });
}

/** Whether there is a text of this key, which is made at run time. */
export function hasText(key: string): key is TextKey {
  return key in en;
}
