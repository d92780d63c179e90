import type { Actions } from '../actions/actions.js';
import type { Limits } from '../config/load.js';
import type { FailedTokens } from '../limits/failed-tokens.js';
import type { MessageLimits } from '../limits/message-limits.js';
import type { Hub } from '../feeds/hub.js';
import type { DebugLog, Logger } from '../logger.js';
import type { Observer } from '../observer.js';
import type { Decoded } from '../protocol/v1/commands.js';
import type { Decoded as DecodedV2 } from '../protocol/v2/commands.js';

/** What all sessions of a node share. */
export interface SessionContext {
  readonly tokens: Pick<FailedTokens, 'verify'>;
  /** Decodes frames of version 1. */
  readonly decode: (frame: string) => Decoded;
  /** Decodes frames of version 2. */
  readonly decodeV2: (frame: string) => DecodedV2;
  readonly hub: Pick<Hub, 'active' | 'epoch' | 'open' | 'userSessions'>;
  readonly actions: Pick<Actions, 'members' | 'messages' | 'readMarkers' | 'rooms'>;
  readonly limits: Limits;
  /** Undefined if they are off. */
  readonly messageLimits?: MessageLimits | undefined;
  readonly logger: Logger;
  /** Undefined if the level is off. */
  readonly debug?: DebugLog | undefined;
  readonly observer?: Observer | undefined;
}
