import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { createAsyncApi } from '../../src/http/asyncapi.js';
import { strict, type JsonSchema } from './documented.js';

/** The AsyncAPI document, with the limits of a node by default. Clients must take keys that it does not have. */
export const asyncApi = JSON.parse(
  JSON.stringify(
    createAsyncApi({ contentCharacters: 8_000, dataBytes: 4_096, roomsPerSocket: 128 }),
    strict,
  ),
) as AsyncApi;

export interface AsyncApi {
  readonly channels: Readonly<
    Record<'v1' | 'v2', { readonly messages: Readonly<Record<string, DocumentedMessage>> }>
  >;
  readonly operations: Readonly<
    Record<
      string,
      {
        readonly action: 'send' | 'receive';
        readonly messages: readonly { readonly $ref: string }[];
        readonly reply?: { readonly messages: readonly { readonly $ref: string }[] };
      }
    >
  >;
}

interface DocumentedMessage {
  readonly payload: JsonSchema;
  readonly examples?: readonly { readonly payload: object }[];
}

/** The name of a frame of the server in the document: its word, or its type. */
export function nameOfFrame({ type, data }: { type: string; data: unknown }): string {
  return type === 'status' ? String(data) : type;
}

/** Throws if a payload is not that of a message in the document, exactly as it is. */
export type RequireFrame = (version: 'v1' | 'v2', name: string, payload: object) => void;

/** Reads a document to which `strict` was applied. */
export function readAsyncApi(document: AsyncApi): RequireFrame {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(document, 'asyncapi');
  const validators = new Map<string, ValidateFunction>();
  return (version, name, payload) => {
    const validate =
      validators.get(`${version} ${name}`) ??
      ajv.compile({ $ref: `asyncapi#/channels/${version}/messages/${name}/payload` });
    validators.set(`${version} ${name}`, validate);
    if (validate(payload)) return;
    throw new Error(
      `no such frame in ${version}: ${JSON.stringify(payload)}\n${ajv.errorsText(validate.errors)}`,
    );
  };
}

export const requireDocumentedFrame = readAsyncApi(asyncApi);
