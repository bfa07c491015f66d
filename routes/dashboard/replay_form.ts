import { ReplayInput } from "../../lib/admin/inputs.ts";
import { replayMistakes } from "../../lib/admin/replays.ts";
import { validBody } from "../../lib/admin/validate.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { RouteContext } from "../context.ts";
import { readTime } from "./delivery_filters.ts";
import type { Visit } from "./visit.ts";

/** The fields that select what a replay sends, as typed. */
export const FIELDS = [
  "endpoint",
  "status",
  "type",
  "reason",
  "code",
  "since",
  "until",
  "rate",
] as const;
/** One of them. */
export type Field = typeof FIELDS[number];

/** The values of the fields; empty for nothing. */
export type Typed = Readonly<Record<Field, string>>;

/** The kinds of deliveries that a form offers, besides lists of statuses. */
export const KINDS = [
  "failed",
  "cancelled",
  "failed,cancelled",
  "delivered",
  "pending",
  "missing",
] as const;

/** How far back a replay goes by default; by the default policy a delivery fails 31 hours after it was posted. */
const WINDOW = "3d";
/** Waiting deliveries are few, however old. */
const ANY_TIME = "all";

/** The fields of a form or an address. Several statuses are one value with commas; `missing=true` is one, too. */
export function readTyped(valuesOf: (name: string) => readonly string[]): Typed {
  const given = (name: string) => valuesOf(name)[0]?.trim() ?? "";
  const listed = valuesOf("status").map((one) => one.trim()).filter((one) => one !== "").join(",");
  const status = given("missing") === "true" ? "missing" : listed === "" ? "" : listed;
  return {
    endpoint: given("endpoint"),
    status,
    type: given("type"),
    reason: given("reason"),
    code: given("code"),
    since: given("since"),
    until: given("until"),
    rate: given("rate"),
  };
}

/** The same, with the values that empty fields stand for. */
export function withDefaults(typed: Typed): Typed {
  const status = typed.status === "" && typed.reason === "" ? "failed" : typed.status;
  return {
    ...typed,
    status,
    since: typed.since !== "" ? typed.since : status === "pending" ? ANY_TIME : WINDOW,
  };
}

/** A selection that was read, with its times settled: counting it and making it mean the same. */
export interface Settled {
  readonly input: ReplayInput;
  /** The fields as they have to be posted for it. */
  readonly typed: Typed;
}

/**
 * The replay that the fields ask for at this moment, checked as the API checks it. Throws an `AppError` whose mistakes
 * name the fields.
 */
export async function readReplay(ctx: RouteContext, visit: Visit, typed: Typed): Promise<Settled> {
  const { by, now } = visit;
  const wrong = new Map<string, string>();
  const { status, since, until, ...rest } = withDefaults(typed);
  const first = since === ANY_TIME
    ? "1970-01-01T00:00:00.000Z"
    : readTime("since", since, now, wrong);
  const last = until === "" ? new Date(now).toISOString() : readTime("until", until, now, wrong);
  const filled = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== ""));
  const errors = [...wrong].map(([name, message]) => ({ pointer: `/${name}`, message }));
  const body = {
    ...filled,
    ...(status === "missing" ? { missing: true } : status === "" ? {} : {
      status: status.split(","),
    }),
    // Only to have the other fields checked as well.
    since: first ?? "1970-01-01T00:00:00.000Z",
    ...(last === undefined ? {} : { until: last }),
  };
  const rules = async (sound: Partial<ReplayInput>) => [
    ...errors,
    ...(await replayMistakes(ctx, by, sound)).filter(({ pointer }) => !wrong.has(pointer.slice(1))),
  ];
  const input = await validBody(ReplayInput, rules, body);
  const mistakes = await rules(input);
  if (mistakes.length > 0) {
    throw new AppError("invalid", "The replay cannot be counted", { errors: mistakes });
  }
  return { input, typed: { ...typed, status, since: input.since, until: input.until ?? "" } };
}

/** The query that brings the fields back. */
export function queryOf(typed: Partial<Typed>): string {
  return new URLSearchParams(
    Object.entries(typed).filter(([, value]) => value !== ""),
  ).toString();
}
