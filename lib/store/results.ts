import { Buffer } from "node:buffer";
import type { Sql } from "postgres";
import { isOperational } from "../core/matching.ts";
import type { Outcome } from "../core/outcome.ts";
import type { Decision } from "../core/retry.ts";
import { bookmeMac, standardMacs } from "../core/signature.ts";
import { foreignTexts, literal, texts, uuidLiteral } from "./arrays.ts";
import { announceFleet, type Fragment, noting } from "./changes.ts";
import type { Lease } from "./claims.ts";
import { ATTEMPT_DETAILS, insertEnded, journal } from "./fragments.ts";
import { partitioned } from "./partitions.ts";

/** The part of a request that follows neither from its event nor from its endpoint. */
export interface SentRecord {
  readonly timestamp_s: number;
  /** Values of the headers; empty for an unsigned endpoint. */
  readonly signature: string;
  readonly webhook_signature: string;
}

/** An attempt's result, ready to be recorded. */
export interface Result {
  readonly lease: Lease;
  readonly endpoint_version: number;
  readonly outcome: Outcome;
  readonly decision: Decision;
  readonly sent: SentRecord | null;
  /** When the attempt ended, in milliseconds of any clock. */
  readonly ended_at: number;
  /** What it says about the 30-second promise: a sum of `PROMISE` in `core/promise.ts`. */
  readonly promise: number;
}

/** What recording did, by the UUIDs of deliveries. Those in neither list have ended. */
export interface Recorded {
  /** Their lease was lost, so nothing was written. */
  readonly lost: readonly string[];
  /** Scheduled for another attempt. */
  readonly going_on: readonly string[];
  /** Ids of endpoints that a 410 paused. */
  readonly paused: readonly string[];
}

/**
 * Records attempts and their decisions in one statement: a delivery is rescheduled, and its attempt added
 * to `attempts`, or it ends, and its row has the attempt. Writes only under the token of the present lease.
 * `now` is by the clock of `ended_at`; stored times are the database's, counted back from its own.
 *
 * They are counted in the statistics, unless they are of operational events: results of both kinds may not come
 * together.
 *
 * A 410 pauses the endpoint in the same statement, with an entry in the audit log; a pause that was automatic
 * is no longer. A delivered probe notes that the pause of its endpoint is to end: `resumeProbed` does that. A
 * probe that failed leaves its delivery due when it was. A delivery that was cancelled meanwhile ends as
 * cancelled instead of waiting for another attempt.
 */
export async function record(
  sql: Sql,
  results: readonly Result[],
  now: number,
): Promise<Recorded> {
  const ids = results.map(({ lease }) => lease.uuid);
  const goesOn = ({ decision: { verdict } }: Result) => verdict === "retry" || verdict === "kept";
  const finals = results.filter((result) => !goesOn(result));
  const retries = results.filter(goesOn);
  const rescheduling = retries.length > 0;
  const pausing = finals.some(({ outcome }) => outcome.outcome === "gone");
  const resuming = finals.some(({ lease, outcome }) =>
    lease.probe && outcome.outcome === "delivered"
  );
  const held = rescheduling ? ["ending", "going_on"] : ["ending"];
  const further = [
    `ended as (${ended(held)})`,
    ...(pausing ? [PAUSED] : []),
    ...(resuming ? [RESUMING] : []),
    ...(results.some(isCounted)
      ? [`journal as (${journal(`(${union(COUNTED, held)}) held`)})`]
      : []),
  ];
  // One row for all results, because most need no mention. Each result's many columns pass through as few
  // CTEs as possible: every one copies them. CTEs that these results do not need are left out: starting
  // them costs a third of the statement.
  const [recorded] = await partitioned(sql, ids, () =>
    sql<Recorded[]>`
    with ending as (
      delete from pending_deliveries p using ${rowsOf(sql, finals, now)} r
      where p.id = r.id and ${sql.unsafe(STILL_HELD)}
      returning ${sql.unsafe(HELD)},
        case r.outcome when 'delivered' then 'delivered' else 'failed' end as final
    ), ${rescheduling ? rescheduled(sql, rowsOf(sql, retries, now)) : sql``}
    ${sql.unsafe(further.join(", "))}
    select
      case when (select count(*) from (${sql.unsafe(union("", held))}) held) < ${ids.length}::int
        then (
          select coalesce(json_agg(id), '[]') from unnest(${uuidLiteral(ids)}::uuid[]) r (id)
          where id not in (${sql.unsafe(union("id", held))}))
        else '[]' end as lost,
      ${sql.unsafe(rescheduling ? GOING_ON : "'[]'::json")} as going_on,
      ${sql.unsafe(pausing ? "coalesce((select json_agg(id) from paused), '[]')" : "'[]'::json")}
        as paused,
      ${sql.unsafe(noting("(select streamed_until from fleet)", union("id", held)))}
    ${sql.unsafe(pausing ? "from (select) one left join announced on true" : "")}`);
  if (recorded === undefined) throw new Error("Recording came back empty");
  return recorded;
}

