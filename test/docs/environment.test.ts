import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { environmentSchema, loadConfig } from '../../src/config/load.js';

/** `docker compose` gives them to the Postgres that it starts; without DB_HOST the server ignores them. */
const FOR_COMPOSE = new Set(['DB_NAME', 'DB_USERNAME', 'DB_PASSWORD']);

const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8');
const variables = [...example.matchAll(/^(# )?([A-Z][A-Z0-9_]*)=(.*)$/gm)].map(
  ([, comment, name = '', value = '']) => ({ name, value, isSet: comment === undefined }),
);
const defaults = environmentSchema.parse({}) as Readonly<
  Record<string, string | number | boolean | undefined>
>;

describe('.env.example', () => {
  it('has each variable of the environment once, and no other', () => {
    const names = variables.map(({ name }) => name);
    expect(names.toSorted()).toEqual(Object.keys(environmentSchema.shape).toSorted());
  });

  it('shows the default of each, and nothing where there is none', () => {
    const shown = variables.filter(({ name }) => !FOR_COMPOSE.has(name));
    expect(shown.map(({ name, value }) => [name, value])).toEqual(
      shown.map(({ name }) => [name, String(defaults[name] ?? '')]),
    );
  });

  it('changes nothing when it is copied as it is', () => {
    const set = variables.filter(({ isSet }) => isSet);
    expect(set).not.toEqual([]);
    expect(loadConfig(Object.fromEntries(set.map(({ name, value }) => [name, value])))).toEqual(
      loadConfig({}),
    );
  });
});
