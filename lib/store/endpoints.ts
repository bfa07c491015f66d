import { Buffer } from "node:buffer";
import type { Sql } from "postgres";
import type { Config, Retention } from "../config/config.ts";
import { type SealedContent, type SealKey, unseal } from "../core/seal.ts";
import type { TlsShown } from "../core/tls_settings.ts";
import { literal, texts } from "./arrays.ts";
import {
  type Actor,
  announceFleet,
  type Change,
  CHANNEL,
  DAEMONS,
  type Fragment,
  logged,
} from "./changes.ts";
import { type Cancels, countCancels } from "./fragments.ts";

/** Settings of an endpoint besides its address and selection. */
export interface Settings {
  /** Null, here and in `retry_ms`: the value of the configuration's `delivery`. */
  readonly timeout_ms: number | null;
  readonly retry_ms: readonly number[] | null;
  readonly concurrency: number | null;
  readonly rate_limit_per_s: number | null;
  readonly unsigned: boolean;
  readonly description: string | null;
  /** Names of its own request headers: values may be credentials. */
  readonly headers: readonly string[];
  /** Whether its requests carry the `traceparent` of their attempt. */
  readonly traceparent: boolean;
  /** Its own certificates; the texts may have a key. */
  readonly tls: TlsShown | null;
}

/** The fields of an endpoint that its maker chooses: no secret, no header value. */
export interface EndpointFields {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly businesses: readonly string[] | null;
  readonly settings: Settings;
}

/** An endpoint as stored. */
export interface StoredEndpoint extends EndpointFields {
  readonly no: number;
  readonly source: "file" | "api";
  /** The business that made it and whose events alone it selects; null: an operator's. */
  readonly owner: string | null;
  readonly version: number;
  readonly paused_at: Date | null;
  readonly pause_reason: string | null;
  /** An automatic pause ends by itself; null without a pause. */
  readonly paused_by: "hand" | "gone" | "automatic" | null;
  /** When a pause ended last; null if none has. */
  readonly resumed_at: Date | null;
  /** When a delivery is next sent to try whether an automatic pause may end; null for any other. */
  readonly probe_at: Date | null;
  readonly retired_at: Date | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  /** Made by `seal`, in hexadecimal digits. Null for the endpoints of the file. */
  readonly sealed: string | null;
  /** Of an endpoint of the file: the digest of its secrets, header values and TLS, else null. */
  readonly credentials: string | null;
}

/** The columns of a `StoredEndpoint`, of the table `endpoints` or a CTE of its rows. */
export const ENDPOINT_COLUMNS = `no, id, source, url, array_to_json(events) as events,
  array_to_json(businesses) as businesses, owner, settings, encode(sealed, 'hex') as sealed,
  credentials, version, paused_at, pause_reason, paused_by, resumed_at, probe_at,
  retired_at, created_at, updated_at`;

/** The sealed content of an endpoint made through the API. Throws an `AppError` if no key opens it. */
export function openSealed(
  endpoint: Pick<StoredEndpoint, "id" | "sealed">,
  keys: readonly SealKey[],
): SealedContent {
  if (endpoint.sealed === null) return { secrets: [], headers: {}, tls: {} };
  return unseal(Buffer.from(endpoint.sealed, "hex"), endpoint.id, keys);
}

/** What the file in force decides for all daemons, besides its endpoints. */
export interface FilePolicy {
  /** Of endpoints without their own, as is `retry_ms`. */
  readonly timeout_ms: number;
  readonly retry_ms: readonly number[];
  readonly retention: Retention;
  readonly alerts: AlertPolicy;
}

/** What every daemon judges by and announces to. The targets' URLs stay in the file. */
export interface AlertPolicy
  extends
    Pick<Config["alerts"], "failure_rate" | "window_ms" | "min_attempts" | "to" | "auto_pause_ms"> {
  /** Names of the chat targets. */
  readonly chat: readonly string[];
  readonly mail: boolean;
}

