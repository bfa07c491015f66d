/**
 * Traces, by the runtime's own OpenTelemetry exporter. Whether, where to and what share of them is the
 * matter of Deno's environment variables (`OTEL_DENO_TRACING`, `OTEL_EXPORTER_OTLP_ENDPOINT` …). No
 * attribute has a payload, a business, a subject, a header or more of a URL than its host.
 */

import type * as Api from "@opentelemetry/api";
import type { Attributes, Context, Span, SpanOptions, Tracer } from "@opentelemetry/api";
import { formatTraceparent, parseTraceparent, type TraceContext } from "../core/traceparent.ts";
import { VERSION } from "../core/version.ts";

/** Records the way of events: a span of each post, and one of each attempt. */
export interface Tracing {
  /**
   * Begins the span of a post that came `ago_ms` ago with the `traceparent` `came`, which it continues, or
   * without one. Undefined if too many spans were recorded just now.
   */
  ingest(ago_ms: number, came: string | null): Recording<PostFacts> | undefined;
  /**
   * Begins the span of an attempt of an event whose post had `trace`. The first attempt of a delivery
   * continues that trace; later ones, which may come days later, begin their own, with a link to it. Undefined if
   * too many spans were recorded just now.
   */
  attempt(trace: string | null, is_first: boolean): Recording<AttemptFacts> | undefined;
}

/** A span under way. Of a trace that its beginner does not record, it records nothing. */
export interface Recording<Facts> {
  /** For what the span leads to. */
  readonly traceparent: string;
  end(facts: Facts): void;
}

/** An answered post, which was allowed and could be read. */
export interface PostFacts {
  readonly status: number;
  /** Code of the error it was answered with, or null. */
  readonly code: string | null;
  readonly events: number;
  /** The event, if it was stored and is the only one. */
  readonly event?: { readonly id: string; readonly type: string } | undefined;
}

/** An attempt that has ended. */
export interface AttemptFacts {
  readonly type: string;
  /** `evt_…`, `dlv_…`. */
  readonly event_id: string;
  readonly delivery_id: string;
  readonly endpoint_id: string;
  /** From 1. */
  readonly attempt: number;
  readonly host: string;
  readonly outcome: string;
  /** Of the response, or null without one. */
  readonly status: number | null;
}

/** Where Deno offers its tracer to `@opentelemetry/api`, if it traces. An executable always does. */
const OFFERED = Symbol.for("opentelemetry.js.api.1");

interface Offered {
  readonly trace?: { getTracer(name: string, version: string): Tracer };
}

/**
 * Starts tracing if the environment asks for it; else it answers undefined and loads nothing. To be called
 * once, before any request: it takes the spans away that Deno records of every request by itself, in and
 * out, because they have whole URLs, and with them searches and the tokens of portal links.
 */
export async function startTracing(
  env: (name: string) => string | undefined,
): Promise<Tracing | undefined> {
  const offered = (globalThis as Record<symbol, Offered | undefined>)[OFFERED]?.trace;
  if (offered === undefined) return undefined;
  const startSpan = takeOver(offered.getTracer("bookme-webhooks", VERSION));
  if (!isAskedFor(env)) return undefined;
  // A sampler that the environment names decides alone.
  const limit = (env("OTEL_TRACES_SAMPLER") ?? "") === "" ? SPANS_PER_S : Infinity;
  return makeTracing(await import("@opentelemetry/api"), startSpan, makeBudget(limit));
}

/** What costs no rate. A span of each attempt takes a fifth off it at full load. */
const SPANS_PER_S = 500;

/** Answers whether one more may be recorded: `limit` of them in each second. `now` is in milliseconds. */
export function makeBudget(
  limit: number,
  now: () => number = () => performance.now(),
): () => boolean {
  let began_at = now();
  let left = limit;
  return () => {
    const at = now();
    if (at - began_at >= 1000) {
      began_at = at;
      left = limit;
    }
    if (left === 0) return false;
    left--;
    return true;
  };
}

/** As Deno decides it for `deno run`. For an executable it decided when that was compiled. */
function isAskedFor(env: (name: string) => string | undefined): boolean {
  const isSet = (text = "") => /^(1|true)$/i.test(text);
  return isSet(env("OTEL_DENO_TRACING") ?? env("OTEL_DENO")) && !isSet(env("OTEL_SDK_DISABLED"));
}

