import { useRef, useState } from 'preact/hooks';
import { nameOf, useChat } from '../chat-context.js';
import { useEvents } from '../hooks.js';
import { t, tCount } from '../i18n/text.js';
import { copy } from '../text/copy.js';
import { Avatar } from '../ui/avatar.js';
import { Confirm } from '../ui/dialog.js';
import { Icon } from '../ui/icon.js';
import { useToasts } from '../ui/toasts.js';

/** Who one is, the id for others, and the way out. */
export function Account({ onSignOut }: { readonly onSignOut: () => void }) {
  const { chat, session } = useChat();
  const { say, fail } = useToasts();
  const menu = useRef<HTMLDivElement>(null);
  const [isAsking, setIsAsking] = useState(false);
  useEvents(chat, 'users', 'state');
  const { userUUID } = session;
  // Before it was online, it would be asked for in vain.
  const wasOnline = useRef(false);
  wasOnline.current ||= chat.state === 'online';
  const user = wasOnline.current ? chat.users.get(userUUID) : undefined;
  const name = nameOf(userUUID, user);

  return (
    <div class="account">
      <button class="account-button" type="button" popovertarget="account-menu" title={userUUID}>
        <Avatar id={userUUID} name={name} picture={user?.picture} />
        <span class="account-name">{name}</span>
        <span class="visually-hidden">{t('account.menu')}</span>
      </button>
      <div ref={menu} id="account-menu" class="menu" popover="auto">
        <p class="menu-head mono">{userUUID}</p>
        <button
          class="menu-item"
          type="button"
          onClick={() => {
            menu.current?.hidePopover();
            copy(userUUID).then(() => {
              say(t('account.copied'));
            }, fail);
          }}
        >
          <Icon name="copy" />
          {t('account.copyId')}
        </button>
        <button
          class="menu-item"
          type="button"
          onClick={() => {
            menu.current?.hidePopover();
            if (chat.unsent === 0) onSignOut();
            else setIsAsking(true);
          }}
        >
          <Icon name="exit" />
          {t('account.signOut')}
        </button>
      </div>
      {isAsking && (
        <Confirm
          title={t('account.unsentTitle')}
          text={tCount('account.unsent', chat.unsent)}
          action={t('account.signOut')}
          onConfirm={onSignOut}
          onClose={() => {
            setIsAsking(false);
          }}
        />
      )}
    </div>
  );
}
