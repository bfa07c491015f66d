import type { Sql } from "postgres";

/** What of an endpoint is stored beside its address and selection. */
export interface Settings {
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  readonly concurrency: number | null;
  readonly rate_limit_per_s: number | null;
  readonly unsigned: boolean;
  readonly description: string | null;
  /** Names of its further request headers: values may be credentials. */
  readonly headers: readonly string[];
}

/** An endpoint of the file's, as it is stored: no secret, no header value. */
export interface FileEndpoint {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly businesses: readonly string[] | null;
  readonly settings: Settings;
}

/** An endpoint as the database has it. */
export interface StoredEndpoint extends FileEndpoint {
  readonly no: number;
  readonly source: "file" | "api";
  readonly version: number;
  readonly paused_at: string | null;
  readonly pause_reason: string | null;
}

/** All endpoints that are not retired, as of one revision. */
export interface StoredFleet {
  readonly revision: string;
  readonly endpoints: readonly StoredEndpoint[];
}

/** Reads the endpoints in force, in the order of their ids. */
export async function loadFleet(sql: Sql): Promise<StoredFleet> {
  const [row] = await sql<{ revision: string; endpoints: StoredEndpoint[] }[]>`
    select revision, coalesce((
      select json_agg(json_build_object(
        'no', no, 'id', id, 'source', source, 'url', url, 'events', events,
        'businesses', businesses, 'settings', settings, 'version', version,
        'paused_at', paused_at, 'pause_reason', pause_reason) order by id)
      from endpoints where retired_at is null), '[]') as endpoints
    from fleet`;
  if (row === undefined) throw new Error("The table fleet is empty");
  return row;
}

/** What `syncFile` did, by endpoint id. */
export interface SyncResult {
  readonly changed: readonly string[];
  readonly retired: readonly string[];
}

/**
 * Makes the stored endpoints of the file equal to those given, in one statement: adds, changes
 * (a new version each), brings back, and retires what is not there any more. Leaves pauses alone.
 */
export async function syncFile(
  sql: Sql,
  endpoints: readonly FileEndpoint[],
): Promise<SyncResult> {
  const rows = await sql<{ id: string; what: "changed" | "retired" }[]>`
    with given as materialized (
      select g.id, g.url, g.settings,
        array(select jsonb_array_elements_text(g.events)) as events,
        case when jsonb_typeof(g.businesses) = 'array'
          then array(select jsonb_array_elements_text(g.businesses)) end as businesses
      from jsonb_to_recordset(${JSON.stringify(endpoints)}::text::jsonb)
        as g (id text, url text, events jsonb, businesses jsonb, settings jsonb)
    ), changed as (
      insert into endpoints as e (id, source, url, events, businesses, settings)
      select id, 'file', url, events, businesses, settings from given
      on conflict (id) do update set url = excluded.url, events = excluded.events,
        businesses = excluded.businesses, settings = excluded.settings,
        version = e.version + 1, retired_at = null, updated_at = now()
      where e.source = 'file' and (e.retired_at is not null or
        (e.url, e.events, e.businesses, e.settings) is distinct from
        (excluded.url, excluded.events, excluded.businesses, excluded.settings))
      returning no, id, version, url, settings
    ), retired as (
      update endpoints set retired_at = now(), updated_at = now()
      where source = 'file' and retired_at is null and id not in (select id from given)
      returning id
    ), versions as (
      insert into endpoint_versions (endpoint_no, version, url, headers)
      select no, version, url, settings -> 'headers' from changed
    ), what as (
      select id, 'changed' as what from changed union all select id, 'retired' from retired
    ), revised as (
      update fleet set revision = revision + 1 where exists (select from what)
    ), told as materialized (
      select pg_notify('bookme_webhooks', 'fleet') where exists (select from what)
    )
    select what.* from what left join told on true`;
  const ids = (what: string) => rows.filter((row) => row.what === what).map((row) => row.id);
  return { changed: ids("changed"), retired: ids("retired") };
}