function makeTracing(
  api: typeof Api,
  startSpan: Tracer["startSpan"],
  mayRecord: () => boolean,
): Tracing {
  const remote = ({ trace_id, span_id }: TraceContext) => ({
    traceId: trace_id,
    spanId: span_id,
    traceFlags: api.TraceFlags.SAMPLED,
    isRemote: true,
  });

  function begin(name: string, options: SpanOptions, parent: TraceContext | undefined): Span {
    const context = parent === undefined
      ? api.ROOT_CONTEXT
      : api.trace.setSpanContext(api.ROOT_CONTEXT, remote(parent));
    return startSpan(name, options, context);
  }

  function end(span: Span, attributes: () => Attributes, failed: boolean): void {
    // Not if the sampler left it out.
    if (span.isRecording()) {
      span.setAttributes(attributes());
      if (failed) span.setStatus({ code: api.SpanStatusCode.ERROR });
    }
    span.end();
  }

  return {
    ingest(ago_ms, came) {
      const parent = came === null ? undefined : parseTraceparent(came);
      if (parent?.sampled === false) return unrecorded(parent);
      if (!mayRecord()) return undefined;
      const options = { kind: api.SpanKind.SERVER, startTime: Date.now() - ago_ms };
      const span = begin("ingest", options, parent);
      return {
        traceparent: traceparentOf(span),
        end: (facts) => end(span, () => attributesOfPost(facts), facts.status >= 500),
      };
    },
    attempt(trace, is_first) {
      const post = trace === null ? undefined : parseTraceparent(trace);
      if (post?.sampled === false) return unrecorded(post);
      if (!mayRecord()) return undefined;
      const options = { kind: api.SpanKind.CLIENT, startTime: Date.now() };
      let span: Span | undefined;
      // Not before somebody asks: a span that is kept as long as the attempt takes costs more.
      const begun = () =>
        span ??= is_first || post === undefined
          ? begin("attempt", options, post)
          : begin("attempt", { ...options, links: [{ context: remote(post) }] }, undefined);
      return {
        get traceparent() {
          return traceparentOf(begun());
        },
        end: (facts) =>
          end(begun(), () => attributesOfAttempt(facts), facts.outcome !== "delivered"),
      };
    },
  };
}

/**
 * The tracer's `startSpan`. From now on every other caller gets a span that is none: the runtime's own
 * instrumentation, which has no switch, uses the same class.
 */
function takeOver(tracer: Tracer): Tracer["startSpan"] {
  const shared: Pick<Tracer, "startSpan"> = Object.getPrototypeOf(tracer);
  if (!Object.hasOwn(shared, "startSpan")) {
    throw new Error(
      "This Deno's tracer cannot be kept from recording URLs; unset its OTEL_ variables",
    );
  }
  const { startSpan } = shared;
  shared.startSpan = () => NOTHING;
  return (name: string, options?: SpanOptions, context?: Context) =>
    startSpan.call(tracer, name, options, context);
}

const NOTHING: Span = {
  spanContext: () => ({ traceId: "0".repeat(32), spanId: "0".repeat(16), traceFlags: 0 }),
  setAttribute: () => NOTHING,
  setAttributes: () => NOTHING,
  addEvent: () => NOTHING,
  addLink: () => NOTHING,
  addLinks: () => NOTHING,
  setStatus: () => NOTHING,
  updateName: () => NOTHING,
  end() {},
  isRecording: () => false,
  recordException() {},
};

function unrecorded(context: TraceContext): Recording<unknown> {
  return { traceparent: formatTraceparent(context), end() {} };
}

function traceparentOf(span: Span): string {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return formatTraceparent({ trace_id: traceId, span_id: spanId, sampled: (traceFlags & 1) === 1 });
}

function attributesOfPost({ status, code, events, event }: PostFacts): Attributes {
  return {
    "http.request.method": "POST",
    "http.response.status_code": status,
    "bookme.events": events,
    ...(event === undefined
      ? {}
      : { "bookme.event.id": event.id, "bookme.event.type": event.type }),
    ...(code === null ? {} : { "error.type": code }),
  };
}

// Each attribute costs a microsecond, so what is as usual has none: a first attempt, and success.
function attributesOfAttempt(facts: AttemptFacts): Attributes {
  const attributes: Attributes = {
    "bookme.event.type": facts.type,
    "bookme.event.id": facts.event_id,
    "bookme.delivery.id": facts.delivery_id,
    "bookme.endpoint.id": facts.endpoint_id,
    "server.address": facts.host,
  };
  if (facts.status !== null) attributes["http.response.status_code"] = facts.status;
  if (facts.attempt > 1) attributes["http.request.resend_count"] = facts.attempt - 1;
  if (facts.outcome !== "delivered") attributes["error.type"] = facts.outcome;
  return attributes;
}
