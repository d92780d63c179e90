import { describe, expect, it } from 'vitest';
import { Inbox } from '../../src/chat/inbox.js';

function createSource(): { paused: boolean; pause(): void; resume(): void } {
  return {
    paused: false,
    pause() {
      this.paused = true;
    },
    resume() {
      this.paused = false;
    },
  };
}

describe('an inbox', () => {
  it('handles one frame at a time, in order', async () => {
    const handled: string[] = [];
    const inbox = new Inbox<number>(createSource(), 10, async (frame) => {
      handled.push(`begin ${frame}`);
      await new Promise(setImmediate);
      handled.push(`end ${frame}`);
    });
    for (const frame of [1, 2, 3]) inbox.push(frame);
    await turns(10);
    expect(handled).toEqual(['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 3', 'end 3']);
  });

  it('pauses its source when it is full, and resumes it when every frame is handled', async () => {
    const source = createSource();
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const inbox = new Inbox<number>(source, 3, () => gate);
    for (const frame of [1, 2, 3]) inbox.push(frame);
    expect(source.paused).toBe(false);
    inbox.push(4);
    expect(source.paused).toBe(true);
    expect(inbox.isPaused).toBe(true);
    open();
    await turns(10);
    expect(source.paused).toBe(false);
  });

  it('yields to others after each frame that waits only for promises', async () => {
    const handled: number[] = [];
    const inbox = new Inbox<number>(createSource(), 5, async (frame) => {
      await Promise.resolve();
      handled.push(frame);
    });
    for (const frame of [1, 2, 3]) inbox.push(frame);
    await turns(1);
    expect(handled.length).toBeLessThan(3);
    await turns(3);
    expect(handled).toEqual([1, 2, 3]);
  });

  it('yields to others after a number of frames, and drops waiting frames when cleared', async () => {
    let handled = 0;
    const inbox = new Inbox<number>(createSource(), 5, () => {
      handled += 1;
    });
    for (let frame = 0; frame < 12; frame += 1) inbox.push(frame);
    expect(handled).toBe(5);
    await turns(2);
    expect(handled).toBe(12);
    for (let frame = 0; frame < 12; frame += 1) inbox.push(frame);
    const before = handled;
    inbox.clear();
    await turns(5);
    expect(handled).toBe(before);
  });
});

async function turns(count: number): Promise<void> {
  for (let turns = 0; turns < count; turns += 1) await new Promise(setImmediate);
}
