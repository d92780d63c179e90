import type { z } from 'zod';

const NEWLINE = 0x0a;
/** A line may have thousands of unknown keys, each as long as it likes. */
const MAX_PROBLEM_CHARACTERS = 500;

/** A file that can't be used. */
export class FileError extends Error {
  override readonly name: string = 'FileError';
}

/** A line that can't be used. */
export class LineError extends FileError {
  override readonly name = 'LineError';
  /** As in `line 4`. */
  readonly line: string;
  readonly problem: string;

  constructor(number: number, problem: string) {
    super(`line ${number}: ${problem}`);
    this.line = `line ${number}`;
    this.problem = problem;
  }
}

/** A line as its schema made it. */
export interface ParsedLine<Value> {
  /** 1, 2, 3, ... */
  readonly number: number;
  readonly value: Value;
  readonly bytes: number;
}

interface ParseOptions<Value> {
  readonly schema: z.ZodType<Value>;
  /** Of the longest line that is read. */
  readonly maxBytes: number;
  /** Told the bytes that were read so far. */
  readonly onBytes?: (bytes: number) => void;
}

/**
 * Parses lines of JSON one by one. Empty lines are left out.
 * @throws {LineError} at the first line that is too long, is not UTF-8 or JSON, or does not fit the schema
 */
export async function* parseLines<Value>(
  input: AsyncIterable<Buffer>,
  { schema, maxBytes, onBytes }: ParseOptions<Value>,
): AsyncGenerator<ParsedLine<Value>> {
  let number = 0;
  let read = 0;
  for await (const line of splitLines(input, maxBytes)) {
    number += 1;
    read += line.length + 1;
    onBytes?.(read);
    if (line.length > maxBytes) throw new LineError(number, `is longer than ${maxBytes} bytes`);
    const text = decode(line, number).trim();
    if (text !== '') yield { number, value: parse(text, schema, number), bytes: line.length };
  }
}

/** The lines of a stream, without their ends. One that is too long ends it, and is as long as what was read of it. */
async function* splitLines(input: AsyncIterable<Buffer>, maxBytes: number): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from);
      const part = chunk.subarray(from, end === -1 ? undefined : end);
      parts.push(part);
      length += part.length;
      if (end === -1 && length <= maxBytes) break;
      yield Buffer.concat(parts);
      if (length > maxBytes) return;
      parts = [];
      length = 0;
      from = end + 1;
    }
  }
  if (length > 0) yield Buffer.concat(parts);
}

function decode(line: Buffer, number: number): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(line);
  } catch {
    throw new LineError(number, 'is not UTF-8');
  }
}

function parse<Value>(text: string, schema: z.ZodType<Value>, number: number): Value {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new LineError(number, 'is not JSON');
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    `${path.join('.')} ${message}`.trim(),
  );
  throw new LineError(number, problems.join('; ').slice(0, MAX_PROBLEM_CHARACTERS));
}
