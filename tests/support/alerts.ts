import type { Sql } from "postgres";
import type { Details, EndReason, Kind } from "../../lib/core/alerting/kinds.ts";
import { alertId, makeEventIds } from "../../lib/core/ids.ts";

/** An alert as a test wants it. Times are minutes before the database's now. */
export interface PutAlert {
  readonly kind: Kind;
  /** Id of the endpoint that it is about; its owner sees the alert too. */
  readonly endpoint?: string;
  /** What else it is about; for one about an endpoint, its id. */
  readonly subject?: string;
  readonly began: number;
  readonly ended?: { readonly ago: number; readonly reason: EndReason };
  readonly details?: Details;
  readonly acknowledged_by?: string;
  /** For how many minutes it is still to be quiet. */
  readonly snoozed?: number;
  /** Those to whom its beginning was announced: whether it arrived. */
  readonly told?: Readonly<Record<string, boolean>>;
}

/**
 * Stops judging for good: no daemon gets the turn any more. To be called while nothing is wrong, so that a turn
 * that is under way has nothing to open.
 */
export async function stopJudging(sql: Sql): Promise<void> {
  // Without its row there is no turn. A time in the future would not do: it counts as a clock that was set back.
  await sql`delete from alerting`;
}

const ids = makeEventIds(() => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);

/** Puts an alert into the database, each with a later id than those before. Returns its id. */
export async function putAlert(sql: Sql, alert: PutAlert): Promise<string> {
  const { kind, endpoint = null, subject = endpoint ?? "", began, ended } = alert;
  const { details = {}, acknowledged_by = null, snoozed = null, told = {} } = alert;
  const [clock] = await sql<{ now: number }[]>`
    select (extract(epoch from now()) * 1000)::float8 as now`;
  const uuid = ids.next(clock?.now ?? 0);
  const ago = (minutes: number | null) => sql`now() - ${minutes}::float8 * interval '1 minute'`;
  await sql`
    with put as (
      insert into alerts (id, kind, subject, endpoint_no, business, began_at, opened_at, ended_at,
        end_reason, details, acknowledged_at, acknowledged_by, snoozed_until)
      select ${uuid}::uuid, ${kind}, ${subject}, n.no, n.owner, ${ago(began)},
        ${ago(Math.max(ended?.ago ?? 0, began - 1))}, ${ago(ended?.ago ?? null)},
        ${ended?.reason ?? null}, ${JSON.stringify(details)}::text::jsonb,
        case when ${acknowledged_by}::text is not null then now() end, ${acknowledged_by},
        now() + ${snoozed}::float8 * interval '1 minute'
      from (select) one left join endpoints n on n.id = ${endpoint}
      returning id, details, opened_at
    )
    insert into alert_notices (alert_id, occasion, what, target, details, created_at, attempts,
      tried_at, done_at, failed_at, cause)
    select p.id, 1, 'began', t.key, p.details, p.opened_at, 1, p.opened_at,
      case when t.value::bool then p.opened_at end, case when not t.value::bool then p.opened_at end,
      case when not t.value::bool then 'The chat answered 404' end
    from put p cross join lateral jsonb_each_text(${JSON.stringify(told)}::text::jsonb) t`;
  return alertId(uuid);
}
