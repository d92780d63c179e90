'use strict';

// The words of messages, for the search (src/store/search.ts). They stand beside the log, because to find the words of a
// text and to put them into an index takes several times as long as to store the message: that is done later, in rest
// (src/store/message-words.ts). `normalize` instead of the extension unaccent: it is in every Postgres, needs no right to
// create an extension, and removes the accents of all letters, not of those that a file of the server's host lists.

// Characters of scripts without spaces between words: kana, bopomofo, Han, Hangul.
const CJK =
  '\\u3005-\\u3007\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u3105-\\u312f\\u31f0-\\u31ff' +
  '\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7af\\uf900-\\ufaff\\U00020000-\\U000323af';
// What is neither a letter nor a digit, except for the space: without it the parser of Postgres finds words alone, no
// addresses, hosts, paths or signs of numbers.
const PUNCTUATION =
  '\\u0001-\\u001f!-/:-@[-`{-\\u00bf\\u2000-\\u206f\\u2e00-\\u2e7f\\u3000-\\u3004\\u3008-\\u3020\\u30a0\\u30fb\\ufe00-\\ufe0f';

// The folded form of a text: words between spaces, letters without accents, each run of CJK characters apart. It keeps
// capitals, because to_tsvector does not.
const fold = `
CREATE OR REPLACE FUNCTION search_fold(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
BEGIN
  IF octet_length(content) > char_length(content) THEN
    content := regexp_replace(normalize(content, NFKD), '[\\u0300-\\u036f]+', '', 'g');
    -- Letters that have no accent in Unicode's eyes.
    content := translate(content, 'øØłŁđĐðÐħĦıς', 'oOlLdDdDhHiσ');
    content := replace(replace(replace(content, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe');
    content := replace(replace(replace(content, 'ẞ', 'SS'), 'Æ', 'AE'), 'Œ', 'OE');
    content := regexp_replace(normalize(content, NFKC), '([${CJK}]+)', ' \\1 ', 'g');
  END IF;
  RETURN regexp_replace(content, '[${PUNCTUATION}]+', ' ', 'g');
END
$$`;

// A folded text whose runs of CJK characters are written as words: each character with the one that follows it, and the
// first and the last alone. So a part of a run is a phrase of pairs, and a character begins a word. Pairs are as many
// as characters, and each is rare: characters alone are found in far too many messages.
const pair = `
CREATE OR REPLACE FUNCTION search_pairs(folded text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
BEGIN
  IF octet_length(folded) = char_length(folded) THEN
    RETURN folded;
  END IF;
  RETURN regexp_replace(folded, '([${CJK}])', '\\1 \\1', 'g');
END
$$`;

// The words of a text. Only CJK words need their places in it, as a run of them is searched for as a phrase, and those that
// begin like 1e5: the parser takes that for a number, and the rest of the word for another one.
const words = `
CREATE OR REPLACE FUNCTION search_words(content text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
BEGIN
  IF octet_length(content) = char_length(content) AND content !~ '[0-9][eE][0-9]' THEN
    RETURN strip(to_tsvector('pg_catalog.simple', search_fold(content)));
  END IF;
  RETURN to_tsvector('pg_catalog.simple', search_pairs(search_fold(content)));
END
$$`;

// How many messages the planner expects to have the words of a query: from statistics, without reading any.
const estimate = `
CREATE OR REPLACE FUNCTION search_estimate(words tsquery) RETURNS float8
LANGUAGE plpgsql STRICT AS $$
DECLARE
  plan json;
BEGIN
  EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM message_words WHERE words @@ %L', words) INTO plan;
  RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END
$$`;

module.exports = {
  async up(queryInterface, Sequelize) {
    for (const statement of [fold, pair, words]) await queryInterface.sequelize.query(statement);
    // Of the messages up to their room's place in `search_positions`. Like the log, both tables have no foreign key to
    // rooms; they are deleted with the log.
    await queryInterface.createTable('message_words', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      seq: { type: Sequelize.BIGINT, primaryKey: true },
      // As in `messages`.
      createdAt: { type: 'timestamp(3) with time zone', allowNull: false },
      words: { type: 'tsvector', allowNull: false },
    });
    // Without fastupdate: it would save the writer work, but each search would read the list of what waits.
    await queryInterface.sequelize.query(
      'CREATE INDEX IF NOT EXISTS message_words_words ON message_words USING gin (words) WITH (fastupdate = off)',
    );
    await queryInterface.sequelize.query(estimate);
    await queryInterface.createTable('search_positions', {
      room_id: { type: Sequelize.INTEGER, primaryKey: true },
      // Seq of the last entry that is in `message_words`, if it is a message that is not deleted.
      upto: { type: Sequelize.BIGINT, allowNull: false },
    });
  },

  async down(queryInterface) {
    await queryInterface.dropTable('search_positions');
    await queryInterface.dropTable('message_words');
    await queryInterface.sequelize.query(
      'DROP FUNCTION search_estimate, search_words, search_pairs, search_fold',
    );
  },
};
