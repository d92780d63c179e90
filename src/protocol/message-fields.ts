import { z } from 'zod';
import { dataSchema } from './data.js';
import { listSchema, refSchema, textProblem, wholeNumber } from './values.js';

/** Of one message: a group that is larger is an entity, which is one UUID. */
const MAX_MENTIONS = 20;

/** The limits of the text of a message. */
export interface TextLimits {
  readonly contentCharacters: number;
  /** Of `data`, as JSON in UTF-8. */
  readonly dataBytes: number;
}

/** The text of a message or an edit, of which one is not empty. */
interface Text {
  readonly content: string;
  /** A JSON object, as `JSON.stringify` writes it. */
  readonly data: string | undefined;
}

/** Optional fields of JSON, where `null` is the same as leaving a field out. */
type Optional<T> = { readonly [Key in keyof T]?: T[Key] | null | undefined };

/** Collects what is wrong with an object. */
interface Issues {
  addIssue: (issue: { code: 'custom'; path: string[]; message: string }) => void;
}

/** Names a field in a sentence about it; empty if the sentence stands beside the field's name. */
type NameField = (field: string) => string;

/** The number of a message in its room. */
export function messageSeqSchema(name: string) {
  const problem = `${name} must be the number of a message`.trim();
  return wholeNumber({ min: 1, max: Number.MAX_SAFE_INTEGER, problem });
}

/**
 * The fields of a message and of an edit, as objects of zod take them: over the socket and over REST the same.
 * `messageOf` and `editOf` convert what is parsed.
 */
export function messageFields({ contentCharacters, dataBytes }: TextLimits, name: NameField) {
  const say = (field: string, problem: string): string => `${name(field)} ${problem}`.trim();
  const text = {
    content: z
      .string(say('content', 'must be a string'))
      .meta({ maxLength: contentCharacters })
      .nullish(),
    data: dataSchema(dataBytes, name('data')).nullish(),
    ref: refSchema(name('ref')).nullish(),
  };
  const message = {
    ...text,
    reply_to: messageSeqSchema(name('reply_to')).nullish(),
    mentions: listSchema(z.guid(say('mentions', 'must hold UUIDs')).toLowerCase(), {
      max: MAX_MENTIONS,
      problem: say('mentions', 'must be a list'),
      tooLong: say('mentions', `has more than ${MAX_MENTIONS} items`),
    }).nullish(),
  };

  function textOf(given: Optional<Text>, issues: Issues): Text {
    const { content, data } = { content: given.content ?? '', data: given.data ?? undefined };
    const isDataAlone = content === '' && data !== undefined;
    const problem = isDataAlone ? undefined : textProblem(content, contentCharacters);
    if (problem !== undefined) {
      issues.addIssue({ code: 'custom', path: ['content'], message: say('content', problem) });
    }
    return { content, data };
  }

  return {
    text,
    message,

    editOf: ({ ref, ...given }: Optional<Text & { ref: string }>, issues: Issues) => ({
      ...textOf(given, issues),
      ref: ref ?? undefined,
    }),

    messageOf: (
      {
        reply_to: replyTo,
        mentions,
        ref,
        ...given
      }: Optional<Text & { ref: string; reply_to: number; mentions: readonly string[] }>,
      issues: Issues,
    ) => ({
      ...textOf(given, issues),
      replyTo: replyTo ?? undefined,
      mentions: mentions?.length ? [...new Set(mentions)] : undefined,
      ref: ref ?? undefined,
    }),
  };
}
