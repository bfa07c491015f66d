/** Numbers that only grow from the start of the process; `/metrics` shows them. */
export interface Counters {
  /** Adds one to the counter `name` under `label`. */
  count(name: CounterName, label: string): void;
  /** Every counter that is not zero. */
  read(): readonly { readonly name: CounterName; readonly label: string; readonly value: number }[];
}

/**
 * `ingest_refused`: refused posts, by the code of the answer. `http_refused`: malformed requests, by
 * their mistake. No label comes from a client, so their number is bounded.
 */
export type CounterName = "ingest_refused" | "http_refused";

/** Counters at zero. */
export function makeCounters(): Counters {
  const values = new Map<CounterName, Map<string, number>>();
  return {
    count(name, label) {
      let labels = values.get(name);
      if (labels === undefined) values.set(name, labels = new Map());
      labels.set(label, (labels.get(label) ?? 0) + 1);
    },
    read: () =>
      [...values].flatMap(([name, labels]) =>
        [...labels].map(([label, value]) => ({ name, label, value }))
      ),
  };
}
