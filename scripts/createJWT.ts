#!/usr/bin/env node
/**
 * Prints a token for this server, signed with its secret: the token alone on stdout, its claims on stderr.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { readOrCreateSecret } from '../src/access/secret.js';
import { uuidSchema } from '../src/protocol/values.js';
import { loadConfig, loadEnvFile } from '../src/config/load.js';

const USAGE = `usage: npm run createJWT -- [userUUID] [--entity UUID] [--level NUMBER] [--hours NUMBER]

  userUUID   who the token is for (default: a random UUID)
  --entity   the organisation they belong to (default: the same one for every token)
  --level    their level in it (default 999; 100 and more may create rooms)
  --hours    until it expires (default 24)
`;

/** The organisation of the proof of concept's script: two tokens made without --entity share it. */
const DEFAULT_ENTITY = '9bc91a48-f27f-4df3-b1d7-136ce4f7a5dd';

const number = z
  .string()
  .regex(/^\d+(\.\d+)?$/, 'must be a number')
  .transform(Number);

const argumentsSchema = z.object({
  user: uuidSchema.default(() => randomUUID()),
  entity: uuidSchema.default(DEFAULT_ENTITY),
  level: number.default(999),
  hours: number.default(24),
});

/** @returns the token, or the usage if that is asked for */
async function createJWT(args: string[]): Promise<string> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      entity: { type: 'string' },
      level: { type: 'string' },
      hours: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help === true) return USAGE.trimEnd();
  if (positionals.length > 1) throw new Error('one userUUID at the most');
  const given = argumentsSchema.safeParse({ ...values, user: positionals[0] });
  if (!given.success) {
    throw new Error(given.error.issues.map((i) => `${i.path.join('.')} ${i.message}`).join('; '));
  }
  loadEnvFile();
  const config = loadConfig(process.env);
  const secret = config.jwtSecret ?? (await readOrCreateSecret(config.dataDir));
  const { user, entity, level, hours } = given.data;
  const exp = Math.floor(Date.now() / 1000 + hours * 3600);
  process.stderr.write(
    `user ${user}, entity ${entity}, level ${level}, until ${new Date(exp * 1000).toISOString()}\n`,
  );
  return jwt.sign(
    {
      ...(config.audience !== undefined && { aud: config.audience }),
      ...(config.issuer !== undefined && { iss: config.issuer }),
      exp,
      sub: user,
      entityUUID: entity,
      userUUID: user,
      levelOnEntity: level,
    },
    secret,
  );
}

try {
  process.stdout.write(`${await createJWT(process.argv.slice(2))}\n`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
  process.exitCode = 1;
}
