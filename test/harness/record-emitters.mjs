// Preloaded into a node (`node --import`): records every emitter that its process creates. Over the IPC channel it
// lists the live ones without a listener for `error`, and has all emitters of a class emit one.
import { EventEmitter } from 'node:events';

const emitters = new Set();
const { init } = EventEmitter;

EventEmitter.init = function (...args) {
  init.apply(this, args);
  emitters.add(new WeakRef(this));
};

function* live() {
  for (const reference of emitters) {
    const emitter = reference.deref();
    if (emitter === undefined) emitters.delete(reference);
    // A destroyed stream emits nothing more.
    else if (emitter.destroyed !== true) yield [nameOf(emitter), emitter];
  }
}

/** ioredis mixes in EventEmitter with its constructor. */
function nameOf(emitter) {
  return typeof emitter.publish === 'function' ? 'Redis' : emitter.constructor.name;
}

process.on('message', ({ id, fail }) => {
  const answer = {};
  for (const [name, emitter] of live()) {
    const count = (answer[name] ??= { all: 0, bare: 0, failed: 0 });
    count.all += 1;
    if (emitter.listenerCount('error') === 0) count.bare += 1;
    if (!fail?.includes(name)) continue;
    emitter.emit('error', Object.assign(new Error('made up'), { code: 'EMADEUP' }));
    count.failed += 1;
  }
  process.send({ id, answer });
});
// The listener must not keep the process alive.
process.channel.unref();
