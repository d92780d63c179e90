import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ChatClient } from '../harness/chat-client.js';
import { createChatWorld, type ChatWorld } from '../harness/chat-world.js';
import { createSecretDir, type DataDir } from '../harness/data-dir.js';
import type { TestNode } from '../harness/node.js';
import { person, type Person } from '../harness/tokens.js';

const document = readFileSync(new URL('../../docs/HTTP-API.md', import.meta.url), 'utf8');

/** Each command with the answer that is written behind it. */
const examples = [...document.matchAll(/```bash\n([\s\S]*?)```\n\n```json\n([\s\S]*?)```/g)].map(
  ([, command = '', answer = '']) => ({ command, answer }),
);

/** The user whose claims the page shows. */
const { content: claims } = JSON.parse(
  examples.find(({ command }) => command.includes('/test/token'))?.answer ?? '',
) as { content: Omit<Person, 'token'> & { name: string } };

let world: ChatWorld;
let secretDir: DataDir;
let node: TestNode;
let caller: Person;
const server = person({}, { server: true });

beforeAll(async () => {
  world = await createChatWorld();
  secretDir = await createSecretDir();
  node = await world.start({ JWT_MASTER_SECRET: '', DATA_DIR: secretDir.path });
  caller = person(claims, { sub: claims.userUUID, name: claims.name });
});
afterAll(async () => {
  await world.close();
  await secretDir.remove();
});

async function run(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    'bash',
    ['-ec', command.replaceAll('http://localhost:7777', node.url)],
    { env: { ...process.env, TOKEN: caller.token, SERVER_TOKEN: server.token } },
  );
  return stdout;
}

/** Replaces values that differ from run to run, if they have the right form. */
function steady(answer: string): unknown {
  return JSON.parse(answer, (key, value: unknown) => {
    const text = String(value);
    if (/^(?:uuid|room_uuid|epoch)$/.test(key) && /^[0-9a-f-]{36}$/.test(text)) return 'a UUID';
    if (
      /^(?:createdAt|updatedAt|edited_at|revokedAt|requestedAt|finishedAt)$/.test(key) &&
      /^\d{4}-\d\d-\d\dT[\d:.]{12}Z$/.test(text)
    ) {
      return 'a date';
    }
    if (key === 'token' && text.startsWith('eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.'))
      return 'a token';
    return /^(?:exp|iat)$/.test(key) && /^\d{10}$/.test(text) ? 'a time' : value;
  });
}

it('HTTP-API.md has an answer after each command', () => {
  expect(examples).toHaveLength([...document.matchAll(/^```bash$/gm)].length);
  expect(examples).not.toHaveLength(0);
});

it('the commands of HTTP-API.md get the documented answers, in the order of the page', async () => {
  const answers: unknown[] = [];
  /** They stay, so that the list of members says who is online. */
  const clients: ChatClient[] = [];
  for (const { command } of examples) {
    const given = await run(command);
    answers.push(steady(given));
    const { content } = JSON.parse(given) as { content: { room?: { id: number } } };
    // The history that a later command requests.
    if (content.room !== undefined) {
      const client = await ChatClient.enter(node, caller, content.room.id);
      client.say('Fueled up and ready to go');
      client.say('Anybody there?');
      await client.messages(2);
      clients.push(client);
    }
  }
  await Promise.all(clients.map((client) => client.close()));
  expect(answers).toEqual(examples.map(({ answer }) => steady(answer)));
});
