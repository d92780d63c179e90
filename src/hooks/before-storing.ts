import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Caller } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { HookOutcome, Observer } from '../observer.js';
import { messageFields, type TextLimits } from '../protocol/message-fields.js';
import { FairLimit } from '../store/fair-limit.js';
import { Circuit } from './circuit.js';
import type { PostAnswer, SignedPost } from './signed-post.js';

/**
 * Milliseconds that a message may wait for the hook, its turn included; docs/HOOKS.md promises it. A sender takes up to a
 * second for granted (Nielsen, "Response times: the 3 important limits"), and a call of a model to classify a text takes
 * most of that.
 */
export const HOOK_TIMEOUT_MS = 1_500;
/** Questions that are asked at a time. A hook that takes 50 ms answers 640 a second. A trade-off, not a measurement. */
const ASKED_AT_ONCE = 32;
/** A question that has waited longer for its turn says nothing of whether the hook is alive. */
const MOST_WAITED_MS = HOOK_TIMEOUT_MS / 10;
/** Characters (UTF-16 code units) of a reason that are told to the sender. */
const DETAIL_CHARACTERS = 500;
/** The log has one line a minute about questions that failed. */
const WARNING_INTERVAL_MS = 60_000;

/** What a message or an edit says. */
interface Said {
  /** Empty only beside `data`. */
  readonly content: string;
  /** A JSON object, as `JSON.stringify` writes it. */
  readonly data?: string | undefined;
}

/** What is about to be stored. */
export interface Question {
  readonly type: 'message' | 'edit';
  readonly room: {
    readonly id: number;
    readonly uuid: string;
    readonly type: string;
    /** A JSON object, as text. */
    readonly data: string | null;
  };
  readonly message: Said & {
    readonly replyTo?: number | undefined;
    readonly mentions?: readonly string[] | undefined;
    readonly ref?: string | undefined;
    /** Of an edit: seq of the message. */
    readonly target?: number | undefined;
  };
  readonly caller: Caller;
}

/** What is to be stored. */
export interface Verdict extends Said {
  /** It is not what the sender has said. */
  readonly isReplaced?: true;
}

/** Asks the application before a message or an edit is stored. */
export interface BeforeStoring {
  /**
   * @throws {ChatError} REJECTED if the application refuses it; UNAVAILABLE if it gives no valid answer in time, and
   * nothing may be stored without
   */
  ask(question: Question): Promise<Verdict>;
}

interface BeforeStoringOptions {
  readonly post: SignedPost;
  /** Whether a message is stored as it is if there is no valid answer. */
  readonly failsOpen: boolean;
  readonly limits: TextLimits;
  readonly logger: Logger;
  readonly observer?: Observer | undefined;
}

/** The hook has given no valid answer. */
class HookFailure extends Error {
  override readonly name = 'HookFailure';
  /** Whether the answer says all the same that the message is not to be stored as it is. */
  readonly isRefusal: boolean;

  constructor(message: string, { isRefusal = false } = {}) {
    super(message);
    this.isRefusal = isRefusal;
  }
}