/** All endpoints that are not retired, as of one revision. */
export interface StoredFleet {
  readonly revision: string;
  /** Null before the first file is in force. */
  readonly policy: FilePolicy | null;
  readonly endpoints: readonly StoredEndpoint[];
}

/** Reads the endpoints in force, in the order of their ids. */
export async function loadFleet(sql: Sql): Promise<StoredFleet> {
  const rows = await sql<(StoredEndpoint & Omit<StoredFleet, "endpoints">)[]>`
    select fleet.revision, policy, e.*
    from fleet cross join file_in_force
    left join (
      select ${sql.unsafe(ENDPOINT_COLUMNS)} from endpoints where retired_at is null
    ) e on true
    order by id`;
  const [first] = rows;
  if (first === undefined) throw new Error("The table fleet or file_in_force is empty");
  const { revision, policy } = first;
  // Without any endpoint, the revision comes with a row of nulls.
  return { revision, policy, endpoints: rows.filter(({ no }) => no !== null) };
}

/** A configuration file as the database keeps it. */
export interface StoredFile {
  readonly digest: string;
  readonly policy: FilePolicy;
  readonly endpoints: readonly (EndpointFields & Pick<StoredEndpoint, "credentials">)[];
}

/** An endpoint of the file that `syncFile` writes. */
export interface Synced extends Cancels {
  readonly id: string;
  readonly what: "added" | "changed" | "retired";
  /** As it was, and as it is; null while it is none. */
  readonly before: Omit<EndpointFields, "id"> | null;
  readonly after: Omit<EndpointFields, "id"> | null;
}

const SHOWN = `'url', url, 'events', events, 'businesses', businesses, 'settings', settings`;

/**
 * Puts a file in force, in one statement: makes the stored endpoints of the file equal to its own, that is,
 * adds, changes (a new version each), brings back, and retires those it does not have. Leaves pauses alone.
 * Answers with those that it wrote, in the order of their ids. Does nothing and answers "outdated" if no
 * living daemon has announced the file, or one has a newer one. Deliveries that it ends are cancelled at
 * once, with `deferred` a day later, unless another file brings them back; a `reload` also cancels at once
 * what was deferred before.
 */
export async function syncFile(
  sql: Sql,
  file: StoredFile,
  actor: Actor = { name: "the configuration file", address: null },
  by: "deferred" | "reload" | null = null,
): Promise<Synced[] | "outdated"> {
  for (;;) {
    const answer = await trySync(sql, file, actor, by);
    if (answer !== "moved") return answer;
  }
}

