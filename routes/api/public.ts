import * as v from "valibot";
import { described, identifier, oneOf } from "../../lib/admin/fields.ts";
import * as shown from "../../lib/admin/shown.ts";
import type { ErrorCode } from "../../lib/core/errors.ts";
import { EVENT_NAME, EVENT_TYPES, type Subject } from "../../lib/core/event_types.ts";
import { MAX_EVENTS } from "../../lib/core/payload.ts";
import { VERSION } from "../../lib/core/version.ts";
import * as example from "./examples.ts";

/** What the document says of the routes outside `/api`, whose handlers do without `perform`. */

type Schema = v.GenericSchema;

/** A body, of a request or a response. */
export interface Content {
  readonly type: string;
  readonly schema: Schema;
  /** By name. */
  readonly examples: Readonly<Record<string, unknown>>;
}

/** An operation as the document describes it. */
export interface PublicOperation {
  readonly id: string;
  readonly method: "get" | "post";
  readonly path: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Security schemes, one of which is enough; null stands for none. */
  readonly security: readonly ("token" | "signature" | null)[];
  readonly headers?: Readonly<Record<string, { readonly description: string }>>;
  readonly bodies?: readonly Content[];
  readonly answers:
    readonly (Content & { readonly status: number; readonly description: string })[];
  /** Codes that it refuses with, and when. */
  readonly refuses: Readonly<Partial<Record<ErrorCode, string>>>;
}

const time = v.pipe(v.string(), v.isoTimestamp());
const DOCUMENTED = EVENT_TYPES.map(({ name }) => name);

// The handler looks the name up among the types in force.
const CUSTOM_NAME = v.string();

/** JSON Schemas of the schemas here that valibot can only check in code. */
export const WRITTEN_OUT: ReadonlyMap<unknown, Record<string, unknown>> = new Map([
  [CUSTOM_NAME, {
    type: "string",
    pattern: EVENT_NAME.source,
    not: { anyOf: [{ enum: DOCUMENTED }, { pattern: "^webhooks\\." }] },
  }],
]);

function eventOf(event: Schema, data: Schema) {
  return v.looseObject({
    event,
    timestamp: described(time, "When it happened; an offset from UTC is fine"),
    data,
    id: v.optional(described(v.nullable(identifier), "By which a repetition is recognised")),
    business: v.optional(
      described(v.nullable(identifier), "The event's business, if `data` names none"),
    ),
  });
}

function documentedOf(subject: Subject) {
  const types = EVENT_TYPES.filter((type) => type.subject === subject);
  const [{ schema } = { schema: v.unknown() }] = types;
  return eventOf(oneOf(types.map(({ name }) => name)), schema);
}

const BookingEvent = documentedOf("appointment");
const BusinessEvent = documentedOf("business");
const ServiceEvent = documentedOf("service");
const CustomEvent = described(
  eventOf(CUSTOM_NAME, v.looseObject({})),
  "Of a type that the configuration adds: GET /api/event-types has the schema of its data",
);
const Event = v.union([BookingEvent, BusinessEvent, ServiceEvent, CustomEvent]);

/** Events as BookMe posts them, by their names in the document; further members pass. */
export const POSTED = { BookingEvent, BusinessEvent, ServiceEvent, CustomEvent, Event } as const;

const Events = v.pipe(v.array(Event), v.minLength(1), v.maxLength(MAX_EVENTS));

const [SAMPLE = ""] = EVENT_TYPES.map(({ sample }) => sample);
const single = JSON.parse(SAMPLE) as unknown;
const accepted: shown.Accepted = { id: example.EVENT_ID, deliveries: 2, duplicate: false };
const repeated: shown.Accepted = { ...accepted, duplicate: true };
const Answer = v.union([shown.Accepted, v.array(shown.Accepted)]);

const ready: shown.Readiness = {
  status: "ok",
  checks: { database: "ok", dispatcher: "ok", disk: "ok" },
};

function json(schema: Schema, examples: Content["examples"]): Content {
  return { type: "application/json", schema, examples };
}

/** Refusals of pages that need a token unless `admin.public` opens them. */
const CLOSED = {
  unauthorized: "No token, or a wrong one",
  not_found: "A portal link's token",
  too_many_requests: "Too many wrong tokens from this address",
  unavailable: "The database that knows portal links cannot be used now",
};

