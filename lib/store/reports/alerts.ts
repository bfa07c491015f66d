import type { Sql } from "postgres";
import type { Change, Details, EndReason, Kind } from "../../core/alerting/kinds.ts";
import type { Scope } from "../../core/scope.ts";
import { texts, uuidLiteral } from "../arrays.ts";
import type { Fragment } from "../changes.ts";
import { actorInScope } from "../scope.ts";
import { type Page, pageOf, type Paging } from "./page.ts";

/** An alert, without what was sent about it. */
export interface AlertRow {
  readonly uuid: string;
  readonly kind: Kind;
  readonly subject: string;
  /** Id and description of the endpoint that it is about, or null. */
  readonly endpoint: string | null;
  readonly description: string | null;
  readonly business: string | null;
  readonly began_at: Date;
  readonly opened_at: Date;
  readonly ended_at: Date | null;
  readonly end_reason: EndReason | null;
  readonly details: Details;
  readonly acknowledged_at: Date | null;
  readonly acknowledged_by: string | null;
  readonly snoozed_until: Date | null;
}

/** Something that was said about an alert, or will be. */
export interface NoticeRow {
  readonly what: Change["what"];
  readonly target: string;
  /** When it arrived, was given up, or was to be sent; in milliseconds since 1970. */
  readonly at_ms: number;
  /** Whether it arrived; null while that is tried. */
  readonly ok: boolean | null;
  /** Why the last attempt failed. */
  readonly cause: string | null;
}

/** An alert with what was sent about it, the newest first. */
export interface ToldAlert extends AlertRow {
  readonly notices: readonly NoticeRow[];
}

/** Narrows a list of alerts; its key is an alert's UUID. */
export interface AlertFilter extends Paging {
  readonly status: "open" | "ended" | "all";
  readonly endpoint_no?: number | undefined;
  readonly kind?: Kind | undefined;
}

const COLUMNS = `a.id as uuid, a.kind, a.subject, n.id as endpoint,
  n.settings ->> 'description' as description, a.business, a.began_at, a.opened_at, a.ended_at,
  a.end_reason, a.details, a.acknowledged_at, a.snoozed_until`;

/** Notices of one alert that are shown. */
export const MAX_NOTICES = 50;

/** Alerts, newest first. */
export async function listAlerts(
  sql: Sql,
  scope: Scope,
  { status, endpoint_no, kind, before, limit }: AlertFilter,
): Promise<Page<ToldAlert>> {
  const rows = await sql<ToldAlert[]>`
    ${told(sql, scope)}
    where true ${alertInScope(sql, scope)}
      ${status === "all" ? sql`` : sql`and (a.ended_at is null) = ${status === "open"}`}
      ${endpoint_no === undefined ? sql`` : sql`and a.endpoint_no = ${endpoint_no}`}
      ${kind === undefined ? sql`` : sql`and a.kind = ${kind}`}
      ${before === undefined ? sql`` : sql`and a.id < ${before}::uuid`}
    order by a.id desc limit ${limit + 1}`;
  return pageOf(rows, limit, (row) => row.uuid);
}

/** One alert, or undefined. */
export async function getAlert(
  sql: Sql,
  scope: Scope,
  uuid: string,
): Promise<ToldAlert | undefined> {
  const [row] = await sql<ToldAlert[]>`
    ${told(sql, scope)} where a.id = ${uuid}::uuid ${alertInScope(sql, scope)}`;
  return row;
}

/** Those of these alerts that are there, newest first. */
export async function alertsById(
  sql: Sql,
  scope: Scope,
  uuids: readonly string[],
): Promise<AlertRow[]> {
  return await sql<AlertRow[]>`
    ${plain(sql, scope)} where a.id = any(${uuidLiteral(uuids)}::uuid[]) ${alertInScope(sql, scope)}
    order by a.id desc`;
}

/** An open alert as sentences about it are made of, and how many there are. */
export interface OpenRow extends
  Pick<
    AlertRow,
    "uuid" | "kind" | "subject" | "endpoint" | "description" | "began_at" | "opened_at" | "details"
  > {
  /** Whether somebody looks after it, or it is to be quiet for now. */
  readonly is_quiet: boolean;
  /** Of all open ones, of which no more than `counted` are looked at. */
  readonly open: number;
  readonly loud: number;
}

/**
 * The first `limit` open alerts: quiet ones last, then by the order of `kinds`, then the oldest. An index has only the
 * open ones, of which `counted` are read.
 */
export async function openAlerts(
  sql: Sql,
  scope: Scope,
  kinds: readonly Kind[],
  { counted, limit }: { readonly counted: number; readonly limit: number },
): Promise<OpenRow[]> {
  return await sql<OpenRow[]>`
    with open as materialized (
      select a.*, a.acknowledged_at is not null or coalesce(a.snoozed_until > now(), false) as is_quiet
      from alerts a where a.ended_at is null ${alertInScope(sql, scope)} limit ${counted}
    )
    select o.id as uuid, o.kind, o.subject, n.id as endpoint,
      n.settings ->> 'description' as description, o.began_at, o.opened_at, o.details, o.is_quiet,
      (count(*) over ())::int as open, (count(*) filter (where not o.is_quiet) over ())::int as loud
    from open o left join endpoints n on n.no = o.endpoint_no
    order by o.is_quiet, array_position(string_to_array(${
    texts(kinds)
  }, chr(30)), o.kind), o.began_at
    limit ${limit}`;
}

/** Alerts about an endpoint that were open at a time from `since` (ISO 8601) on, newest first. */
export async function alertsOfEndpoint(
  sql: Sql,
  scope: Scope,
  endpoint: string,
  since: string,
  limit: number,
): Promise<AlertRow[]> {
  return await sql<AlertRow[]>`
    ${plain(sql, scope)}
    where a.endpoint_no = (select e.no from endpoints e where e.id = ${endpoint})
      and coalesce(a.ended_at, now()) >= ${since}::text::timestamptz ${alertInScope(sql, scope)}
    order by a.id desc limit ${limit}`;
}

function plain(sql: Sql, scope: Scope): Fragment {
  return sql`
    select ${sql.unsafe(COLUMNS)}, ${
    actorInScope(sql, scope, "a.acknowledged_by")
  } as acknowledged_by
    from alerts a left join endpoints n on n.no = a.endpoint_no`;
}

/** The same with its notices. To whom an operator's go is not for a business. */
function told(sql: Sql, scope: Scope): Fragment {
  return sql`
    select ${sql.unsafe(COLUMNS)}, ${
    actorInScope(sql, scope, "a.acknowledged_by")
  } as acknowledged_by, (
        select coalesce(json_agg(json_build_object('what', t.what, 'target', t.target,
          'at_ms', extract(epoch from coalesce(t.done_at, t.failed_at, t.due_at)) * 1000,
          'ok', case when t.done_at is not null then true when t.failed_at is not null then false end,
          'cause', t.cause) order by t.no desc), '[]')
        from (
          select * from alert_notices x where x.alert_id = a.id
            ${scope === "everything" ? sql`` : sql`and x.target = 'business-mail'`}
          order by x.no desc limit ${MAX_NOTICES}
        ) t
      ) as notices
    from alerts a left join endpoints n on n.no = a.endpoint_no`;
}

/** Keeps the alerts `a` of the scope's business. */
function alertInScope(sql: Sql, scope: Scope): Fragment {
  return scope === "everything" ? sql`` : sql`and a.business = ${scope.business}`;
}
