/** W3C Trace Context, level 1: the header `traceparent`, which says to which trace a request belongs. */

/** What a `traceparent` names. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly trace_id: string;
  /** 16 hexadecimal digits. */
  readonly span_id: string;
  /** Whether its sender records the trace: who continues it does the same. */
  readonly sampled: boolean;
}

// Later versions may add fields after those of version 00. Version ff is forbidden.
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Parses a `traceparent`. Answers undefined for a malformed one, which is to be ignored. */
export function parseTraceparent(text: string): TraceContext | undefined {
  const [, version, trace_id = "", span_id = "", flags = "", more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || (version === "00" && more !== undefined)) return undefined;
  if (/^0+$/.test(trace_id) || /^0+$/.test(span_id)) return undefined;
  return { trace_id, span_id, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** The `traceparent` of a context: version 00, with no flag but `sampled`. */
export function formatTraceparent({ trace_id, span_id, sampled }: TraceContext): string {
  return `00-${trace_id}-${span_id}-0${sampled ? 1 : 0}`;
}
