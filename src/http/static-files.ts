import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import type { Context, Middleware } from 'koa';

/** The default, 11, takes 8 s for the viewer of the API's document (1.7 MB), 6 takes 0.1 s for a tenth more. */
const BROTLI = { [constants.BROTLI_PARAM_QUALITY]: 6 };

/** The codings that browsers ask for, the smaller first; over plain HTTP to another host they ask for gzip alone. */
const ENCODERS = {
  br: (bytes: Buffer) => promisify(brotliCompress)(bytes, { params: BROTLI }),
  gzip: promisify(gzip),
} as const;
type Coding = keyof typeof ENCODERS;
const CODINGS = Object.keys(ENCODERS) as Coding[];

/** What is text; other files are compressed already. */
const COMPRESSED = new Set(['.css', '.html', '.js', '.json', '.map', '.svg', '.txt']);

/** A file in memory. */
class StaticFile {
  /** With its dot. */
  readonly extension: string;
  /** Weak: its encodings are other bytes. Of the content, since all files of a package of npm have one date. */
  readonly etag: string;
  readonly #bytes: Buffer;
  readonly #encoded = new Map<Coding, Promise<Buffer>>();

  constructor(name: string, bytes: Buffer) {
    this.extension = extname(name);
    this.etag = `W/"${createHash('sha256').update(bytes).digest('base64url')}"`;
    this.#bytes = bytes;
  }

  get isCompressed(): boolean {
    return COMPRESSED.has(this.extension);
  }

  /** Its bytes in a coding. They are made when they are first asked for, and kept. */
  encodedBy(coding: Coding | 'identity'): Buffer | Promise<Buffer> {
    if (coding === 'identity') return this.#bytes;
    const encoded = this.#encoded.get(coding) ?? ENCODERS[coding](this.#bytes);
    this.#encoded.set(coding, encoded);
    return encoded;
  }
}

/** By its path in a URL (`/assets/page.js`, `/docs`), each file below a folder. */
export type StaticFiles = ReadonlyMap<string, StaticFile>;

/**
 * Reads all files below a folder; `index.html` is `/`, and `docs.html` is `/docs`. Nothing is read later, so no path
 * leads out of the folder. Undefined if there is no such folder.
 */
export async function readStaticFiles(folder: string): Promise<StaticFiles | undefined> {
  let entries;
  try {
    entries = await readdir(folder, { recursive: true, withFileTypes: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(
      paths.map(async (path): Promise<[string, StaticFile]> => {
        const name = `/${relative(folder, path).replaceAll(sep, '/')}`;
        const file = new StaticFile(name, await readFile(path));
        return [name === '/index.html' ? '/' : name.replace(/\.html$/, ''), file];
      }),
    ),
  );
}

/** Answers GET and HEAD of the paths of these files with `headersOf` their path, and leaves all else to the next. */
export function serveStaticFiles(
  files: StaticFiles,
  headersOf: (path: string) => Readonly<Record<string, string>>,
): Middleware {
  return async (ctx, next) => {
    const file = ctx.method === 'GET' || ctx.method === 'HEAD' ? files.get(ctx.path) : undefined;
    if (file === undefined) return next();
    ctx.status = 200;
    ctx.set(headersOf(ctx.path));
    ctx.set('ETag', file.etag);
    if (file.isCompressed) ctx.vary('Accept-Encoding');
    if (ctx.fresh) {
      ctx.status = 304;
      return;
    }
    const coding = file.isCompressed ? codingFor(ctx) : 'identity';
    if (coding !== 'identity') ctx.set('Content-Encoding', coding);
    ctx.type = file.extension;
    ctx.body = await file.encodedBy(coding);
  };
}

function codingFor(ctx: Context): Coding | 'identity' {
  const accepted = ctx.acceptsEncodings(...CODINGS, 'identity');
  return CODINGS.find((coding) => coding === accepted) ?? 'identity';
}
