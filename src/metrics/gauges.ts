import { Gauge, type GaugeConfiguration, type Registry } from 'prom-client';

/** Adds gauges whose values are read at each scrape: between two scrapes they cost nothing. */
export class Gauges {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** Adds a gauge of one value. */
  add(name: string, help: string, read: () => number): void {
    this.addLabelled({
      name,
      help,
      collect() {
        this.set(read());
      },
    });
  }

  /** Adds a gauge with labels, which sets its values in `collect`. */
  addLabelled<Label extends string>(gauge: Omit<GaugeConfiguration<Label>, 'registers'>): void {
    this.#registry.registerMetric(new Gauge({ ...gauge, registers: [] }));
  }
}
