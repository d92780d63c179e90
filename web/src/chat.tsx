import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ChatClient, ChatError, type RoomRow } from '../../src/client/index.js';
import { ChatContext, useChat } from './chat-context.js';
import { useEvents } from './hooks.js';
import type { TextKey } from './i18n/en.js';
import { t } from './i18n/text.js';
import { useRoute } from './route.js';
import { BackButton } from './rooms/back-button.js';
import { Connection } from './rooms/connection.js';
import { Sidebar } from './rooms/sidebar.js';
import { Drafts } from './room/drafts.js';
import { Invitation } from './room/invitation.js';
import { MessagesSkeleton } from './room/messages-skeleton.js';
import { RoomScreen } from './room/room-screen.js';
import { sendAgain, Unsent } from './room/unsent.js';
import { useRoomRow } from './room/use-room-row.js';
import { API_URL, hasEnded, type Session } from './session/session.js';
import { useBadge } from './badge.js';
import { Icon } from './ui/icon.js';
import { useToasts } from './ui/toasts.js';

interface Props {
  readonly session: Session;
  readonly onSignedOut: (why?: TextKey) => void;
}

/** The chat of somebody who has signed in. */
export function Chat({ session, onSignedOut }: Props) {
  const { fail } = useToasts();
  const [value] = useState(() => {
    const unsent = new Unsent(session.userUUID);
    const chat = new ChatClient(API_URL, { token: session.token, storage: unsent });
    const drafts = new Drafts(session.userUUID);
    return { chat, rooms: chat.rooms(), session, drafts, unsent };
  });
  const { chat, drafts, unsent } = value;

  // Not once it is painted: the server may have refused the token before that.
  useLayoutEffect(() => {
    let isCurrent = true;
    const end = chat.on('state', (state) => {
      if (state !== 'offline') return;
      void hasEnded(session).then((ended) => {
        // Somebody else may have signed in meanwhile.
        if (ended && isCurrent) onSignedOut('signIn.ended');
      });
    });
    return () => {
      isCurrent = false;
      end();
      chat.close();
    };
  }, [chat]);

  // Before the client can have an answer to one of them.
  useLayoutEffect(() => {
    sendAgain(chat, unsent, ({ room_id: roomId, content = '' }, error) => {
      // The client has ended, which keeps what is not sent.
      if (error instanceof ChatError && error.reason === 'CLOSED') return;
      fail(error);
      drafts.giveBack(roomId, content);
    }).catch(fail);
  }, [chat]);

  /** Nothing that they wrote stays in the browser. If their token has ended, it does: they come back. */
  async function signOut(): Promise<void> {
    chat.close();
    await unsent.forget();
    drafts.forget();
    onSignedOut();
  }

  return (
    <ChatContext.Provider value={value}>
      <Screens onSignOut={() => void signOut()} />
    </ChatContext.Provider>
  );
}

/** The list and a room: side by side, or on a phone one of them. */
function Screens({ onSignOut }: { readonly onSignOut: () => void }) {
  const { rooms } = useChat();
  const route = useRoute();
  const { roomId } = route;
  const [scope, setScope] = useState<RoomRow>();
  useEvents(rooms, 'change');
  useBadge(rooms.items, roomId);
  const { row, canOpen } = useRoomRow(roomId);
  const lastId = useRef(roomId);
  useLayoutEffect(() => {
    // On a phone, what had the focus is gone with the room: its place in the list takes it.
    const isLost = roomId === undefined && document.activeElement === document.body;
    const link = `a[href="#/rooms/${lastId.current ?? ''}"]`;
    if (isLost) document.querySelector<HTMLElement>(link)?.focus();
    lastId.current = roomId;
  }, [roomId]);
  return (
    <main tabIndex={-1} class={`screens${roomId === undefined ? '' : ' has-room'}`}>
      <h1 class="visually-hidden">{t('product')}</h1>
      <Connection />
      <Sidebar roomId={roomId} scope={scope} onScope={setScope} onSignOut={onSignOut} />
      <div class="room-screen">
        {roomId === undefined && <NoRoom />}
        {row?.accepted === false && <Invitation key={roomId} row={row} />}
        {roomId !== undefined && !canOpen && row?.accepted !== false && <Opening />}
        {roomId !== undefined && canOpen && (
          <RoomScreen key={roomId} roomId={roomId} route={route} onSearch={setScope} />
        )}
      </div>
    </main>
  );
}

/** Stands for a room of which nothing is known yet. */
function Opening() {
  return (
    <div class="room">
      <header class="room-head">
        <BackButton />
      </header>
      <MessagesSkeleton />
    </div>
  );
}

/** On a wide screen, what stands beside the list until a room is chosen. */
function NoRoom() {
  return (
    <div class="room">
      <div class="empty">
        <Icon name="people" />
        <h2>{t('rooms.choose')}</h2>
        <p>{t('rooms.chooseHint')}</p>
      </div>
    </div>
  );
}
