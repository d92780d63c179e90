import { useState } from 'preact/hooks';
import type { Message, Room } from '../../../src/client/index.js';
import { useChat } from '../chat-context.js';
import { t } from '../i18n/text.js';
import { copy } from '../text/copy.js';
import { Confirm } from '../ui/dialog.js';
import { IconButton } from '../ui/icon.js';
import { useToasts } from '../ui/toasts.js';
import { EmojiPicker } from './emoji-picker.js';
import type { Intent } from './room-screen.js';

interface Props {
  readonly room: Room;
  readonly message: Message;
  readonly onIntent: (intent: Intent) => void;
}

/** What one can do with a message. */
export function MessageActions({ room, message, onIntent }: Props) {
  const { session } = useChat();
  const { say, fail } = useToasts();
  const [isPicking, setIsPicking] = useState(false);
  const [isDeleting, setIsDeleting] = useState(false);
  const { seq = 0 } = message;
  const isOwn = message.emitter === session.userUUID;
  const canWrite = room.permissions.includes('w');
  const canDelete = isOwn || room.permissions.includes('a');

  return (
    <div class="actions" role="group" aria-label={t('message.actions')}>
      {canWrite && (
        <>
          <IconButton
            icon="smile"
            label={t('message.react')}
            onClick={() => {
              setIsPicking(!isPicking);
            }}
          />
          <IconButton
            icon="reply"
            label={t('message.reply')}
            onClick={() => {
              onIntent({ kind: 'reply', message });
            }}
          />
        </>
      )}
      {canWrite && isOwn && (
        <IconButton
          icon="edit"
          label={t('message.edit')}
          onClick={() => {
            onIntent({ kind: 'edit', message });
          }}
        />
      )}
      <IconButton
        icon="copy"
        label={t('message.copy')}
        onClick={() => {
          copy(message.content).then(() => {
            say(t('details.copied'));
          }, fail);
        }}
      />
      {!isOwn && (
        <IconButton
          icon="unread"
          label={t('message.unreadFrom')}
          onClick={() => {
            room.markRead(seq - 1, { back: true }).catch(fail);
          }}
        />
      )}
      {canDelete && (
        <IconButton
          icon="trash"
          label={t('message.delete')}
          onClick={() => {
            setIsDeleting(true);
          }}
        />
      )}
      {isPicking && (
        <EmojiPicker
          onPick={(emoji) => {
            setIsPicking(false);
            const mine = message.reactions.some((one) => one.emoji === emoji && one.mine);
            room.react(seq, emoji, !mine).catch(fail);
          }}
          onClose={() => {
            setIsPicking(false);
          }}
        />
      )}
      {isDeleting && (
        <Confirm
          title={t('message.deleteTitle')}
          text={t('message.deleteText')}
          action={t('message.delete')}
          onConfirm={() => {
            room.delete(seq).catch(fail);
          }}
          onClose={() => {
            setIsDeleting(false);
          }}
        />
      )}
    </div>
  );
}
