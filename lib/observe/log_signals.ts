import type { Log } from "./log.ts";
import type { Signals } from "./signals.ts";
import { follow, type Trouble } from "./trouble.ts";

/**
 * Writes to the log which endpoints start to fail, keep failing and recover. `now` gives milliseconds
 * since 1970. Remembers endpoints in use that fail or recently did, and no others.
 */
export function logSignals(
  { attempted, endpoints_changed }: Pick<Signals, "attempted" | "endpoints_changed">,
  log: Log,
  now: () => number,
): void {
  const troubles = new Map<number, Trouble>();
  attempted.on((attempt) => {
    const { endpoint_no } = attempt;
    const before = troubles.get(endpoint_no);
    const { trouble, line } = follow(before, attempt, now());
    if (trouble === undefined) troubles.delete(endpoint_no);
    else if (trouble !== before) troubles.set(endpoint_no, trouble);
    if (line !== undefined) log[line.level](line.message, line.fields);
  });
  endpoints_changed.on(({ endpoints }) => {
    const used = new Set(endpoints.map(({ no }) => no));
    for (const no of troubles.keys()) if (!used.has(no)) troubles.delete(no);
  });
}
