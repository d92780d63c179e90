'use strict';

// The words of messages (src/store/search.ts), as an index over an expression: no text stands in a column beside
// `content`. Both functions call nothing of ours: Postgres builds indexes without the schema in its search_path (dumps,
// REINDEX). `normalize` instead of the extension unaccent: it is in every Postgres, needs no right to create an
// extension, and removes the accents of all letters, not of those that a file of the server's host lists.

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

module.exports = {
  async up(queryInterface) {
    await queryInterface.sequelize.query(fold);
    await queryInterface.sequelize.query(pair);
    // With fastupdate, words wait in a list that each search reads, and that now and then one message has to put in order
    // for all. A trade-off: in a table of 1,000,000, batches of 50 took 805 ms at most with it and 87 without, but twice
    // as long on average without.
    await queryInterface.sequelize.query(
      `CREATE INDEX IF NOT EXISTS messages_words ON messages
       USING gin (to_tsvector('pg_catalog.simple', search_pairs(search_fold(content))))
       WITH (fastupdate = off) WHERE kind = 'message'`,
    );
  },

  async down(queryInterface) {
    await queryInterface.sequelize.query('DROP INDEX messages_words');
    await queryInterface.sequelize.query('DROP FUNCTION search_pairs, search_fold');
  },
};