/** "moved": another file came in force while the statement waited for its turn. */
async function trySync(
  sql: Sql,
  file: StoredFile,
  actor: Actor,
  by: "deferred" | "reload" | null,
): Promise<Synced[] | "outdated" | "moved"> {
  const cancels_from = sql`case when ${by === "deferred"} then now() + interval '1 day' end`;
  const [row] = await sql<{ synced: Synced[]; is_newest: boolean; is_current: boolean }[]>`
    with ${gated(sql, file)}, ${givenRows(sql, file.endpoints)}, put as (
      insert into endpoints as e (id, source, url, events, businesses, settings, credentials)
      select id, 'file', url, events, businesses, settings, credentials from given
      where exists (select from open)
      on conflict (id) do update set url = excluded.url, events = excluded.events,
        businesses = excluded.businesses, settings = excluded.settings,
        credentials = excluded.credentials,
        version = e.version + 1, retired_at = null, updated_at = now(),
        next_send_at = ${sql.unsafe(nextSendAt("excluded.settings"))},
        narrowed_at = ${sql.unsafe(narrowedAt("excluded.events", "excluded.businesses"))},
        cancels_from = ${cancels_from}
      where e.source = 'file' and (e.retired_at is not null or
        (e.url, e.events, e.businesses, e.settings, e.credentials) is distinct from
        (excluded.url, excluded.events, excluded.businesses, excluded.settings, excluded.credentials))
      returning no, id, version, url, events, businesses, settings, credentials, narrowed_at
    ), retired as (
      update endpoints set retired_at = now(), updated_at = now(), cancels_from = ${cancels_from}
      where exists (select from open) and source = 'file' and retired_at is null
        and id not in (select id from given)
      returning no, id, version, events, businesses
    ), confirmed as (
      update endpoints set cancels_from = null
      where exists (select from open) and ${by === "reload"} and cancels_from is not null
        and no not in (select no from put union all select no from retired)
    ), versions as (${sql.unsafe(insertVersions("put"))}
    ), retired_versions as (${sql.unsafe(retireVersions("retired"))}
    ), changed as materialized (
      select id, null::text as what, credentials, jsonb_build_object(${sql.unsafe(SHOWN)}) as after,
        case when narrowed_at = now() then ${sql.unsafe(countCancels("false"))} end as cancels
      from put n
      union all
      select id, 'retired', null, null, ${sql.unsafe(countCancels("true"))} from retired n
    ), before as (
      -- As they were when the statement began.
      select id, credentials, jsonb_build_object(${sql.unsafe(SHOWN)}) as shown from endpoints
      where retired_at is null and id in (select id from changed)
    ), logged as (
      insert into audit (actor, address, action, object, before, after)
      select ${actor.name}, ${actor.address},
        case when c.what = 'retired' then 'endpoint.retired'
             when b.id is null then 'endpoint.created' else 'endpoint.updated' end,
        c.id, b.shown, coalesce(c.after || c.cancels, c.after, c.cancels) ||
          case when b.credentials <> c.credentials then '{"credentials": "changed"}' else '{}' end::jsonb
      from changed c left join before b on b.id = c.id order by c.id
    ), news as (
      select id from changed union all select null from open where is_other_policy
    ), ${sql.unsafe(announceFleet("news"))}
    select is_newest, is_current, (
        select coalesce(json_agg(json_build_object('id', c.id,
          'what', coalesce(c.what, case when b.id is null then 'added' else 'changed' end),
          'before', b.shown, 'after', c.after,
          'cancels', coalesce((c.cancels ->> 'cancels')::int, 0),
          'cancels_exact', coalesce((c.cancels ->> 'cancels_exact')::boolean, true)
        ) order by c.id), '[]')
        from changed c left join before b on b.id = c.id
      ) as synced,
      case when exists (select from open) then pg_notify(${CHANNEL}, ${DAEMONS}) end
    from gate left join announced on true`;
  if (row === undefined) throw new Error("The table file_in_force is empty");
  if (row.is_newest !== true) return "outdated";
  return row.is_current ? row.synced : "moved";
}

/**
 * The CTEs `gate` and `open`, which has a row if the file may come in force: one file after the other, each
 * only if it is the newest. Writes down which one is.
 */
function gated(sql: Sql, { digest, policy }: StoredFile): Fragment {
  return sql`held as materialized (
      select revision, policy from file_in_force for update
    ), gate as materialized (
      select newest_held_file() = ${digest} as is_newest,
        -- This statement sees the endpoints as they were before it waited for the lock.
        held.revision = (select revision from file_in_force) as is_current,
        held.policy is distinct from ${JSON.stringify(policy)}::text::jsonb as is_other_policy
      from held
    ), open as materialized (
      select is_other_policy from gate where is_newest and is_current
    ), in_force as (
      update file_in_force set digest = ${digest}, revision = revision + 1,
        policy = ${JSON.stringify(policy)}::text::jsonb
      where exists (select from open)
    )`;
}

