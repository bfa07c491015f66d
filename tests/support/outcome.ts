import { INTERRUPTED, type Outcome } from "../../lib/core/outcome.ts";

/** An outcome of which nothing but its name and status is to be told, and what `more` says. */
export function plainOutcome(
  outcome: Outcome["outcome"],
  status: number | null,
  more: Partial<Outcome> = {},
): Outcome {
  return { ...INTERRUPTED, outcome, status, cause: null, ...more };
}
