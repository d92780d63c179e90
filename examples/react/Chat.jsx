import { useName, useRoom } from './useRoom.js';

export function Chat({ chat, id }) {
  const { room, messages } = useRoom(chat, id);
  // The message is in the list at once. If it is refused, it leaves the list again.
  const send = (form) => void room.send(form.get('text')).catch((error) => alert(error.message));
  return (
    <>
      <ol>
        {messages.map((message) => (
          <Message key={message.ref ?? message.seq} chat={chat} message={message} />
        ))}
      </ol>
      <form action={send}>
        <input name="text" aria-label="Message" autoComplete="off" required />
      </form>
    </>
  );
}

function Message({ chat, message }) {
  const name = useName(chat, message.emitter);
  return (
    <li aria-busy={message.seq === undefined}>
      <b>{name}</b> {message.content}
    </li>
  );
}
