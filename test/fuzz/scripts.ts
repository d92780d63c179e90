import fc from 'fast-check';
import type { AsyncApi } from '../harness/documented-frames.js';
import { JOIN_HINTS, SOCKET_HINTS, TOKEN_HINTS } from './hints.js';
import { brokenValue, validValue } from './schema-values.js';
import { ROLES, type Role } from './stage.js';
import { anyText, anyValue, bytes, damaged, deepJson } from './values.js';

/** What a client does on its socket, before the words of a stage stand in it. */
export type Act =
  | { readonly kind: 'command'; readonly command: unknown }
  | { readonly kind: 'text' | 'fragments'; readonly text: string }
  | { readonly kind: 'binary' | 'ping' | 'pong' | 'bytes'; readonly data: Buffer }
  /** Ends the TCP connection on the client's side; cuts it; closes the WebSocket. */
  | { readonly kind: 'half close' | 'cut' | 'close' };

/** One socket of a script. */
export interface Part {
  readonly version: 'v1' | 'v2';
  /** Of the fuzzed nodes. */
  readonly node: number;
  readonly role: Role;
  /** How far it is when the script begins. */
  readonly state: 'greeting' | 'ready' | 'room';
}

/** Several sockets, and what they do, interleaved. */
export interface Script {
  readonly parts: readonly Part[];
  readonly steps: readonly { readonly on: number; readonly act: Act }[];
}

const MAX_PARTS = 4;

/** Any script over the commands of a document. */
export function scriptsOf(api: AsyncApi): fc.Arbitrary<Script> {
  const acts = { v1: actsOf(api, 'v1'), v2: actsOf(api, 'v2') };
  const parts = fc.record({
    version: fc.constantFrom('v1' as const, 'v2' as const, 'v2' as const),
    node: fc.nat(1),
    role: fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom<Role>('owner', 'member') },
      { weight: 1, arbitrary: fc.constantFrom(...ROLES) },
    ),
    state: fc.constantFrom<Part['state']>('greeting', 'ready', 'room', 'room', 'room'),
  });
  return fc.array(parts, { minLength: 1, maxLength: MAX_PARTS }).chain((all) => {
    const steps = fc
      .nat(all.length - 1)
      .chain((on) => acts[all[on]?.version ?? 'v2'].map((act) => ({ on, act })));
    return fc.record({
      parts: fc.constant(all),
      steps: fc.array(steps, { minLength: 10, maxLength: 60, size: 'max' }),
    });
  });
}

function actsOf(api: AsyncApi, version: 'v1' | 'v2'): fc.Arbitrary<Act> {
  const commands = commandsOf(api, version);
  const texts = fc.oneof(
    { weight: 2, arbitrary: commands.map((command) => JSON.stringify(command) ?? '') },
    { weight: 2, arbitrary: anyValue.map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: fc.oneof(anyText, deepJson) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(commands, fc.nat())
        .map(([command, at]) => damaged(JSON.stringify(command) ?? '', at)),
    },
    // Keys that come twice, white space, a byte order mark, and what is as large as a frame may be, or larger.
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        '{"type":"ping","type":"quit"}',
        ' \n{"type":"ping"}\t',
        '\ufeff{"type":"ping"}',
        `{"type":"ping","x":"${'x'.repeat(7_000)}"}`,
        `{"type":"ping","x":"${'x'.repeat(100_000)}"}`,
        `{"type":"ping","x":"${'x'.repeat(140_000)}"}`,
      ),
    },
  );
  const withData = (kind: 'binary' | 'ping' | 'pong' | 'bytes'): fc.Arbitrary<Act> =>
    bytes.map((data) => ({ kind, data }));
  return fc.oneof(
    { weight: 250, arbitrary: commands.map((command): Act => ({ kind: 'command', command })) },
    { weight: 4, arbitrary: texts.map((text): Act => ({ kind: 'text', text })) },
    { weight: 4, arbitrary: texts.map((text): Act => ({ kind: 'fragments', text })) },
    { weight: 2, arbitrary: withData('ping') },
    { weight: 1, arbitrary: withData('pong') },
    { weight: 1, arbitrary: withData('binary') },
    { weight: 1, arbitrary: withData('bytes') },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Act>({ kind: 'half close' }, { kind: 'cut' }, { kind: 'close' }),
    },
  );
}

/** Commands that the document allows, and some that it allows but for a part of them. */
function commandsOf(api: AsyncApi, version: 'v1' | 'v2'): fc.Arbitrary<unknown> {
  const all = Object.entries(api.channels[version].messages)
    .filter(([name]) => name.startsWith('command.'))
    .map(([name, { payload }]) => {
      const type = name.slice('command.'.length);
      const hints = type === 'token' ? TOKEN_HINTS : type === 'join' ? JOIN_HINTS : SOCKET_HINTS;
      return {
        // Nothing follows `quit`, and a session spends its time in rooms.
        weight: type === 'quit' ? 1 : type === 'token' ? 4 : 8,
        arbitrary: fc.oneof(
          { weight: 4, arbitrary: validValue(payload, hints) },
          { weight: 1, arbitrary: brokenValue(payload, hints) },
        ),
      };
    });
  return fc.oneof(...all);
}
