import {
  cancelDeselected,
  forgetNarrowed,
  type Narrowed,
  narrowedEndpoints,
} from "../store/deliveries.ts";
import { reportEnded } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** Deliveries that one step reads, and cancels at most. */
const STEP = 2_000;
/** Most steps of one run, so that it ends; the next run goes on. */
const MAX_STEPS = 200;

/** A pass over all pending deliveries, for the endpoints that were narrowed when it began. */
interface Pass {
  readonly narrowed: readonly Narrowed[];
  position: string | null;
}

/**
 * Cancels pending deliveries that their endpoint ceased to select. An endpoint has two passes: one at
 * once, and one when no statement is left that may store an event by its former selection.
 */
export function deselectedDeliveries(): Job {
  const passed = new Map<number, string>();
  let pass: Pass | undefined;
  return {
    name: "deselected deliveries",
    pattern: "*/5 * * * * *",
    done: "Deliveries cancelled: their endpoints no longer select them",
    async run({ db: { admin }, signals }, stopping) {
      let cancelled = 0;
      for (let i = 0; i < MAX_STEPS && !stopping.aborted; i++) {
        pass ??= nextPass(await narrowedEndpoints(admin), passed);
        if (pass === undefined) break;
        const step = await cancelDeselected(admin, pass.position, STEP);
        cancelled += reportEnded(signals, step);
        const stalled = step.position !== null && step.position === pass.position;
        pass.position = step.position;
        if (step.position === null) {
          for (const { no, at } of pass.narrowed) passed.set(no, at);
          await forgetNarrowed(admin, pass.narrowed.filter(({ is_settled }) => is_settled));
          pass = undefined;
        } else if (stalled) break;
      }
      return cancelled;
    },
  };
}

function nextPass(narrowed: readonly Narrowed[], passed: Map<number, string>): Pass | undefined {
  const isDue = ({ no, at, is_settled }: Narrowed) => is_settled || passed.get(no) !== at;
  for (const no of passed.keys()) if (!narrowed.some((one) => one.no === no)) passed.delete(no);
  return narrowed.some(isDue) ? { narrowed, position: null } : undefined;
}
