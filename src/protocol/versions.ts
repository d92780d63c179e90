/** The versions of the wire. */
export type Version = 1 | 2;

/** The subprotocol by which a client asks for version 2; without it, it gets version 1. */
export const SUBPROTOCOL_V2 = 'nano-messaging.v2';
