import type { Sql } from "postgres";
import { standardValue } from "../../lib/core/signature.ts";
import { until } from "../support/wait.ts";
import type { AttemptRow, Change, DeliveryRow, EventRow } from "./ledger.ts";

/** What the database says about a run. */
export interface Rows {
  /** Numbers of the endpoints by their ids. */
  readonly endpoints: Readonly<Record<string, number>>;
  readonly events: readonly EventRow[];
  readonly deliveries: readonly DeliveryRow[];
  readonly attempts: readonly AttemptRow[];
}

/** Reads everything. Times are milliseconds since 1970. */
export async function readRows(sql: Sql): Promise<Rows> {
  const endpoints = await sql<{ id: string; no: number }[]>`select id, no from endpoints`;
  const events = await sql<EventRow[]>`
    select id, encode(sha256(convert_to(payload, 'UTF8')), 'hex') as hash,
      (extract(epoch from received_at) * 1000)::float8 as received_at,
      (extract(epoch from erased_at) * 1000)::float8 as erased_at
    from events`;
  const deliveries = await sql<DeliveryRow[]>`
    select id, event_id, endpoint_no, 'pending' as status, attempts::int, null::float8 as ended_at,
      null::text as reason
    from pending_deliveries
    union all
    select id, event_of(id), endpoint_no, status, attempts,
      (extract(epoch from ended_at) * 1000)::float8, reason
    from ended_deliveries`;
  const attempts = await sql<(Omit<AttemptRow, "signature"> & { macs: Uint8Array | null })[]>`
    select delivery_id, number::int, outcome, status::int,
      (extract(epoch from started_at) * 1000)::float8 as started_at,
      (extract(epoch from ended_at) * 1000)::float8 as ended_at,
      request_webhook_signature as macs,
      exists (select from attempts b where b.delivery_id = a.delivery_id and b.number = a.number)
        as is_apart
    from attempts_all a`;
  return {
    endpoints: Object.fromEntries(endpoints.map(({ id, no }) => [id, no])),
    events: [...events],
    deliveries: [...deliveries],
    attempts: attempts.map(({ macs, ...attempt }) => ({
      ...attempt,
      signature: macs === null ? null : standardValue(macs),
    })),
  };
}

/**
 * Writes down every change to a delivery from now on, with the name of the connection that made it
 * (`application_name`, which the daemon's URL sets), and who holds which lease. In a schema of its own:
 * the program knows nothing of it.
 */
export const WRITE_DOWN = `
create schema torture;
create table torture.history (
  seq bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  writer text not null default current_setting('application_name'),
  what text not null,
  delivery_id uuid not null,
  token_before integer, token integer, leased_before timestamptz, leased_until timestamptz,
  outcome text
);
create table torture.holders (
  delivery_id uuid primary key, holder text not null, at timestamptz not null default clock_timestamp());
create function torture.pending() returns trigger language plpgsql security definer as $$
begin
  if tg_op = 'DELETE' then
    insert into torture.history (what, delivery_id, token_before, leased_before)
    values ('delete', old.id, old.token, old.leased_until);
    delete from torture.holders where delivery_id = old.id;
  else
    insert into torture.history
      (what, delivery_id, token_before, token, leased_before, leased_until)
    values (lower(tg_op), new.id, old.token, new.token, old.leased_until, new.leased_until);
    if new.leased_until is not null and new.token is distinct from old.token then
      insert into torture.holders (delivery_id, holder)
      values (new.id, current_setting('application_name'))
      on conflict (delivery_id) do update set holder = excluded.holder, at = excluded.at;
    end if;
  end if;
  return null;
end $$;
create trigger torture after insert or update or delete on pending_deliveries
  for each row execute function torture.pending();
-- Attempts as they were first written. They may move, and come back as they were.
create table torture.attempts (
  delivery_id uuid not null, number smallint not null, attempt text not null,
  primary key (delivery_id, number));
create function torture.attempted(of_delivery uuid, no integer, n smallint) returns void
  language plpgsql security definer as $$
declare
  found_now attempts_all;
begin
  select * into found_now from attempts_all a
  where a.delivery_id = of_delivery and a.endpoint_no = no and a.number = n;
  insert into torture.attempts values (of_delivery, n, found_now::text) on conflict do nothing;
  if found then
    insert into torture.history (what, delivery_id, outcome)
    values ('attempt', of_delivery, found_now.outcome);
  elsif not exists (select from torture.attempts t
    where t.delivery_id = of_delivery and t.number = n and t.attempt = found_now::text)
  then
    insert into torture.history (what, delivery_id) values ('attempt_changed', of_delivery);
  end if;
end $$;
create function torture.ended() returns trigger language plpgsql security definer as $$
begin
  insert into torture.history (what, delivery_id)
  values (case tg_op when 'INSERT' then 'ended' else 'ended_changed' end, coalesce(new.id, old.id));
  if tg_op <> 'DELETE' and new.attempts > 0 then
    perform torture.attempted(new.id, new.endpoint_no, new.attempts);
  end if;
  return null;
end $$;
create trigger torture after insert or update or delete on ended_deliveries
  for each row execute function torture.ended();
create function torture.attempt() returns trigger language plpgsql security definer as $$
begin
  perform torture.attempted(new.delivery_id, new.endpoint_no, new.number);
  return null;
end $$;
create trigger torture after insert or update on attempts
  for each row execute function torture.attempt();
`;

/** Runs statements in one transaction, anew where their locks make them the victim of a deadlock with daemons. */
export async function changeSchema(sql: Sql, statements: string): Promise<void> {
  await until("the superuser's statements run", async () => {
    await sql.unsafe(statements).simple();
    return true;
  });
}

/** What was written down, in its order. */
export async function readHistory(sql: Sql): Promise<Change[]> {
  const rows = await sql<Change[]>`
    select what, delivery_id, writer, (extract(epoch from at) * 1000)::float8 as at,
      token_before, token,
      (extract(epoch from leased_before) * 1000)::float8 as leased_before,
      (extract(epoch from leased_until) * 1000)::float8 as leased_until, outcome
    from torture.history order by seq`;
  return [...rows];
}

/**
 * Ends the leases of these holders, and all that are older than `age_ms`. A lease lasts a minute longer
 * than the longest timeout; what the dead held, and what was claimed in an answer that never arrived,
 * is brought to its end here, so that a run need not wait for it. The sweep looks only at what has been
 * due for a minute, so that is made so, too, and no longer: the sweep's floors lie below that.
 */
export async function expireLeases(
  sql: Sql,
  holders: readonly string[],
  age_ms: number | null,
): Promise<void> {
  await sql`
    update pending_deliveries
    set leased_until = now(), due_at = least(due_at, now() - interval '60 s')
    where leased_until > now() and id = any(array(
      select delivery_id from torture.holders
      where holder = any(string_to_array(${holders.join(",")}, ','))
        or at < now() - ${age_ms}::int * interval '1 ms'))`;
}
