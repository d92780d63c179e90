import { z } from 'zod';
import { CLOSE_CODES } from '../protocol/close-codes.js';
import { commandSchemas as commandSchemasV1 } from '../protocol/v1/decode.js';
import { COMMANDS as COMMANDS_V1, FRAMES as FRAMES_V1 } from '../protocol/v1/frames.js';
import { commandSchemas as commandSchemasV2, type CommandLimits } from '../protocol/v2/decode.js';
import { COMMANDS as COMMANDS_V2, FRAMES as FRAMES_V2 } from '../protocol/v2/frames.js';
import { SUBPROTOCOL_V2 } from '../protocol/versions.js';
import { createJsonSchemas, type Json, type JsonSchemas } from './json-schemas.js';
import { VERSION } from './openapi.js';

const DESCRIPTION = `The chat of nano-messaging over a WebSocket; /openapi.json describes rooms, members and history.

A frame is text: one JSON object with a \`type\`. In a command, unknown keys are ignored, and \`null\` means the same as
leaving an optional key out. Later versions may add keys, events and kinds of entries: ignore what you do not know.`;

/** What the document needs of a version of the wire. */
interface Wire {
  readonly title: string;
  /** By type, what is said of each command. */
  readonly commands: Readonly<
    Record<string, { says: string; example: object; answers: readonly string[] }>
  >;
  readonly schemas: Readonly<Record<string, z.ZodType>>;
  /** By name, the frames of the server. */
  readonly frames: Readonly<Record<string, z.ZodObject>>;
  /** Answers that any command may get. */
  readonly always: readonly string[];
  /** Headers of the handshake. */
  readonly headers: Readonly<Record<string, Json>>;
}

/** The AsyncAPI document of a node with these limits: both versions of the wire, from their own schemas. */
export function createAsyncApi(limits: CommandLimits): Json {
  const wires: Readonly<Record<string, Wire>> = {
    v1: {
      title: 'Version 1',
      commands: COMMANDS_V1,
      schemas: commandSchemasV1(limits),
      frames: FRAMES_V1,
      always: [],
      headers: {},
    },
    v2: {
      title: `Version 2, by the subprotocol ${SUBPROTOCOL_V2}`,
      commands: COMMANDS_V2,
      schemas: commandSchemasV2(limits),
      frames: FRAMES_V2,
      always: ['UNAVAILABLE', 'INTERNAL'],
      headers: { 'Sec-WebSocket-Protocol': { type: 'string', const: SUBPROTOCOL_V2 } },
    },
  };
  const schemas = createJsonSchemas();
  const byVersion = Object.entries(wires);
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'nano-messaging',
      version: VERSION,
      description: DESCRIPTION,
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    servers: {
      node: {
        host: '{host}',
        protocol: 'ws',
        description: 'Any node of an installation; wss behind a proxy that terminates TLS.',
        variables: { host: { default: 'localhost:7777' } },
      },
    },
    channels: Object.fromEntries(
      byVersion.map(([version, wire]) => [version, channelOf(wire, schemas)]),
    ),
    operations: Object.fromEntries(
      byVersion.flatMap(([version, wire]) => operationsOf(version, wire)),
    ),
    components: { schemas: schemas.components },
  };
}

function channelOf({ title, commands, schemas, frames, headers }: Wire, json: JsonSchemas): Json {
  const sent = Object.entries(commands).map(([type, { says, example }]) => [
    commandName(type),
    {
      name: type,
      summary: says,
      payload: json.of(schemas[type] ?? z.never()),
      examples: [{ payload: example }],
    },
  ]);
  const received = Object.entries(frames).map(([name, frame]) => [
    name,
    { name, summary: frame.description, payload: json.of(frame) },
  ]);
  return {
    address: '/chat',
    title,
    description: `The server's close codes: ${closeCodes()}.`,
    servers: [{ $ref: '#/servers/node' }],
    messages: Object.fromEntries([...sent, ...received]) as Json,
    bindings: {
      ws: {
        method: 'GET',
        headers: {
          type: 'object',
          properties: {
            ...headers,
            Authorization: {
              type: 'string',
              description: 'Optional: `Bearer <jwt>`, as if a `token` command came first.',
            },
          },
        },
        bindingVersion: '0.1.0',
      },
    },
  };
}

/** AsyncAPI has no place for close codes but prose. */
function closeCodes(): string {
  return Object.entries(CLOSE_CODES)
    .map(
      ([name, { code, reconnect }]) => `${code} ${name} (${reconnect ? 'come back' : 'stay away'})`,
    )
    .join(', ');
}

/** An operation for each command, with its answers, and one for all that the server sends. */
function operationsOf(version: string, { commands, frames, always }: Wire): [string, Json][] {
  const channel = { $ref: `#/channels/${version}` };
  const refer = (names: readonly string[]): Json[] =>
    names.map((name) => ({ $ref: `#/channels/${version}/messages/${name}` }));
  const received = Object.entries(commands).map(([type, { says, answers }]): [string, Json] => [
    `${version}.${type}`,
    {
      action: 'receive',
      channel,
      summary: says,
      messages: refer([commandName(type)]),
      reply: { channel, messages: refer([...answers, ...always]) },
    },
  ]);
  const sent: Json = {
    action: 'send',
    channel,
    summary: 'What the server sends: answers to commands, and events.',
    messages: refer(Object.keys(frames)),
  };
  return [...received, [`${version}.send`, sent]];
}

/** Commands and events may have the same type. */
function commandName(type: string): string {
  return `command.${type}`;
}