function isCounted({ lease }: Result): boolean {
  return !isOperational(lease.type);
}

/** The CTEs that `rows`, results to be tried again, need. Those that were cancelled meanwhile end. */
function rescheduled(sql: Sql, rows: Fragment): Fragment {
  return sql`
    going_on as materialized (
      -- Locked before the reason is read: another statement may be cancelling it.
      select ${
    sql.unsafe(HELD)
  }, case when p.cancel_reason is not null then 'cancelled' end as final
      from ${rows} r join pending_deliveries p on p.id = r.id
      where ${sql.unsafe(STILL_HELD)}
      for update of p
    ), removed as (
      delete from pending_deliveries
      where id = any(array(select id from going_on where final is not null))
    ), kept as (
      update pending_deliveries p
      set due_at = coalesce(h.ended_at + h.wait_ms * interval '1 ms', p.regular_due_at),
        leased_until = null, regular_due_at = null, attempts = h.attempts, counted = h.counted, interruptions = h.interruptions,
        last_outcome = h.outcome, last_status = h.status, last_attempt_at = h.ended_at
      from going_on h where h.final is null and p.id = h.id
    ), logged as (
      insert into attempts (delivery_id, number, endpoint_no, outcome, status, ended_at,
        ${sql.unsafe(ATTEMPT_DETAILS)})
      select id, attempts, endpoint_no, outcome, status, ended_at, ${sql.unsafe(ATTEMPT_DETAILS)}
      from going_on where final is null
    ),`;
}

/** The CTEs that a 410 needs, which ends its delivery and pauses its endpoint. */
const PAUSED = `
    paused as (
      update endpoints set paused_at = coalesce(paused_at, now()),
        pause_reason = 'The endpoint answered 410 Gone', paused_by = 'gone', probe_at = null,
        updated_at = now()
      where no = any(array(select endpoint_no from ending where outcome = 'gone'))
        and (paused_at is null or paused_by = 'automatic')
      returning id, pause_reason
    ), audited as (
      insert into audit (actor, action, object, after)
      select 'the dispatcher', 'endpoint.paused', id, jsonb_build_object('reason', pause_reason)
      from paused
    ), ${announceFleet("paused")}`;

/** The CTE that delivered probes need. Somebody may have paused or resumed the endpoint meanwhile. */
const RESUMING = `
    resuming as (
      insert into resumptions (endpoint_no)
      select e.endpoint_no from ending e join endpoints n on n.no = e.endpoint_no
      where e.probe and e.outcome = 'delivered' and n.paused_by = 'automatic' and n.retired_at is null
      on conflict do nothing
    )`;

