import type { StateKind } from "../verdicts/verdict.ts";
import { Shape } from "./state.tsx";
import type { Content } from "./text.tsx";
import { Moment } from "./time.tsx";

/** What happened, or is planned. */
export interface Step {
  /** ISO 8601; null if it has no time. */
  readonly at: string | null;
  readonly kind: StateKind;
  /** The outcome, bold: `401`. */
  readonly title: Content;
  /** After it: `attempt 1, 84 ms`. */
  readonly note?: Content;
  /** How long until the next step, in words. */
  readonly wait_after?: string;
  /** The same in milliseconds: a longer wait takes more height. */
  readonly wait_ms?: number;
  readonly planned?: boolean;
}

/** Time, rail, event; waits in between. Planned steps have a dashed rail. */
export function Timeline({ steps }: { readonly steps: readonly Step[] }) {
  return (
    <ol class="timeline">
      {steps.map(({ at, kind, title, note, wait_after, wait_ms = 0, planned = false }, index) => {
        const next_planned = steps[index + 1]?.planned === true;
        const is_last = index === steps.length - 1;
        return (
          <>
            <li class={`step${planned ? " planned" : ""}${is_last ? " last" : ""}`}>
              <span class="at">{at === null ? null : <Moment at={at} style="step" />}</span>
              <Shape kind={kind} />
              <span class="what">
                <strong>{title}</strong>
                {note === undefined || note === null ? null : <span class="rest">{" "}{note}</span>}
              </span>
            </li>
            {wait_after === undefined || is_last
              ? null
              : (
                <li class={`wait h${waitHeight(wait_ms)}${next_planned ? " planned" : ""}`}>
                  <span class="what">{wait_after}</span>
                </li>
              )}
          </>
        );
      })}
    </ol>
  );
}

/** Height of a wait in pixels, in steps of 8 between 24 and 72: it grows with each tenfold. */
export function waitHeight(wait_ms: number): number {
  const tenfolds = Math.log10(Math.max(1, wait_ms / 30_000));
  return 24 + 8 * Math.min(6, Math.max(0, Math.round(tenfolds * 1.75)));
}
