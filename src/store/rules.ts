import type { Sequelize, Transaction } from 'sequelize';
import type { RoomAccess, Rule } from '../access/permissions.js';
import { ChatError } from '../errors.js';
import { loadAccess } from './access.js';
import { appendEntries, ruleContent, type Entry, type EntryDraft } from './entries.js';
import type { RuleModel, RuleRow } from './models/rule.js';
import { plain } from './statement.js';

/** What is to be done with a room's rules: set one (added or changed), or remove one. */
export type RuleChange = { readonly set: Rule } | { readonly remove: string };

export interface ChangedRule {
  /** The rule as it is now stored; as it was, where it was removed. */
  readonly rule: RuleRow;
  readonly created: boolean;
  /** The change as an entry of the room's log, for the feeds. */
  readonly entry: Entry;
}

export interface Rules {
  /**
   * Changes a room's rules, and appends the change to its log, in one transaction. `decide` is asked with
   * the room locked, so nothing changes between its check and the change.
   * @throws {ChatError} NOT_FOUND where there is no such room, and whatever `decide` throws
   */
  change(
    roomId: number,
    emitter: string,
    decide: (room: RoomAccess) => RuleChange,
  ): Promise<ChangedRule>;
}

export function createRules({
  sequelize,
  models,
}: {
  sequelize: Sequelize;
  models: { rule: RuleModel };
}): Rules {
  async function apply(
    roomId: number,
    change: RuleChange,
    transaction: Transaction,
  ): Promise<{ rule: RuleRow; created: boolean }> {
    const uuid = 'set' in change ? change.set.entity_UUID : change.remove;
    const stored = await models.rule.findOne({
      where: { room_id: roomId, entity_UUID: uuid },
      transaction,
    });
    if ('set' in change) {
      const saved = stored
        ? await stored.update(change.set, { transaction })
        : await models.rule.create({ ...change.set, room_id: roomId }, { transaction });
      return { rule: saved.get(), created: stored === null };
    }
    if (stored === null) throw new ChatError('NOT_FOUND', { detail: 'there is no such rule' });
    await stored.destroy({ transaction });
    return { rule: stored.get(), created: false };
  }

  return {
    change(roomId, emitter, decide) {
      return sequelize.transaction(async (transaction) => {
        const room = await loadAccess(sequelize, models.rule, roomId, transaction);
        if (room === undefined) throw noSuchRoom();
        const change = decide(room);
        const { rule, created } = await apply(roomId, change, transaction);
        const draft: EntryDraft = {
          room_id: roomId,
          kind: 'rule',
          emitter,
          content: ruleContent('set' in change ? rule : { ...rule, permissions: '' }),
          ref: null,
        };
        const [appended] = await appendEntries(plain(sequelize, transaction), [
          { draft, rulesHead: null },
        ]);
        if (appended?.outcome !== 'stored') throw noSuchRoom();
        const { seq, createdAt } = appended;
        return { rule, created, entry: { ...draft, seq, createdAt } };
      });
    },
  };
}

function noSuchRoom(): ChatError {
  return new ChatError('NOT_FOUND', { detail: 'there is no such room' });
}
