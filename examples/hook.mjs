// Answers the hook before storing: HOOK_URL=http://localhost:8787, see docs/HOOKS.md.
//
//   WEBHOOK_SECRET=whsec_... node hook.mjs
//
// Rejects messages with links, and puts stars in place of a word.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook(process.env.WEBHOOK_SECRET);

/** What becomes of a message or an edit. */
function judge({ message: { content } }) {
  if (/https?:/i.test(content)) return { action: 'reject', detail: 'No links, please.' };
  const clean = content.replaceAll(/darn/gi, '****');
  return clean === content ? { action: 'accept' } : { action: 'replace', content: clean };
}

async function answer(request, response) {
  try {
    const body = await text(request);
    // Throws unless the chat server has sent it, a moment ago.
    webhook.verify(body, request.headers);
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(judge(JSON.parse(body))));
  } catch {
    response.writeHead(400).end();
  }
}

const server = createServer((request, response) => void answer(request, response));
server.listen(Number(process.env.PORT ?? 8787), () => {
  console.log(`listening on ${server.address().port}`);
});
