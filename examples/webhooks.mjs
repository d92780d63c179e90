import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
/** Ids of events that were handled. An application has a table with a unique key. */
const handled = new Set();

const server = createServer((request, response) => {
  text(request)
    .then((body) => {
      const event = webhook.verify(body, request.headers);
      const id = request.headers['webhook-id'];
      if (!handled.has(id)) handle(event);
      handled.add(id);
      response.writeHead(204).end();
    })
    .catch((error) => {
      // Not from the chat, or older than five minutes.
      console.error(error.message);
      response.writeHead(401).end();
    });
});

/** Says whom to notify of a message: not those who have the room open, and others as they wish. */
function handle({ type, data }) {
  console.log(type, data.room_id);
  for (const user of data.recipients ?? []) {
    const isWanted = user.level === 'all' || (user.level === 'mentions' && user.mentioned);
    if (user.online || !isWanted) continue;
    console.log(`notify ${user.userUUID}: ${data.content} (${user.unread} unread)`);
  }
}

server.listen(process.argv[2] ?? 4000, () => {
  console.log(`listening on http://localhost:${server.address().port}`);
});
