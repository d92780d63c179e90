import { getEventListeners } from 'node:events';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSignedPost, type SignedPost } from '../../src/hooks/signed-post.js';
import { startReceiver, WEBHOOK_SECRET, type Receiver } from '../harness/receiver.js';

const OLD_SECRET = `whsec_${Buffer.alloc(24, 'old').toString('base64')}`;
const JSON_TEXT = JSON.stringify({ type: 'message.created', data: { content: '¡hola! 🚀' } });

let receiver: Receiver;
beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(() => receiver.close());

function createPost(options: { secrets?: string[]; timeoutMs?: number } = {}): SignedPost {
  return createSignedPost({
    url: new URL(receiver.url),
    secrets: [WEBHOOK_SECRET],
    timeoutMs: 10_000,
    maxAnswerBytes: 10,
    ...options,
  });
}

describe('a signed post', () => {
  it('has a signature that the library verifies, its id and its time', async () => {
    const answer = await createPost()('7:1', JSON_TEXT);

    expect(answer).toEqual({ status: 204, text: '' });
    const [delivery] = receiver.taken;
    expect(delivery?.id).toBe('7:1');
    expect(delivery?.body).toEqual(JSON.parse(JSON_TEXT));
    expect(delivery?.headers).toMatchObject({
      'accept-encoding': 'identity',
      'content-type': 'application/json',
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/) as string,
    });
  });

  it('is signed with both secrets while the secret is changed', async () => {
    await createPost({ secrets: [OLD_SECRET, WEBHOOK_SECRET] })('7:1', JSON_TEXT);

    const headers = receiver.taken[0]?.headers ?? {};
    expect(new Webhook(OLD_SECRET).verify(JSON_TEXT, headers)).toEqual(JSON.parse(JSON_TEXT));
    expect(new Webhook(WEBHOOK_SECRET).verify(JSON_TEXT, headers)).toEqual(JSON.parse(JSON_TEXT));
  });

  it('resolves with any status and does not follow a redirect', async () => {
    receiver.answer = (_, response) => {
      response.writeHead(307, { Location: `${receiver.url}/elsewhere` }).end('moved');
    };

    expect(await createPost()('7:1', JSON_TEXT)).toEqual({ status: 307, text: 'moved' });
    expect(receiver.got).toHaveLength(1);
  });

  it('reads no more of an answer than maxAnswerBytes, however long it is', async () => {
    receiver.answer = (_, response) => {
      response.writeHead(200);
      // Never ends: reading all of it would take for ever.
      response.write('0123456789abc');
    };

    expect((await createPost()('7:1', JSON_TEXT)).text).toBe('0123456789');
  });

  it('rejects after its time, for an answer that never comes and for one that never ends', async () => {
    receiver.answer = () => undefined;
    const post = createPost({ timeoutMs: 100 });
    await expect(post('7:1', JSON_TEXT)).rejects.toThrow('timeout');

    receiver.answer = (_, response) => {
      response.writeHead(200).write('0');
    };
    await expect(post('7:2', JSON_TEXT)).rejects.toThrow('timeout');
  });

  it('leaves nothing on a signal that outlives it', async () => {
    const ending = new AbortController();
    const post = createPost();
    for (let n = 0; n < 3; n += 1) await post(`7:${n}`, JSON_TEXT, ending.signal);

    expect(getEventListeners(ending.signal, 'abort')).toEqual([]);
  });

  it('rejects if the connection is reset, refused, or ended by its signal', async () => {
    const post = createPost();
    receiver.answer = (_, response) => response.destroy();
    await expect(post('7:1', JSON_TEXT)).rejects.toThrow('fetch failed');

    const ending = new AbortController();
    receiver.answer = () => {
      ending.abort(new Error('the node shuts down'));
    };
    await expect(post('7:2', JSON_TEXT, ending.signal)).rejects.toThrow('shuts down');

    await expect(post('7:3', JSON_TEXT, ending.signal)).rejects.toThrow('shuts down');

    await receiver.close();
    await expect(post('7:4', JSON_TEXT)).rejects.toThrow('fetch failed');
  });
});