/** The operations outside `/api`. */
export const PUBLIC_OPERATIONS: readonly PublicOperation[] = [
  {
    id: "ingest",
    method: "post",
    path: "/ingest",
    tag: "Ingest",
    summary: "Accepts BookMe's events: one, or up to 1,000 at once",
    description:
      "Answers once the events and what they owe are committed: all, or none. Payloads " +
      "are kept and delivered byte for byte. Only addresses of ip_ranges may post.",
    security: ["signature", null],
    headers: {
      "Idempotency-Key": {
        description: "Recognises a repetition of this request by the same bytes",
      },
      "X-BookMe-Business": {
        description: "The business of events that name none; one that contradicts them is a 422",
      },
    },
    bodies: [
      json(v.union([Event, Events]), { one: single, several: [single] }),
      {
        type: "application/x-ndjson",
        schema: described(v.string(), `One event per line, at most ${MAX_EVENTS}`),
        examples: { lines: `${JSON.stringify(single)}\n` },
      },
    ],
    answers: [
      {
        status: 202,
        description: "Stored. An array or lines are answered with an array, in their order",
        ...json(Answer, { one: accepted, several: [accepted] }),
      },
      {
        status: 200,
        description: "All were stored before, with the same bytes: the first answer again",
        ...json(Answer, { one: repeated, several: [repeated] }),
      },
    ],
    refuses: {
      malformed: "The body is not JSON in UTF-8; the detail has line and column",
      unauthorized: "ingest.secret is set, and X-BookMe-Signature is missing or wrong",
      forbidden: "The address is not in the ip_ranges in force",
      loop: "X-BookMe-Delivery-Id marks a delivery of this program that came back",
      conflict: "This id or Idempotency-Key came with other bytes before",
      too_large: `More than ingest.max_body, or more than ${MAX_EVENTS} events`,
      unsupported_media_type:
        "Neither application/json nor application/x-ndjson, another charset than UTF-8, or compressed",
      invalid:
        "Mistakes in the events or headers; `errors` has a pointer for each. Nothing is stored",
      unavailable:
        "The database is away, its disk is low, or too many bytes are in flight; send it again",
    },
  },
  {
    id: "getLiveness",
    method: "get",
    path: "/livez",
    tag: "Health",
    summary: "Answers while the process runs",
    security: [],
    answers: [{
      status: 200,
      description: "It runs",
      ...json(shown.Liveness, { ok: { status: "ok", version: VERSION } }),
    }],
    refuses: {},
  },
  {
    id: "getReadiness",
    method: "get",
    path: "/readyz",
    tag: "Health",
    summary: "Answers whether database, dispatcher and disk work",
    security: [],
    answers: [
      { status: 200, description: "They work", ...json(shown.Readiness, { ready }) },
      {
        status: 503,
        description: "One does not, or the daemon is stopping",
        ...json(shown.Readiness, {
          away: {
            status: "unavailable",
            checks: { ...ready.checks, database: "connection refused" },
          },
        }),
      },
    ],
    refuses: {},
  },
  {
    id: "getIpRanges",
    method: "get",
    path: "/ip-ranges",
    tag: "Health",
    summary: "Lists the networks that deliveries come from, for receivers' allowlists",
    security: [],
    answers: [{
      status: 200,
      description: "Those of the environment in force",
      ...json(shown.IpRanges, {
        development: { environment: "development", ip_ranges: ["192.168.1.0/24"] },
      }),
    }],
    refuses: {},
  },
  {
    id: "getMetrics",
    method: "get",
    path: "/metrics",
    tag: "Operation",
    summary: "Shows the metrics, in Prometheus' text format",
    description: "Without a token if admin.public has `metrics`. docs/metrics.md lists them.",
    security: ["token", null],
    answers: [{
      status: 200,
      description: "Version 0.0.4 of the format",
      type: "text/plain",
      schema: v.string(),
      examples: {
        shortened:
          "# HELP bookme_webhooks_ready 1 if /readyz answers 200\n# TYPE bookme_webhooks_ready gauge\n" +
          "bookme_webhooks_ready 1\n",
      },
    }],
    refuses: CLOSED,
  },
  {
    id: "getOpenApi",
    method: "get",
    path: "/openapi.json",
    tag: "Operation",
    summary: "Shows this document",
    description: "Without a token if admin.public has `openapi`.",
    security: ["token", null],
    answers: [{
      status: 200,
      description: "OpenAPI 3.1",
      ...json(v.record(v.string(), v.unknown()), { shortened: { openapi: "3.1.0" } }),
    }],
    refuses: { ...CLOSED, misdirected: "The Host is not this program's" },
  },
];