/** What `syncFile` would write, and what that would cancel. Writes nothing. */
export async function planFile(
  sql: Sql,
  endpoints: readonly EndpointFields[],
): Promise<Synced[]> {
  return await sql<Synced[]>`
    with ${givenRows(sql, endpoints)}, before as materialized (
      select no, id, url, events, businesses, settings, retired_at from endpoints
      where source = 'file'
    ), planned as (
      select g.id, b.no, g.events, g.businesses,
        case when b.no is null or b.retired_at is not null then 'added' else 'changed' end as what,
        narrows(b.events, b.businesses, g.events, g.businesses) as narrowed
      from given g left join before b on b.id = g.id
      where b.no is null or b.retired_at is not null or
        (b.url, b.events, b.businesses, b.settings) is distinct from
        (g.url, g.events, g.businesses, g.settings)
      union all
      select id, no, events, businesses, 'retired', false from before
      where retired_at is null and id not in (select id from given)
    ), counted as (
      select n.id, n.what, case when what = 'retired' then ${sql.unsafe(countCancels("true"))}
        when narrowed then ${sql.unsafe(countCancels("false"))} end as found
      from planned n
    )
    select c.id, c.what, coalesce((found ->> 'cancels')::int, 0) as cancels,
      coalesce((found ->> 'cancels_exact')::boolean, true) as cancels_exact,
      (select jsonb_build_object(${sql.unsafe(SHOWN)}) from before b
        where b.id = c.id and b.retired_at is null) as before,
      (select jsonb_build_object(${sql.unsafe(SHOWN)}) from given g where g.id = c.id) as after
    from counted c order by c.id`;
}

// The CTE `given`: the endpoints of a file.
function givenRows(
  sql: Sql,
  endpoints: readonly (EndpointFields & Partial<Pick<StoredEndpoint, "credentials">>)[],
): Fragment {
  return sql`
    given as materialized (
      select g.id, g.url, g.settings, g.credentials,
        array(select jsonb_array_elements_text(g.events)) as events,
        case when jsonb_typeof(g.businesses) = 'array'
          then array(select jsonb_array_elements_text(g.businesses)) end as businesses
      from jsonb_to_recordset(${JSON.stringify(endpoints)}::text::jsonb)
        as g (id text, url text, events jsonb, businesses jsonb, settings jsonb, credentials text)
    )`;
}

// Kept if it still selects everything: what it ceased to select before is still to be cancelled.
function narrowedAt(events: string, businesses: string): string {
  return `case when narrows(e.events, e.businesses, ${events}, ${businesses}) then now()
    else e.narrowed_at end`;
}

// Keeps what the rows of a CTE, versions of endpoints, send to and select.
function insertVersions(rows: string): string {
  return `
      insert into endpoint_versions (endpoint_no, version, url, headers, events, businesses)
      select no, version, url, settings -> 'headers', events, businesses from ${rows}`;
}

// The rows of a CTE, endpoints, were retired under their present version.
function retireVersions(rows: string): string {
  return `
      update endpoint_versions set retired_at = now()
      where (endpoint_no, version) in (select no, version from ${rows})`;
}

// A new rate limit starts over: the old one may have put the next attempt far off.
function nextSendAt(settings: string): string {
  return `case
    when e.settings -> 'rate_limit_per_s' is distinct from ${settings} -> 'rate_limit_per_s'
    then '-infinity' else e.next_send_at end`;
}

/** What `seal` made of an endpoint's secrets and header values. */
export interface Sealed {
  readonly bytes: Uint8Array;
  /** When its first replaced secret expires, in milliseconds since 1970, or null. */
  readonly secret_expires_at: number | null;
}

/** The numbers of a new endpoint, expressions (see the table `endpoints`). */
const NEXT_NUMBER = "nextval(pg_get_serial_sequence('endpoints', 'no'))";
const RANDOM_NUMBER = `(select c.no from (
    select 1073741824 + floor(random() * 1073741824)::int as no from generate_series(1, 9)
  ) c where not exists (select from endpoints n where n.no = c.no) limit 1)`;

/** Adds an endpoint made through the API. Answers undefined if its owner has `most` in force already. */
export async function createEndpoint(
  sql: Sql,
  fields: EndpointFields & Pick<StoredEndpoint, "owner">,
  sealed: Sealed,
  most: number,
  change: Change,
): Promise<StoredEndpoint | undefined> {
  const { owner } = fields;
  const [row] = await sql<StoredEndpoint[]>`
    with changed as (
      insert into endpoints (no, id, source, url, events, businesses, owner, settings, sealed)
      overriding system value
      select ${
    sql.unsafe(owner === null ? NEXT_NUMBER : RANDOM_NUMBER)
  }, ${fields.id}, 'api', ${fields.url}, ${arrayOf(sql, fields.events)},
        ${arrayOf(sql, fields.businesses)}::text[], ${owner},
        ${JSON.stringify(fields.settings)}::text::jsonb, decode(${hexOf(sealed.bytes)}, 'hex')
      ${owner === null ? sql`` : sql`where may_add_endpoint(${owner}, ${most})`}
      returning *
    ), versions as (${sql.unsafe(insertVersions("changed"))}
    ), ${logged(sql, change)}, ${sql.unsafe(announceFleet())}
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from changed left join announced on true`;
  return row;
}

