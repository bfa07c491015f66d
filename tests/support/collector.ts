import { until } from "./wait.ts";

/** A span as exported. */
export interface ExportedSpan {
  readonly scope: string;
  readonly name: string;
  readonly trace_id: string;
  readonly span_id: string;
  /** Null for the first span of a trace. */
  readonly parent_id: string | null;
  /** `server` or `client`; else OpenTelemetry's number. */
  readonly kind: string;
  readonly failed: boolean;
  readonly took_ms: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly links: readonly { readonly trace_id: string; readonly span_id: string }[];
}

/** An OTLP receiver on loopback. */
export interface Collector extends AsyncDisposable {
  /** Variables with which a process sends its traces here, and what Deno makes of its console. */
  readonly env: Readonly<Record<string, string>>;
  readonly spans: readonly ExportedSpan[];
  /** All bodies so far as text, whatever they report. */
  readonly text: string;
  /** Paths of the bodies, `/v1/traces`. */
  readonly paths: ReadonlySet<string>;
  /** Waits for `count` spans for which `holds`. */
  recorded(count: number, holds: (span: ExportedSpan) => boolean): Promise<ExportedSpan[]>;
}

// As OTLP has them in JSON.
interface Resources {
  readonly resourceSpans?: readonly {
    readonly scopeSpans: readonly {
      readonly scope: { readonly name: string };
      readonly spans: readonly RawSpan[];
    }[];
  }[];
}

interface RawSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly {
    readonly key: string;
    readonly value: Readonly<Record<string, string | number | boolean>>;
  }[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly status: { readonly code: number };
}

/** Starts a collector. */
export function startCollector(): Collector {
  const texts: string[] = [];
  const paths = new Set<string>();
  const spans: ExportedSpan[] = [];
  const place = { hostname: "127.0.0.1", port: 0, onListen() {} };
  const server = Deno.serve(place, async (request) => {
    const text = await request.text();
    texts.push(text);
    paths.add(new URL(request.url).pathname);
    spans.push(...readSpans(JSON.parse(text)));
    return Response.json({});
  });
  return {
    env: {
      OTEL_DENO: "true",
      // A Deno 2.9.6 that ends while it exports its metrics hangs now and then.
      OTEL_DENO_METRICS: "false",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${server.addr.port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_BSP_SCHEDULE_DELAY: "50",
      OTEL_BLRP_SCHEDULE_DELAY: "50",
    },
    spans,
    get text() {
      return texts.join("\n");
    },
    paths,
    recorded: (count, holds) =>
      until(`${count} spans: ${holds}`, () => {
        const found = spans.filter(holds);
        if (found.length >= count) return found;
        throw new Error(Deno.inspect(spans));
      }),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function readSpans({ resourceSpans = [] }: Resources): ExportedSpan[] {
  return resourceSpans.flatMap(({ scopeSpans }) =>
    scopeSpans.flatMap(({ scope, spans }) => spans.map((span) => readSpan(scope.name, span)))
  );
}

function readSpan(scope: string, span: RawSpan): ExportedSpan {
  const ids = ({ traceId, spanId }: Pick<RawSpan, "traceId" | "spanId">) => ({
    trace_id: traceId,
    span_id: spanId,
  });
  const { startTimeUnixNano: start, endTimeUnixNano: end } = span;
  return {
    scope,
    name: span.name,
    ...ids(span),
    parent_id: span.parentSpanId || null,
    kind: { 2: "server", 3: "client" }[span.kind] ?? String(span.kind),
    failed: span.status.code === 2,
    took_ms: Number(BigInt(end) - BigInt(start)) / 1e6,
    attributes: Object.fromEntries(
      span.attributes.map(({ key, value }) => [key, Object.values(value)[0] ?? ""]),
    ),
    links: span.links.map(ids),
  };
}
