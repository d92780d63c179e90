import { ChatClient } from 'nano-messaging/client';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Chat } from './Chat.jsx';

// The address ends with #room=ROOM&token=TOKEN. An application fetches each token from its own back end instead.
const { room, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const chat = new ChatClient('http://localhost:7777', { token: () => token });

createRoot(document.querySelector('main')).render(
  <StrictMode>
    <Chat chat={chat} id={Number(room)} />
  </StrictMode>,
);
