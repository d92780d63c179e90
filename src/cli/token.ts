import { randomUUID } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { z } from 'zod';
import { DEV_ENTITY } from '../access/dev-users.js';
import { readOrCreateSecret } from '../access/secret.js';
import { ConfigError, loadConfig, loadEnvFile } from '../config/load.js';
import { uuidSchema } from '../protocol/values.js';
import { command, type Options } from './command.js';

const number = z
  .string()
  .regex(/^\d+(\.\d+)?$/, 'must be a number')
  .transform(Number);

/** A hundred years; a date has an end. */
const MAX_HOURS = 876_000;

/** The options that describe a user, and their schemas. */
export const userOptions = {
  entity: { type: 'string' },
  level: { type: 'string' },
} as const satisfies Options;

export const userFields = {
  user: uuidSchema.default(() => randomUUID()),
  /** Two tokens made without it are of one entity, and of that of Ana, Bruno and Carla. */
  entity: uuidSchema.default(DEV_ENTITY),
  level: number.default(999),
};

interface User {
  readonly user: string;
  readonly entity: string;
  readonly level: number;
  /** Whether it is a token of the application's server. */
  readonly server?: boolean;
}

/** Signs a token for a user by the secret of the environment, with its `aud` and `iss`. */
export async function signToken(
  { user, entity, level, server = false }: User,
  expiresAt: Date,
): Promise<string> {
  loadEnvFile();
  const config = loadConfig(process.env);
  if (config.jwtSecret === undefined && config.hasPublicKeys) {
    throw new ConfigError([
      'JWT_MASTER_SECRET must be given: this server takes tokens that the application signs with a key of its own',
    ]);
  }
  const secret = config.jwtSecret ?? (await readOrCreateSecret(config.dataDir));
  return jwt.sign(
    {
      ...(config.audience !== undefined && { aud: config.audience }),
      ...(config.issuer !== undefined && { iss: config.issuer }),
      exp: Math.floor(expiresAt.getTime() / 1000),
      sub: user,
      entityUUID: entity,
      userUUID: user,
      levelOnEntity: level,
      ...(server && { server }),
    },
    secret,
  );
}

export default command({
  help: `usage: nano-messaging token [USER] [--entity UUID] [--level NUMBER] [--hours NUMBER] [--server]

Prints a token that the server accepts, signed with its secret (JWT_MASTER_SECRET, or the one in DATA_DIR): the token
alone on stdout, its claims on stderr.

  USER       the UUID of the user that the token is for (default: a random one)
  --entity   the UUID of the organisation that they belong to (default: the same one for every token)
  --level    their level in it (default: 999; 100 and more may create rooms)
  --hours    until it expires (default: 24; at most 876000)
  --server   a token of the application's server, for the routes that no user may call

Examples:
  TOKEN=$(nano-messaging token)
  nano-messaging token 74c141a9-9cc6-43dc-8f3d-fe81c4f9f5fe --level 1 --hours 0.5
`,
  positionals: ['user'],
  options: { ...userOptions, hours: { type: 'string' }, server: { type: 'boolean' } },
  input: z.object({
    ...userFields,
    hours: number.refine((hours) => hours <= MAX_HOURS, `must be ${MAX_HOURS} or less`).default(24),
    server: z.boolean().default(false),
  }),
  async run({ hours, ...user }) {
    const expiresAt = new Date(new Date().getTime() + hours * 3_600_000);
    const token = await signToken(user, expiresAt);
    process.stderr.write(
      `${user.server ? 'server token: ' : ''}user ${user.user}, entity ${user.entity}, level ${user.level}, until ${expiresAt.toISOString()}\n`,
    );
    process.stdout.write(`${token}\n`);
  },
});
