/**
 * The program's reports about itself: a few typed signals, each emitted at the one place where it
 * happens, never inside a transaction. Listeners run at once, in the order they subscribed; they must
 * be quick and not throw.
 */

import type { Decision } from "../core/retry.ts";

/** The value of each signal: ids, counts and reasons only, never a payload or a secret. */
export interface SignalValues {
  /** An event was stored, or recognised as a duplicate of one. */
  readonly ingested: {
    readonly type: string;
    readonly test: boolean;
    readonly duplicate: boolean;
    readonly deliveries: number;
  };
  /** A post (`ingest`) or a request's shape (`http`) was refused, with the code of the answer. */
  readonly refused:
    | { readonly by: "http"; readonly code: string }
    | {
      readonly by: "ingest";
      readonly code: string;
      /** The client's address, or null if unknown. */
      readonly address: string | null;
      /** Whether the post had an `X-BookMe-Signature`. */
      readonly signed: boolean;
    };
  /** A post was answered. `ages_ms`: how old the events were that it stored or repeated; empty if it was refused. */
  readonly posted: { readonly duration_ms: number; readonly ages_ms: readonly number[] };
  /** Deliveries were claimed. */
  readonly claimed: { readonly count: number; readonly duration_ms: number };
  /** An attempt ended, before its result is recorded. `outcome` is one of `core/outcome.ts`. */
  readonly attempted: {
    readonly endpoint_no: number;
    readonly endpoint: string;
    readonly outcome: string;
    readonly status: number | null;
    readonly cause: string | null;
    readonly duration_ms: number;
    readonly test: boolean;
    /** Of the delivery, from 1. */
    readonly attempt: number;
  };
  /** An attempt's result was recorded. */
  readonly recorded: {
    readonly endpoint_no: number;
    /** One of `core/outcome.ts`. */
    readonly outcome: string;
    /** The decision: `kept` follows a failed probe. */
    readonly verdict: Decision["verdict"];
    /** How that ended the delivery; null if it goes on. */
    readonly status: "delivered" | "failed" | "cancelled" | null;
    /** Of the delivery, from 1. */
    readonly attempt: number;
    readonly duration_ms: number;
    /** From when the delivery is owed to the attempt's end. */
    readonly age_ms: number;
    /** A sum of `PROMISE` in `core/promise.ts`. */
    readonly promise: number;
    /** Whether its event is an operational one: the statistics leave these out. */
    readonly operational: boolean;
  };
  /** Deliveries of an endpoint ended without an attempt. */
  readonly ended: {
    readonly endpoint_no: number;
    readonly status: "failed" | "cancelled";
    readonly count: number;
  };
  /** An attempt's result was not recorded: its lease belongs to another process by now. */
  readonly lease_lost: { readonly endpoint_no: number; readonly delivery: string };
  /** The stored endpoints changed, and this process uses them now. */
  readonly endpoints_changed: {
    readonly revision: string;
    /** All endpoints now in use. */
    readonly endpoints: readonly { readonly no: number; readonly id: string }[];
  };
  /** A statement failed on a connection that works, because of the database; `cause` is the error's message. */
  readonly statement_failed: {
    readonly part: "ingest" | "engine" | "api";
    readonly cause: string;
  };
  /** A maintenance job ran; `count` rows were changed. */
  readonly maintained: {
    readonly job: string;
    readonly count: number;
    readonly duration_ms: number;
    /** The error's message, or null if it succeeded. */
    readonly failure: string | null;
  };
}

/** One signal. */
export interface Signal<Value> {
  /** Whether anybody listens. A hot path looks here before it builds a value. */
  readonly heard: boolean;
  emit(value: Value): void;
  /** Calls `listener` with each value from now on; the function returned ends that. */
  on(listener: (value: Value) => void): () => void;
}

/** Every signal of the program. */
export type Signals = { readonly [Name in keyof SignalValues]: Signal<SignalValues[Name]> };

/** Signals without listeners. */
export function makeSignals(): Signals {
  return {
    ingested: makeSignal(),
    refused: makeSignal(),
    posted: makeSignal(),
    claimed: makeSignal(),
    attempted: makeSignal(),
    recorded: makeSignal(),
    ended: makeSignal(),
    lease_lost: makeSignal(),
    endpoints_changed: makeSignal(),
    statement_failed: makeSignal(),
    maintained: makeSignal(),
  };
}

function makeSignal<Value>(): Signal<Value> {
  const listeners = new Set<(value: Value) => void>();
  return {
    get heard() {
      return listeners.size > 0;
    },
    emit(value) {
      for (const listener of listeners) listener(value);
    },
    on(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
