import { parseArgs, type ParseArgsConfig } from 'node:util';
import { z } from 'zod';

/** A command line that can't be understood. Its message is for the person who typed it. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A command of the command line. */
export interface Command {
  /** Its usage: what it does, its arguments and options, examples. */
  readonly help: string;
  /** Whether it ends by itself when `stop` is aborted; any other command is ended in the middle. */
  readonly endsOnSignal: boolean;
  /**
   * Runs it. Results go to stdout, all else to stderr.
   * @param stop aborted at SIGINT and SIGTERM
   * @throws {UsageError} before anything is done
   */
  run(args: readonly string[], stop: AbortSignal): Promise<void>;
}

export type Options = NonNullable<ParseArgsConfig['options']>;

interface CommandParts<Input extends z.ZodType> {
  readonly help: string;
  /** Names of its arguments without a dash, in their order. */
  readonly positionals?: readonly string[];
  /** Its options, as `parseArgs` takes them. `--help` is added. */
  readonly options?: Options;
  /** Arguments and options by their names. The problem of one stands behind its name. */
  readonly input: Input;
  readonly endsOnSignal?: boolean;
  readonly run: (input: z.infer<Input>, stop: AbortSignal) => Promise<void>;
}

/** Makes a command of its parts: `run` gets its input as the schema made it. */
export function command<Input extends z.ZodType>({
  help,
  positionals = [],
  options = {},
  input,
  endsOnSignal = false,
  run,
}: CommandParts<Input>): Command {
  return {
    help,
    endsOnSignal,
    async run(args, stop) {
      const given = parse(args, options);
      if (given.values['help'] === true) {
        process.stdout.write(help);
        return;
      }
      const unexpected = given.positionals[positionals.length];
      if (unexpected !== undefined) throw new UsageError(`unexpected argument: ${unexpected}`);
      const named = positionals.map((name, place) => [name, given.positionals[place]] as const);
      const result = input.safeParse({ ...given.values, ...Object.fromEntries(named) });
      if (!result.success) throw new UsageError(problemsOf(result.error));
      await run(result.data, stop);
    },
  };
}

function parse(args: readonly string[], options: Options) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
    });
    return { values: values as Readonly<Record<string, unknown>>, positionals };
  } catch (error) {
    // Its other sentences explain how to pass an argument that begins with a dash.
    const [sentence = ''] = (error as Error).message.split(/\.\s/);
    throw new UsageError(sentence, { cause: error });
  }
}

function problemsOf({ issues }: z.ZodError): string {
  return issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ');
}