/** A changed endpoint, and what the change cancels. */
export type ChangedEndpoint = StoredEndpoint & Cancels;

/** The columns of a `ChangedEndpoint`, of a CTE of its rows with a column `found`. */
const CHANGED_COLUMNS = `${ENDPOINT_COLUMNS}, coalesce((found ->> 'cancels')::int, 0) as cancels,
  coalesce((found ->> 'cancels_exact')::boolean, true) as cancels_exact`;

/**
 * Writes an endpoint made through the API as its next version; `sealed` undefined leaves that as it is.
 * Answers undefined if it is no longer as it was read: another version, resealed or retired. Read it
 * again then.
 */
export async function updateEndpoint(
  sql: Sql,
  read: Pick<StoredEndpoint, "no" | "version" | "sealed">,
  fields: EndpointFields,
  sealed: Sealed | undefined,
  change: Change,
): Promise<ChangedEndpoint | undefined> {
  const [row] = await sql<ChangedEndpoint[]>`
    with given as materialized (
      select ${JSON.stringify(fields.settings)}::text::jsonb as settings,
        ${arrayOf(sql, fields.events)} as events, ${
    arrayOf(sql, fields.businesses)
  }::text[] as businesses
    ), written as (
      update endpoints e set url = ${fields.url}, events = given.events,
        businesses = given.businesses, settings = given.settings,
        narrowed_at = ${sql.unsafe(narrowedAt("given.events", "given.businesses"))},
        next_send_at = ${sql.unsafe(nextSendAt("given.settings"))},
        version = version + 1, updated_at = now()
        ${
    sealed === undefined ? sql`` : sql`, sealed = decode(${hexOf(sealed.bytes)}, 'hex'),
        secret_expires_at = ${timeOf(sealed.secret_expires_at)}::text::timestamptz`
  }
      from given
      -- Resealing makes no version, and must not be undone by bytes read before it.
      where no = ${read.no} and version = ${read.version}
        and sealed = decode(${read.sealed}, 'hex') and source = 'api' and retired_at is null
      returning e.*
    ), versions as (${sql.unsafe(insertVersions("written"))}
    ), changed as materialized (
      select n.*, case when narrowed_at = now() then ${
    sql.unsafe(countCancels("false"))
  } end as found
      from written n
    ), ${logged(sql, change, "found")}, ${sql.unsafe(announceFleet())}
    select ${sql.unsafe(CHANGED_COLUMNS)} from changed left join announced on true`;
  return row;
}

/**
 * Pauses an endpoint, whoever made it; `again` gives a paused one the new reason. One that was paused
 * automatically no longer resumes by itself. Answers undefined if it is paused already (for that reason) or
 * retired.
 */
export async function pauseEndpoint(
  sql: Sql,
  id: string,
  reason: string,
  again: boolean,
  change: Change,
): Promise<StoredEndpoint | undefined> {
  const [row] = await sql<StoredEndpoint[]>`
    with changed as (
      update endpoints
      set paused_at = coalesce(paused_at, now()), pause_reason = ${reason}, paused_by = 'hand',
        probe_at = null, updated_at = now()
      where id = ${id} and retired_at is null
        and (paused_at is null or paused_by = 'automatic' or (${again} and pause_reason <> ${reason}))
      returning *
    ), ${logged(sql, change)}, ${sql.unsafe(announceFleet())}
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from changed left join announced on true`;
  return row;
}

