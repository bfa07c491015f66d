import type { Signals } from "../../lib/observe/signals.ts";

/** Counts refusals from now on, by their code. */
export function countRefusals({ refused }: Pick<Signals, "refused">, of: "ingest" | "http") {
  const counts: Record<string, number> = {};
  refused.on(({ by, code }) => {
    if (by === of) counts[code] = (counts[code] ?? 0) + 1;
  });
  return counts;
}