/** A table expression: a row per result. */
function rowsOf(sql: Sql, results: readonly Result[], now: number): Fragment {
  const outcomes = results.map((r) => r.outcome);
  return sql`(
      select id, token, endpoint_version, counts, wait_ms, duration_us, lag_us, promise, outcome,
        status, cause, address, request_timestamp, decode(signature, 'hex') as request_signature,
        decode(webhook_signature, 'base64') as request_webhook_signature, response_head,
        decode(response_body, 'hex') as response_body,
        coalesce(response_truncated, false) as response_truncated, dns_us, connect_us, tls_us,
        waiting_us, connection_reused,
        'epoch'::timestamptz + certificate_ends_ms * interval '1 ms' as certificate_ends_at
      from unnest(
        ${uuidLiteral(results.map((r) => r.lease.uuid))}::uuid[],
        ${literal(results.map((r) => r.lease.token))}::int[],
        ${literal(results.map((r) => r.endpoint_version))}::int[],
        ${literal(results.map((r) => countsOf(r.decision)))}::int[],
        ${literal(results.map((r) => waitOf(r.decision)))}::bigint[],
        ${literal(outcomes.map((o) => Math.ceil(o.duration_ms * 1000)))}::bigint[],
        ${literal(results.map((r) => Math.floor((now - r.ended_at) * 1000)))}::bigint[],
        ${literal(results.map((r) => r.promise))}::smallint[],
        string_to_array(${texts(outcomes.map((o) => o.outcome))}, chr(30)),
        ${literal(outcomes.map((o) => o.status))}::smallint[],
        string_to_array(${foreignTexts(outcomes.map((o) => o.cause))}, chr(30), ''),
        string_to_array(${texts(outcomes.map((o) => o.address))}, chr(30), ''),
        ${literal(results.map((r) => r.sent?.timestamp_s ?? null))}::bigint[],
        string_to_array(${
    texts(results.map((r) => bookmeMac(r.sent?.signature ?? "")))
  }, chr(30), ''),
        string_to_array(${
    texts(results.map((r) => standardMacs(r.sent?.webhook_signature ?? "")))
  }, chr(30), ''),
        string_to_array(${foreignTexts(outcomes.map((o) => o.response?.head ?? null))},
          chr(30), ''),
        string_to_array(${texts(outcomes.map((o) => hexOf(o.response?.body)))}, chr(30), ''),
        ${literal(outcomes.map((o) => o.response?.truncated || null))}::boolean[],
        ${literal(outcomes.map((o) => microseconds(o.phases.dns_ms)))}::int[],
        ${literal(outcomes.map((o) => microseconds(o.phases.connect_ms)))}::int[],
        ${literal(outcomes.map((o) => microseconds(o.phases.tls_ms)))}::int[],
        ${literal(outcomes.map((o) => microseconds(o.phases.waiting_ms)))}::int[],
        ${literal(outcomes.map((o) => o.phases.reused))}::boolean[],
        ${literal(outcomes.map((o) => o.certificate_ends_at))}::bigint[]
      ) as r (id, token, endpoint_version, counts, wait_ms, duration_us, lag_us, promise,
        outcome, status, cause, address, request_timestamp, signature, webhook_signature,
        response_head, response_body, response_truncated, dns_us, connect_us, tls_us, waiting_us,
        connection_reused, certificate_ends_ms)
    )`;
}

/** Whether delivery p is still under the lease of result r. */
const STILL_HELD = "p.token = r.token and p.leased_until is not null";

/** Columns that recording needs of a result r and its delivery p. */
const HELD = `
  r.*, p.endpoint_no, p.created_at, p.cancel_reason, p.owed_by,
  coalesce(p.renewed_at, p.created_at) as owed_at, p.regular_due_at is not null as probe,
  p.attempts + 1 as attempts, p.counted + coalesce(r.counts, 0) as counted,
  p.interruptions + coalesce(1 - r.counts, 0) as interruptions,
  now() - r.lag_us * interval '1 us' as ended_at,
  now() - (r.lag_us + r.duration_us) * interval '1 us' as started_at`;

/** Columns of the attempts that were recorded, for the statistics. */
const COUNTED = "endpoint_no, outcome, attempts, duration_us, lag_us, promise, ended_at, owed_at";

const GOING_ON = "coalesce((select json_agg(id) from going_on where final is null), '[]')";

/** These columns of the rows of several CTEs. */
function union(columns: string, ctes: readonly string[], where = "true"): string {
  return ctes.map((cte) => `select ${columns} from ${cte} where ${where}`).join(" union all ");
}

/** Ends the rows of these CTEs that have a final status. */
function ended(ctes: readonly string[]): string {
  return insertEnded(`(${union("*", ctes, "final is not null")}) held`, {
    status: "final",
    reason: "case final when 'cancelled' then cancel_reason end",
    ended_at: "ended_at",
  });
}

// Of a delivery that ends neither is needed, of a failed probe neither changes: columns of nulls cost nothing.
function waitOf(decision: Decision): number | null {
  return decision.verdict === "retry" ? Math.ceil(decision.wait_ms) : null;
}

function countsOf(decision: Decision): number | null {
  return decision.verdict === "retry" ? Number(decision.counts) : null;
}

/** The longest phase that the columns can hold, in microseconds: more than half an hour. */
const MAX_PHASE_US = 2 ** 31 - 1;

// Rounded down, so that the phases together never exceed the duration, which is rounded up.
function microseconds(ms: number | null): number | null {
  return ms === null ? null : Math.min(Math.floor(ms * 1000), MAX_PHASE_US);
}

function hexOf(bytes: Uint8Array | undefined): string | null {
  if (bytes === undefined || bytes.length === 0) return null;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
