import { NO_PHASES, type Outcome } from "../../lib/core/outcome.ts";

/** An outcome of which nothing but its name and status is to be told, and what `more` says. */
export function plainOutcome(
  outcome: Outcome["outcome"],
  status: number | null,
  more: Partial<Outcome> = {},
): Outcome {
  return {
    outcome,
    status,
    cause: null,
    duration_ms: 0,
    phases: NO_PHASES,
    certificate_ends_at: null,
    retry_after_ms: null,
    address: null,
    response: null,
    ...more,
  };
}
