import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ChatError } from '../../src/errors.js';
import type { Store } from '../../src/store/store.js';
import { openPostgres, storeOver, type StoreHost } from '../harness/store-hosts.js';
import { emptyRoom, newCaller, readAll, say, TestWriter } from '../harness/writers.js';

const ROOMS = 5;
const MESSAGES = 40;

/** Messages whose content the database refuses, as a database with another encoding refuses an emoji. */
const REFUSALS = {
  'of a value': `SELECT 1 / 0`,
  'of a character': `RAISE EXCEPTION 'made up' USING ERRCODE = 'untranslatable_character'`,
  'by a check': `RAISE EXCEPTION 'made up' USING ERRCODE = 'check_violation'`,
  'by a trigger': `RAISE EXCEPTION 'made up'`,
  'of its size': `RAISE EXCEPTION 'made up' USING ERRCODE = 'program_limit_exceeded'`,
};

describe('a message that the database refuses', () => {
  let host: StoreHost;
  let store: Store;

  beforeAll(async () => {
    host = await openPostgres();
    store = storeOver(host.database);
  });
  afterAll(() => host.close());

  it.each(Object.entries(REFUSALS))(
    'fails alone, %s: those beside it are stored, in their order',
    async (_, refusal) => {
      await refuse('poison', refusal);
      const writers = await Promise.all(
        Array.from({ length: ROOMS }, async () => new TestWriter(await emptyRoom(store))),
      );
      const author = newCaller();

      // The first two are sent alone, the rest as one batch.
      const sent = Array.from({ length: MESSAGES }, (_, n) => ({
        writer: writers[n % ROOMS] ?? new TestWriter(0),
        content: n % 7 === 3 ? `poison ${n}` : `message ${n}`,
      }));
      const outcomes = await Promise.allSettled(
        sent.map(({ writer, content }) =>
          say(store.log, writer, content, { author, ref: content }),
        ),
      );

      const told = outcomes.map((outcome) =>
        outcome.status === 'fulfilled' ? 'stored' : (outcome.reason as ChatError).code,
      );
      expect(told).toEqual(
        sent.map(({ content }) => (content.startsWith('poison') ? 'INVALID' : 'stored')),
      );
      for (const writer of writers) {
        const wanted = sent.filter((one) => one.writer === writer).map(({ content }) => content);
        const entries = await readAll(store.log, writer.roomId);
        expect(entries.map(({ content }) => content)).toEqual(
          wanted.filter((content) => !content.startsWith('poison')),
        );
        expect(writer.taken).toEqual(entries);
      }
    },
  );

  it('is UNAVAILABLE if the refusal is not about the message', async () => {
    await refuse('poison', `RAISE EXCEPTION 'made up' USING ERRCODE = 'insufficient_privilege'`);
    const writer = new TestWriter(await emptyRoom(store));

    await expect(say(store.log, writer, 'poison')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await say(store.log, writer, 'fine')).toEqual({ seq: 1, known: false });
  });

  /** For messages that begin with the word, the database runs a statement of PL/pgSQL. */
  async function refuse(word: string, statement: string): Promise<void> {
    const { sequelize } = host.database;
    await sequelize.query(`CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        ${statement.replace('SELECT', 'PERFORM')};
        RETURN NEW;
      END $$`);
    await sequelize.query(`CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON messages
      FOR EACH ROW WHEN (NEW.content LIKE '${word}%') EXECUTE FUNCTION refuse()`);
  }
});
