/** Numbers that only grow, from the start of the process on; `/metrics` shows them. */
export interface Counters {
  /** Adds one to the counter `name`; `label` says which of its kinds. */
  count(name: CounterName, label: string): void;
  /** Every counter that is not zero. */
  read(): readonly { readonly name: CounterName; readonly label: string; readonly value: number }[];
}

/**
 * `ingest_refused`: posts that were refused, by the code of the answer. `http_refused`: requests of a
 * shape that is not taken, by its mistake. Labels are ours, never a client's: their number is bounded.
 */
export type CounterName = "ingest_refused" | "http_refused";

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
