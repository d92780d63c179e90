import { describe, expect, it } from 'vitest';
import { Ledger } from './ledger.js';
import { OpenCommands } from './open-commands.js';

/** The commands that are not settled. */
function unsettled({ commands }: Ledger): string[] {
  return commands.filter(({ settledAt }) => settledAt === undefined).map(({ what }) => what);
}

function open(): { ledger: Ledger; commands: OpenCommands } {
  const ledger = new Ledger();
  return { ledger, commands: new OpenCommands(ledger, 'node 1') };
}

describe('the open commands of a socket', () => {
  it('are settled by their answers, each by its own', () => {
    const { ledger, commands } = open();
    expect(unsettled(ledger)).toEqual(['connect']);
    commands.greeted();
    commands.tokenSent();
    commands.selectSent();
    commands.tokenAnswered();
    expect(unsettled(ledger)).toEqual(['select_room']);
    commands.selectAnswered();
    commands.sent('a1');
    commands.sent('a2');
    commands.answered('a2');
    expect(unsettled(ledger)).toEqual(['a1']);
    expect(commands.oldestAt).toBe(ledger.commands.find(({ what }) => what === 'a1')?.at);
    commands.answered('a1');
    expect(unsettled(ledger)).toEqual([]);
    expect(commands.oldestAt).toBe(Infinity);
  });

  it('are settled when the connection ends', () => {
    const { ledger, commands } = open();
    commands.greeted();
    commands.sent('a1');
    commands.selectSent();
    commands.closed();
    expect(unsettled(ledger)).toEqual([]);
  });

  it('keep a message that is unanswered when a later command is answered', () => {
    const { ledger, commands } = open();
    commands.greeted();
    commands.sent('a1');
    commands.sent('a2');
    commands.messageWithoutRoom();
    commands.selectSent();
    commands.sent('a3');
    commands.selectAnswered();
    expect(unsettled(ledger)).toEqual(['a2', 'a3']);
    commands.closed();
    expect(unsettled(ledger)).toEqual(['a2']);
  });
});
