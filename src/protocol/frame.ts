/** Some encoders begin a text with it; JSON has no place for it. */
const BYTE_ORDER_MARK = '\ufeff';

/** The JSON object in the text of a frame; undefined if it holds none. */
export function parseFrame(frame: string): object | undefined {
  const value =
    parse(frame) ?? (frame.startsWith(BYTE_ORDER_MARK) ? parse(frame.slice(1)) : undefined);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}

/** The value of a JSON text; undefined if it is none. */
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
