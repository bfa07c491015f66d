import * as v from "valibot";
import { type EventType, OPERATIONAL_NAMES } from "../event_types.ts";
import { type Change, END_REASONS, KINDS } from "./kinds.ts";
import { headline, isoTime, nextSteps, type Spoken, testWords } from "./words.ts";

/** Operational events: alerts for programs, signed and delivered as any event. */

/** An alert, and the owner of its endpoint. */
export interface Told {
  readonly spoken: Spoken;
  readonly business: string | null;
  /** The page about it, or null. */
  readonly link: string | null;
}

/** The type of an operational event. */
export function alertEventType(what: Change["what"]): `webhooks.alert.${Change["what"]}` {
  return `webhooks.alert.${what}`;
}

/**
 * The payload that says what has become of an alert at a time (milliseconds since 1970): `data.alert` has the members
 * of `GET /api/alerts` that do not change any more. One about a business's endpoint speaks to the business as well.
 */
export function alertEvent(told: Told, what: Change["what"], at: number): string {
  return JSON.stringify(payloadOf(told, what, at));
}

type AlertPayload = ReturnType<typeof payloadOf>;

function payloadOf({ spoken, business, link }: Told, what: Change["what"], at: number) {
  const audience = business === null ? "operator" : "business";
  const { attempts = null, failed = null, reason, code, example_delivery_id, waiting } =
    spoken.details;
  const steps = nextSteps(spoken, audience);
  return {
    event: alertEventType(what),
    timestamp: isoTime(at),
    ...(business === null ? {} : { business }),
    data: {
      alert: {
        id: spoken.id,
        kind: spoken.kind,
        status: spoken.ended_at === null ? "open" : "ended",
        endpoint_id: spoken.endpoint?.id ?? null,
        business,
        summary: headline(spoken, audience),
        began_at: isoTime(spoken.began_at),
        opened_at: isoTime(spoken.opened_at),
        ended_at: spoken.ended_at === null ? null : isoTime(spoken.ended_at),
        end_reason: spoken.end_reason,
        attempts,
        failed,
        share: attempts === null || failed === null || attempts === 0 ? null : failed / attempts,
        reason: reason ?? null,
        code: code ?? null,
        example_delivery_id: example_delivery_id ?? null,
        waiting: waiting ?? null,
        next: steps.length === 0 ? null : steps.join(". "),
        link,
      },
    },
  };
}

const SAMPLE_AT = Date.parse("2025-10-31T15:30:00Z");
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** The sample of a type: an endpoint that began to fail a quarter of an hour ago. */
export function sampleAlertEvent(what: Change["what"], at: number = SAMPLE_AT): string {
  return JSON.stringify(sampleOf(what, at));
}

/**
 * The event of a test: the sample with an id of its own, so that no receiver takes two tests for one alert, and with
 * sentences that say that nothing is wrong.
 */
export function testAlertEvent(what: Change["what"], at: number, id: string): string {
  const { data: { alert }, ...rest } = sampleOf(what, at);
  const { title: summary, lines } = testWords(null);
  return JSON.stringify({
    ...rest,
    data: { alert: { ...alert, id, summary, next: lines.join(". ") } },
  });
}

function sampleOf(what: Change["what"], at: number): AlertPayload {
  const ended = what === "ended";
  const details = {
    window_ms: 15 * MINUTE_MS,
    attempts: 340,
    failed: 312,
    reason: "http_4xx",
    code: 401,
    waiting: 214,
    exhausted_at: at + DAY_MS,
  } as const;
  const spoken: Spoken = {
    id: "alr_06h2avcncdr1726eq0zg",
    kind: "endpoint_failing",
    subject: "crm",
    endpoint: { id: "crm", description: null },
    began_at: at - 15 * MINUTE_MS,
    opened_at: at,
    ended_at: ended ? at : null,
    end_reason: ended ? "delivered" : null,
    details,
  };
  return payloadOf({ spoken, business: null, link: null }, what, at);
}

const TIME = v.pipe(v.string(), v.isoTimestamp());
const TEXT = v.nullable(v.string());
const COUNT = v.nullable(v.pipe(v.number(), v.integer()));

/** `data` of an operational event. */
const DATA = v.object({
  alert: v.object({
    id: v.string(),
    kind: v.picklist(KINDS),
    status: v.picklist(["open", "ended"]),
    endpoint_id: TEXT,
    business: TEXT,
    summary: v.string(),
    began_at: TIME,
    opened_at: TIME,
    ended_at: v.nullable(TIME),
    end_reason: v.nullable(v.picklist(END_REASONS)),
    attempts: COUNT,
    failed: COUNT,
    share: v.nullable(v.number()),
    reason: TEXT,
    code: COUNT,
    example_delivery_id: TEXT,
    waiting: COUNT,
    next: TEXT,
    link: TEXT,
  }),
});

const DESCRIPTIONS: Readonly<Record<typeof OPERATIONAL_NAMES[number], string>> = {
  "webhooks.alert.began": "Triggered when an alert of this program begins.",
  "webhooks.alert.reminded": "Triggered when an alert goes on and is announced again.",
  "webhooks.alert.ended": "Triggered when an alert ends.",
};

/** The operational event types, which operators' endpoints may select and nobody posts. */
export const OPERATIONAL_TYPES: readonly EventType[] = OPERATIONAL_NAMES.map((name) => ({
  name,
  description: DESCRIPTIONS[name],
  subject: null,
  schema: DATA,
  sample: JSON.stringify(JSON.parse(sampleAlertEvent(changeOf(name))), null, 2),
}));

/** The change that an operational event announces. */
export function changeOf(type: typeof OPERATIONAL_NAMES[number]): Change["what"] {
  return type.slice("webhooks.alert.".length) as Change["what"];
}
