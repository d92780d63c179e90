import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ChatError, type Room } from '../../../src/client/index.js';
import { lineOf, nameOf, useChat } from '../chat-context.js';
import { t, tCount } from '../i18n/text.js';
import { Icon, IconButton } from '../ui/icon.js';
import { useToasts } from '../ui/toasts.js';
import { mentionsIn, type Named } from '../text/mentions.js';
import type { Intent } from './room-screen.js';

interface Props {
  readonly room: Room;
  readonly intent: Intent | undefined;
  readonly onIntent: (intent: Intent | undefined) => void;
  readonly onSent: () => void;
}

/** What the server takes by default, until it has said so. */
const MOST_CHARACTERS = 8_000;
/** The `keyCode` of a key that an input method takes. */
const COMPOSING = 229;

/** Where one writes. What is not sent is kept for each room. */
export function Composer({ room, intent, onIntent, onSent }: Props) {
  const { chat, session, drafts } = useChat();
  const { fail } = useToasts();
  const input = useRef<HTMLTextAreaElement>(null);
  const [text, setText] = useState(() => drafts.of(room.id));
  const editing = intent?.kind === 'edit' ? intent.message : undefined;
  const tooLong = Array.from(text).length - (chat.limits?.content ?? MOST_CHARACTERS);
  const canSend = text.trim() !== '' && tooLong <= 0;

  useLayoutEffect(() => {
    const element = input.current;
    if (element === null) return;
    element.style.height = 'auto';
    // At most as high as its style says.
    element.style.height = `${element.scrollHeight}px`;
  }, [text]);

  useLayoutEffect(() => {
    if (intent === undefined) return undefined;
    input.current?.focus();
    if (intent.kind !== 'edit') return undefined;
    setText(intent.message.content);
    return () => {
      setText(drafts.of(room.id));
    };
  }, [intent]);

  useLayoutEffect(() => {
    // A keyboard that comes up by itself hides half of a phone's screen.
    if (matchMedia('(pointer: fine)').matches) input.current?.focus();
  }, []);

  useLayoutEffect(
    () =>
      drafts.on('returned', (roomId) => {
        if (roomId === room.id && editing === undefined) setText(drafts.of(room.id));
      }),
    [drafts, room, editing],
  );

  function change(value: string): void {
    setText(value);
    if (editing !== undefined) return;
    drafts.keep(room.id, value);
    if (value.trim() !== '') room.setTyping();
  }

  function stop(): void {
    onIntent(undefined);
    input.current?.focus();
  }

  function submit(): void {
    if (!canSend) return;
    const content = text.trim();
    if (editing?.seq !== undefined) {
      if (content !== editing.content) {
        const { data } = editing;
        room
          .edit(editing.seq, { content, ...(data !== undefined && { data }) })
          .catch(refused(content));
      }
      stop();
      return;
    }
    const replyTo = intent?.message.seq;
    const mentions = mentionsIn(content, peopleIn(room));
    room
      .send({ content, mentions, ...(replyTo !== undefined && { replyTo }) })
      .catch(refused(content));
    change('');
    onIntent(undefined);
    onSent();
  }

  /** Nobody should have to write a text again that was refused. */
  function refused(content: string): (error: unknown) => void {
    return (error) => {
      // The client has ended, which keeps what is not sent.
      if (error instanceof ChatError && error.reason === 'CLOSED') return;
      fail(error);
      drafts.giveBack(room.id, content);
    };
  }

  /** Those who are online, and those who wrote what is shown. */
  function peopleIn({ online, messages }: Room): readonly Named[] {
    const uuids = new Set([...online, ...messages.map(({ emitter }) => emitter)]);
    return [...uuids].map((userUUID) => ({ userUUID, name: chat.users.get(userUUID)?.name }));
  }

  /** With nothing written, the arrow goes to one's own last message that has a text. */
  function editLast(): boolean {
    const last = room.messages.findLast(
      ({ emitter, seq, content }) =>
        emitter === session.userUUID && seq !== undefined && content !== '',
    );
    if (text !== '' || last === undefined) return false;
    onIntent({ kind: 'edit', message: last });
    return true;
  }

  function pressed(event: KeyboardEvent): void {
    // Enter also ends the input of a Chinese or Japanese word; Safari says so by the code alone.
    const isComposing = event.isComposing || event.keyCode === COMPOSING;
    if (isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'Escape' && intent !== undefined) {
      stop();
    } else if (event.key === 'ArrowUp' && editLast()) {
      event.preventDefault();
    }
  }

  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {intent !== undefined && (
        <IntentLine key={intent.message.seq} room={room} intent={intent} onStop={stop} />
      )}
      <div class="composer-line">
        <textarea
          ref={input}
          class="composer-input"
          rows={1}
          aria-label={t('composer.label')}
          aria-describedby="composer-hint"
          placeholder={t('composer.placeholder')}
          value={text}
          onInput={(event) => {
            change(event.currentTarget.value);
          }}
          onKeyDown={pressed}
        />
        <button
          class="send-button"
          type="submit"
          aria-label={t(editing === undefined ? 'composer.send' : 'composer.save')}
          disabled={!canSend}
        >
          <Icon name={editing === undefined ? 'send' : 'check'} />
        </button>
      </div>
      {tooLong > 0 && (
        <p class="problem" role="alert">
          {tCount('composer.tooLong', tooLong)}
        </p>
      )}
      <span id="composer-hint" class="visually-hidden">
        {t('composer.hint')}
      </span>
    </form>
  );
}

interface IntentProps {
  readonly room: Room;
  readonly intent: Intent;
  readonly onStop: () => void;
}

function IntentLine({ room, intent, onStop }: IntentProps) {
  const { chat } = useChat();
  const { kind, message } = intent;
  const [isGone, setIsGone] = useState(false);
  useEffect(
    () =>
      room.on('entry', (type, { target, userUUID }) => {
        const isDeleted = type === 'delete' && target === message.seq;
        if (isDeleted || (type === 'erase' && userUUID === message.emitter)) setIsGone(true);
      }),
    [room],
  );
  const name = nameOf(message.emitter, chat.users.get(message.emitter));
  return (
    <div class="intent">
      <Icon name={kind} />
      <div class="intent-text">
        <strong>
          {kind === 'edit' ? t('composer.editing') : t('composer.replying', { name })}
        </strong>
        <span>{isGone ? t('message.gone') : lineOf(message)}</span>
      </div>
      <IconButton icon="close" label={t('composer.cancel')} onClick={onStop} />
    </div>
  );
}
