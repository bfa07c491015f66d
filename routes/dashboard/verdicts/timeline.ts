import type * as shown from "../../../lib/admin/shown.ts";
import { counted } from "../../../lib/core/units.ts";
import { durationWords } from "../components/time.tsx";
import { cancelledWords, inWord, metTitle, plannedAttempts } from "./attempts.ts";
import type { Audience } from "../visit.ts";
import type { StateKind } from "./verdict.ts";

/** One point of a delivery's way; its times are ISO 8601. */
export interface Point {
  /** Null for one that has no time. */
  readonly at: string | null;
  readonly kind: StateKind;
  readonly title: string;
  readonly note?: string;
  /** Until the next point, in words and in milliseconds. */
  readonly wait_after?: string;
  readonly wait_ms?: number;
  readonly planned?: boolean;
}

/** Shorter waits are not worth a line, in milliseconds. */
const SHORT_MS = 2_000;

/**
 * The way of a delivery: posted, stored, its attempts with the waits between them, those that the policy plans, and
 * the end. `owed_to` is how many endpoints the event went to, or null.
 */
export function wayOf(
  delivery: shown.DeliveryDetail,
  { retry_ms, state }: Pick<shown.Endpoint, "retry_ms" | "state">,
  owed_to: number | null,
  { audience, now }: { readonly audience: Audience; readonly now: number },
): Point[] {
  const points: Point[] = [
    ...beginning(delivery, owed_to, audience),
    ...delivery.attempts.map((attempt) => attempted(attempt, audience)),
  ];
  if (delivery.sending) {
    points.push({
      at: null,
      kind: "sending",
      title: `Attempt ${delivery.attempt_count + 1}`,
      note: delivery.state === "interrupted" ? "never reported back" : "under way",
    });
  }
  if (delivery.status === "pending") {
    points.push(...plannedPoints(delivery, retry_ms, { audience, now }));
  } else {
    points.push(...ending(delivery, state !== "retired", audience));
  }
  return withWaits(points, delivery);
}

function beginning(
  delivery: shown.DeliveryDetail,
  owed_to: number | null,
  audience: Audience,
): Point[] {
  const { created_at, test, owed_by, attempts, attempt_count } = delivery;
  const missing = attempt_count - attempts.length;
  const [verb, noun] = audience === "operator" ? ["owed to", "endpoint"] : ["for", "system"];
  return [
    {
      at: created_at,
      kind: "owed",
      title: test ? "Test sent" : "Posted",
      note: test ? "by hand" : "by BookMe",
    },
    ...(owed_by !== null
      ? [{ at: null, kind: "owed", title: "Owed later", note: "by a replay" } as const]
      : owed_to === null
      ? []
      : [
        {
          at: created_at,
          kind: "owed",
          title: "Stored",
          note: `${verb} ${counted(owed_to, noun)}`,
        } as const,
      ]),
    ...(missing > 0 && !delivery.sending
      ? [
        {
          at: null,
          kind: "unused",
          title: missing === 1 ? "1 attempt" : `${missing} attempts`,
          note: "no longer kept",
        } as const,
      ]
      : []),
  ];
}

function attempted(attempt: shown.Attempt, audience: Audience): Point {
  const { number, outcome, duration_ms, started_at } = attempt;
  return {
    at: started_at,
    kind: outcome === "delivered" ? "delivered" : "failed",
    title: metTitle(attempt, audience),
    note: `attempt ${number}, ${durationWords(duration_ms)}`,
  };
}

function plannedPoints(
  delivery: shown.DeliveryDetail,
  retry_ms: readonly number[],
  { audience, now }: { readonly audience: Audience; readonly now: number },
): Point[] {
  const planned = plannedAttempts(delivery, retry_ms, now);
  const offset = delivery.attempt_count - (delivery.counted_attempts ?? 0);
  const is_held = delivery.state === "paused" || delivery.state === "unsendable";
  if (is_held) {
    const [first] = planned;
    const more = planned.length - 1;
    const when = delivery.state === "paused" ? "when it is resumed" : "when it can be sent";
    const note = when + (more > 0 ? `, and up to ${inWord(more)} more` : "");
    return first === undefined ? [] : [{
      at: null,
      kind: "waiting",
      title: `Attempt ${first.nth + offset}`,
      note,
      planned: true,
    }];
  }
  const points = planned.map(({ nth, at, is_last }, index): Point => {
    const notes = [
      ...(index === 0 && !delivery.sending ? ["next"] : []),
      ...(is_last ? ["the last"] : []),
    ];
    return {
      at,
      kind: "waiting",
      title: `Attempt ${nth + offset}`,
      ...(notes.length === 0 ? {} : { note: notes.join(", ") }),
      planned: true,
    };
  });
  if (delivery.cancelling) return [];
  return [
    ...points,
    {
      at: null,
      kind: "unused",
      title: audience === "operator" ? "Failed" : "Given up",
      note: "if that one fails too",
      planned: true,
    },
  ];
}

function ending(
  { status, ended_at, attempt_count, cancel_reason, reason }: shown.DeliveryDetail,
  can_return: boolean,
  audience: Audience,
): Point[] {
  if (status === "delivered") return [];
  const end: Point = {
    at: ended_at,
    kind: status === "failed" ? "failed" : "cancelled",
    title: status !== "failed" ? "Cancelled" : audience === "operator" ? "Failed" : "Given up",
    note: status === "failed"
      ? reason === "gone" ? "410 ends a delivery" : "attempts used up"
      : cancelledWords(cancel_reason, audience),
  };
  if (!can_return || cancel_reason === "erased") return [end];
  return [
    { ...end, wait_after: "only by hand", wait_ms: 0 },
    {
      at: null,
      kind: "unused",
      title: `Attempt ${attempt_count + 1}`,
      note: "if you retry",
      planned: true,
    },
  ];
}

/** Adds the waits between points that have times. */
function withWaits(points: readonly Point[], { attempts }: shown.DeliveryDetail): Point[] {
  const ends = new Map(attempts.map(({ started_at, ended_at }) => [started_at, ended_at]));
  return points.map((point, index) => {
    const next = points[index + 1];
    if (point.wait_after !== undefined || point.at === null || next == null || next.at === null) {
      return point;
    }
    const wait_ms = Date.parse(next.at) - Date.parse(ends.get(point.at) ?? point.at);
    if (wait_ms < SHORT_MS) return point;
    return { ...point, wait_ms, wait_after: durationWords(wait_ms) };
  });
}
