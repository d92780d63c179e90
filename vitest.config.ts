import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, longest first: one that began last would run on alone. */
const LONGEST = [
  'journeys/proof',
  'journeys/stuck-readers',
  'journeys/bad-input-socket',
  'store/migrate',
  'store/embedded-disk',
  'journeys/process',
  'journeys/stuck-requests',
  'http/connections',
  'journeys/going-down',
  'journeys/bad-input-http',
  'journeys/half-open',
].map((name) => `/test/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const placeOf = ({ moduleId }: TestSpecification): number => {
      const place = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return place === -1 ? LONGEST.length : place;
    };
    return Promise.resolve(files.toSorted((a, b) => placeOf(a) - placeOf(b)));
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/harness/global-setup.ts'],
    testTimeout: 20_000,
    hookTimeout: 30_000,
    // Most files wait for much of their time: for deadlines, and for processes of their own.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
  },
});
