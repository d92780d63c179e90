/** The first byte of an unfragmented frame, by its opcode (RFC 6455 section 5.2). */
const FIN_TEXT = 0x81;
const FIN_PING = 0x89;
const FIN_PONG = 0x8a;

/** A ping without payload (RFC 6455 section 5.5.2). */
export const PING_FRAME: Buffer = Buffer.from([FIN_PING, 0]);

/** The answer to a ping, with its payload, which has at most 125 bytes (RFC 6455 section 5.5.3). */
export function encodePong(payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(2 + payload.length);
  frame[0] = FIN_PONG;
  frame[1] = payload.length;
  payload.copy(frame, 2);
  return frame;
}

/**
 * A whole text message as one unmasked WebSocket frame (RFC 6455 section 5.2), ready to be written to any number of
 * sockets.
 */
export function encodeFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const headerLength = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headerLength + length);
  frame[0] = FIN_TEXT;
  if (headerLength === 2) {
    frame[1] = length;
  } else if (headerLength === 4) {
    frame[1] = 126;
    frame.writeUInt16BE(length, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(length), 2);
  }
  frame.write(text, headerLength);
  return frame;
}