/** Ends an endpoint's pause. Answers undefined if it has none or is retired. */
export async function resumeEndpoint(
  sql: Sql,
  id: string,
  change: Change,
): Promise<StoredEndpoint | undefined> {
  const [row] = await sql<StoredEndpoint[]>`
    with changed as (
      update endpoints set paused_at = null, pause_reason = null, paused_by = null, probe_at = null,
        resumed_at = now(), updated_at = now()
      where id = ${id} and paused_at is not null and retired_at is null
      returning *
    ), ${logged(sql, change)}, ${sql.unsafe(announceFleet())}
    select ${sql.unsafe(ENDPOINT_COLUMNS)} from changed left join announced on true`;
  return row;
}

/**
 * Retires an endpoint made through the API and forgets its secrets. The sweep cancels its deliveries.
 * Answers undefined if it is retired already.
 */
export async function retireEndpoint(
  sql: Sql,
  id: string,
  change: Change,
): Promise<ChangedEndpoint | undefined> {
  const [row] = await sql<ChangedEndpoint[]>`
    with written as (
      update endpoints set retired_at = now(), updated_at = now(), sealed = null,
        secret_expires_at = null
      where id = ${id} and source = 'api' and retired_at is null
      returning *
    ), versions as (${sql.unsafe(retireVersions("written"))}
    ), changed as materialized (
      select n.*, ${sql.unsafe(countCancels("true"))} as found from written n
    ), ${logged(sql, change, "found")}, ${sql.unsafe(announceFleet())}
    select ${sql.unsafe(CHANGED_COLUMNS)} from changed left join announced on true`;
  return row;
}

/** A row's sealed bytes. */
export interface SealedRow {
  readonly no: number;
  readonly id: string;
  /** In hexadecimal digits. */
  readonly sealed: string;
}

/** Sealed rows with greater numbers than `after`, in their order. */
export async function listSealed(sql: Sql, after: number, limit: number): Promise<SealedRow[]> {
  return await sql<SealedRow[]>`
    select no, id, encode(sealed, 'hex') as sealed from endpoints
    where sealed is not null and no > ${after} order by no limit ${limit}`;
}

/** Sealed rows in which a replaced secret has expired. */
export async function listExpiredSecrets(sql: Sql, limit: number): Promise<SealedRow[]> {
  return await sql<SealedRow[]>`
    select no, id, encode(sealed, 'hex') as sealed from endpoints
    where sealed is not null and secret_expires_at <= now() order by no limit ${limit}`;
}

/** New sealed bytes for a row. */
export interface Resealed extends SealedRow {
  readonly next: Uint8Array;
  /** When its first replaced secret expires, in milliseconds since 1970, or null. */
  readonly secret_expires_at: number | null;
}

/**
 * Replaces sealed bytes by those made from them, each only if unchanged since. One audit entry for all.
 * Answers the number of rows written.
 */
export async function reseal(
  sql: Sql,
  rows: readonly Resealed[],
  change: Change,
): Promise<number> {
  const [row] = await sql<{ written: number }[]>`
    with changed as (
      update endpoints e
      set sealed = decode(r.next, 'hex'), secret_expires_at = r.expires_at::timestamptz
      from unnest(
        ${literal(rows.map((r) => r.no))}::int[],
        string_to_array(${texts(rows.map((r) => r.sealed))}, chr(30)),
        string_to_array(${texts(rows.map((r) => hexOf(r.next)))}, chr(30)),
        string_to_array(${texts(rows.map((r) => timeOf(r.secret_expires_at)))}, chr(30), '')
      ) as r (no, sealed, next, expires_at)
      where e.no = r.no and e.sealed = decode(r.sealed, 'hex')
      returning e.no
    ), ${logged(sql, change)}
    select count(*)::int as written from changed`;
  return row?.written ?? 0;
}

// Patterns and ids: no control character in them, so none needs escaping.
function arrayOf(sql: Sql, values: readonly string[] | null) {
  return values === null ? sql`null` : sql`string_to_array(${texts(values)}, chr(30))`;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function timeOf(at_ms: number | null): string | null {
  return at_ms === null ? null : new Date(at_ms).toISOString();
}