export function createBeforeStoring({
  post,
  failsOpen,
  limits,
  logger,
  observer,
}: BeforeStoringOptions): BeforeStoring {
  const texts = messageFields(limits, () => '');
  const circuit = new Circuit();
  // Senders take turns, so that the flood of one does not use up the time of others.
  const turns = new FairLimit<string>(ASKED_AT_ONCE, HOOK_TIMEOUT_MS);
  let warnedAt = -Infinity;
  let failedSince = 0;

  function warn(error: unknown, now: number): void {
    failedSince += 1;
    if (now - warnedAt < WARNING_INTERVAL_MS) return;
    warnedAt = now;
    logger.warn({ err: error, questions: failedSince }, 'the hook before storing failed');
    failedSince = 0;
  }

  /** @throws whatever keeps it from an answer in time */
  async function answerTo(question: Question): Promise<PostAnswer> {
    const json = encode(question);
    const signal = AbortSignal.timeout(HOOK_TIMEOUT_MS);
    const begin = performance.now();
    let waitedMs = Infinity;
    try {
      const answer = await turns.run(
        question.caller.userUUID,
        () => {
          waitedMs = performance.now() - begin;
          return post(randomUUID(), json, signal);
        },
        signal,
      );
      circuit.answered();
      return answer;
    } catch (error) {
      // A hook that had less time than it may take is not at fault: it has more to do than it can.
      if (signal.aborted && waitedMs > MOST_WAITED_MS) circuit.abandoned();
      else circuit.failed(performance.now());
      throw error;
    }
  }

  async function judge(question: Question): Promise<Verdict | 'accept' | ChatError> {
    const { status, text } = await answerTo(question);
    const isTaken = status >= 200 && status < 300;
    const answer = isTaken && text.trim() === '' ? ACCEPT : actionOf(text);
    // Whoever says no by the status, too, says no.
    if (answer?.action === 'reject') return rejection(answer.detail);
    if (!isTaken) throw new HookFailure(`the hook answered ${status}`);
    if (answer === undefined) {
      throw new HookFailure('the hook answered none of the answers that there are');
    }
    return answer.action === 'accept' ? 'accept' : replaced(question.message, answer, texts);
  }

  return {
    async ask(question) {
      const begin = performance.now();
      const count = (outcome: HookOutcome): void => {
        observer?.hookAsked(outcome, performance.now() - begin);
      };
      const isAsked = circuit.tries(begin);
      if (isAsked) {
        try {
          const verdict = await judge(question);
          if (verdict instanceof ChatError) {
            count('rejected');
            throw verdict;
          }
          count(verdict === 'accept' ? 'accepted' : 'replaced');
          return verdict === 'accept' ? question.message : verdict;
        } catch (error) {
          if (error instanceof ChatError && error.code === 'REJECTED') throw error;
          count('failed');
          warn(error, performance.now());
          if (error instanceof HookFailure && error.isRefusal) throw rejection(undefined);
        }
      } else {
        count('skipped');
      }
      if (failsOpen) return question.message;
      throw new ChatError('UNAVAILABLE', { detail: 'the application does not answer' });
    },
  };
}

/** An answer by what it decides. The rest of it is looked at only if it is needed. */
const answerSchema = z.discriminatedUnion('action', [
  z.object({ action: z.literal('accept') }),
  z.object({ action: z.literal('reject'), detail: z.unknown().optional() }),
  z.object({
    action: z.literal('replace'),
    content: z.unknown().optional(),
    data: z.unknown().optional(),
  }),
]);

const ACCEPT = { action: 'accept' } as const;

/** @returns undefined if the text is none of the answers that there are */
function actionOf(text: string): z.output<typeof answerSchema> | undefined {
  try {
    // Trimmed of a byte order mark, too.
    return answerSchema.safeParse(JSON.parse(text.trim())).data;
  } catch {
    return undefined;
  }
}

/** @param detail whatever the application gives as a reason: a long one is cut, and what is no text is left out */
function rejection(detail: unknown): ChatError {
  if (typeof detail !== 'string') return new ChatError('REJECTED');
  // Not in the middle of a surrogate pair.
  const cut = detail.slice(0, DETAIL_CHARACTERS).replace(/[\uD800-\uDBFF]$/u, '');
  return new ChatError('REJECTED', { detail: cut });
}

/**
 * What is left out stays as it is, and null removes it.
 * @throws {HookFailure} a refusal, if there is nothing that can be stored instead of what the sender has said
 */
function replaced(
  said: Said,
  given: { readonly content?: unknown; readonly data?: unknown },
  { text, editOf }: ReturnType<typeof messageFields>,
): Verdict {
  const refuse = (problem: string): HookFailure =>
    new HookFailure(`the hook answered a message that may not be sent: ${problem}`, {
      isRefusal: true,
    });
  if (given.content === undefined && given.data === undefined) throw refuse('it has nothing new');
  const { data: fields, error } = z.object(text).safeParse(given);
  if (fields === undefined) throw refuse(z.prettifyError(error));
  const { content, data } = editOf(
    {
      content: fields.content === undefined ? said.content : fields.content,
      data: fields.data === undefined ? said.data : fields.data,
    },
    {
      addIssue({ message }) {
        throw refuse(message);
      },
    },
  );
  return { content, data, isReplaced: true };
}

function encode({ type, room, message, caller }: Question): string {
  const { content, data, replyTo, mentions, ref, target } = message;
  const { userUUID, entityUUID, levelOnEntity } = caller;
  return JSON.stringify({
    type,
    room: { ...room, data: objectOf(room.data) },
    message: {
      emitter: userUUID,
      content,
      data: objectOf(data),
      // oxlint-disable-next-line id-match -- the name on the wire
      reply_to: replyTo,
      mentions,
      ref,
      target,
    },
    caller: { userUUID, entityUUID, levelOnEntity },
  });
}

/** @returns undefined if there is none, which JSON leaves out */
function objectOf(json: string | null | undefined): unknown {
  return json == null ? undefined : JSON.parse(json);
}
