import { createHash } from "node:crypto";
import type { Sql } from "postgres";
import { deliveryId, deliveryUuid } from "../../../lib/core/ids.ts";
import { sleep } from "../../support/wait.ts";
import type { Random } from "../random.ts";
import type { Drop, Week } from "./watched.ts";

/** Writes down which partitions are dropped, and what was pending in their weeks just then. */
export const WRITE_DROPS = `
create table torture.drops (
  at timestamptz not null default clock_timestamp(), partition text not null, pending integer not null);
create function torture.dropped() returns event_trigger language plpgsql security definer as $$
begin
  insert into torture.drops (partition, pending)
  select o.object_name, (
    select count(*) from pending_deliveries d join partitions p
      on d.id >= p.first_id and d.id < p.last_id
    where to_char(time_of(p.first_id) at time zone 'UTC', 'YYYYMMDD') = right(o.object_name, 8))
  from pg_event_trigger_dropped_objects() o
  where o.object_type = 'table' and o.object_name ~ '^(events|ended_deliveries|attempts)_[0-9]{8}$';
end $$;
create event trigger torture_dropped on sql_drop when tag in ('DROP TABLE')
  execute function torture.dropped();
`;

/** What is made of a week: nothing of it is owed, something is, or something comes back while it is being closed. */
type Kind = "free" | "owed" | "contested";

/** A week that was made. */
export interface Made {
  readonly kind: Kind;
  readonly name: string;
  readonly first_id: string;
  /** Its deliveries, with the digests of their payloads. */
  readonly deliveries: readonly { readonly id: string; readonly hash: string }[];
}

const KINDS: readonly Kind[] = [
  "free",
  "owed",
  "contested",
  "free",
  "owed",
  "contested",
  "contested",
];
/** The youngest is as old as that, well beyond `retention.events`. */
const YOUNGEST_DAYS = 60;
/** Events of a week, each owed to one endpoint, once upon a time or still. */
const EVENTS = 3;
/** What is still owed becomes due within that. */
const DUE_WITHIN_S = 20;
export const OLD_ENDPOINT = "steady";

/** Makes weeks of long ago. `sql` must be the role to whom the tables belong. */
export async function makeWeeks(sql: Sql, random: Random): Promise<Made[]> {
  const weeks: Made[] = [];
  const [steady] = await sql<{ no: number }[]>`
    select no from endpoints where id = ${OLD_ENDPOINT}`;
  for (const [nth, kind] of KINDS.entries()) {
    const ago = `${YOUNGEST_DAYS + 7 * nth} days`;
    await sql`select make_partitions(first_id_at(now() - ${ago}::text::interval))`;
    const [week] = await sql<{ first_id: string; name: string }[]>`
      select first_id, to_char(time_of(first_id) at time zone 'UTC', 'YYYYMMDD') as name
      from partitions p
      where p.first_id <= first_id_at(now() - ${ago}::text::interval)
        and p.last_id > first_id_at(now() - ${ago}::text::interval)`;
    if (week === undefined) throw new Error("The week that was made is not there");
    const deliveries = [];
    for (let at = 0; at < EVENTS; at++) {
      deliveries.push(await makeOld(sql, kind, ago, steady?.no ?? 0, random));
    }
    weeks.push({ kind, ...week, deliveries });
  }
  // One that is contested is made late, and so is not old yet.
  await sql`
    update partitions p set made_at = time_of(p.first_id)
    where p.first_id = any(string_to_array(${
    weeks.filter(({ kind }) => kind !== "contested").map(({ first_id }) => first_id).join(",")
  }, ',')::uuid[])`;
  await sql`
    update partitions p set closed_at = now() - interval '2 minutes'
    where p.first_id = any(string_to_array(${
    weeks.filter(({ kind }) => kind === "free").map(({ first_id }) => first_id).join(",")
  }, ',')::uuid[])`;
  return weeks;
}

async function makeOld(sql: Sql, kind: Kind, ago: string, no: number, random: Random) {
  const payload = `{"event":"booking.created","timestamp":"2026-01-05T10:00:00Z","data":` +
    `{"appointment":{"id":"apt_old_${random.int(0, 0xffffffff)}","name":"long ago"}}}`;
  const [event] = await sql<{ id: string }[]>`
    insert into events (id, type, received_at, payload)
    select (left(first_id_at(now() - ${ago}::text::interval)::text, 13) || ${`-7${
    hex(random, 3)
  }-8${hex(random, 3)}-${
    hex(random, 4)
  }00000000`})::uuid, 'booking.created', now() - ${ago}::text::interval, ${payload}
    returning id`;
  if (event === undefined) throw new Error("An old event was not stored");
  const id = deliveryUuid(event.id, no);
  if (kind === "owed") {
    const due_s = random.int(0, DUE_WITHIN_S);
    await sql`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      values (${id}::uuid, ${event.id}::uuid, ${no}::int, now() - ${ago}::text::interval,
        now() + ${due_s}::int * interval '1 s')`;
  } else {
    await sql`
      insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, reason, token, attempts)
      values (${id}::uuid, ${no}::int, now() - ${ago}::text::interval, now() - ${ago}::text::interval,
        'cancelled', 'Cancelled by ops', 1, 0)`;
  }
  return { id, hash: createHash("sha256").update(payload).digest("hex") };
}

function hex(random: Random, digits: number): string {
  return random.int(0, 16 ** digits - 1).toString(16).padStart(digits, "0");
}

/** Somebody who retries what ended long ago, just when its week is about to be closed. */
export interface Contest {
  on: boolean;
  /** Deliveries whose retry was answered with 2xx. */
  readonly retried: ReadonlySet<string>;
  stop(): Promise<void>;
}

const PAUSE_MS = [500, 3_000] as const;
/** Daemons close a week within that, and the retry comes at any moment of it. */
const CLOSING_MS = 3_000;

/** Starts it. `retry` answers with the status, or undefined if there was no answer. */
export function startContest(
  sql: Sql,
  weeks: () => readonly Made[],
  random: Random,
  retry: (path: string) => Promise<number | undefined>,
): Contest {
  const retried = new Set<string>();
  const begun = new Set<Made>();
  let stopped = false;
  async function contend({ first_id, deliveries }: Made): Promise<void> {
    const [delivery] = deliveries;
    if (delivery === undefined) return;
    const { id } = delivery;
    await sql`
      update partitions set made_at = time_of(first_id) where first_id = ${first_id}::uuid`;
    await sleep(random.int(0, CLOSING_MS));
    const status = await retry(`/api/deliveries/${deliveryId(id)}/retry`);
    if (status === undefined || status >= 500) return;
    if (status < 300) retried.add(id);
    // The minute in which a statement may still be running that saw the week open: the only one has ended.
    await sql`
      update partitions set closed_at = closed_at - interval '1 minute'
      where first_id = ${first_id}::uuid`;
  }
  const contest: Contest = {
    on: false,
    retried,
    async stop() {
      stopped = true;
      await running;
    },
  };
  const running = (async () => {
    while (!stopped) {
      await sleep(random.int(...PAUSE_MS));
      const week = weeks().find((one) => one.kind === "contested" && !begun.has(one));
      if (week === undefined || !contest.on) continue;
      begun.add(week);
      // The database may be away.
      await contend(week).catch(() => {});
    }
  })();
  return contest;
}

/** How many weeks are there of which nothing is owed, and that had been closed before. */
export async function undropped(sql: Sql, weeks: readonly Made[]): Promise<number> {
  const rows = await sql<{ partition: string }[]>`select partition from torture.drops`;
  return weeks.filter(({ kind, name }) =>
    kind === "free" && !rows.some(({ partition }) => partition.endsWith(name))
  ).length;
}

/** What became of the weeks. `is_hasty`: the old ones must have been dropped by now. */
export async function readWeeks(
  sql: Sql,
  weeks: readonly Made[],
  { retried }: Pick<Contest, "retried">,
  is_hasty: boolean,
): Promise<{ weeks: Week[]; drops: Drop[] }> {
  const drops = await sql<Drop[]>`
    select partition, pending, (extract(epoch from at) * 1000)::float8 as at from torture.drops`;
  return {
    weeks: weeks.map(({ kind, name, deliveries }) => ({
      name,
      must_go: kind === "free" && is_hasty,
      owed: kind === "owed" ? deliveries : deliveries.filter(({ id }) => retried.has(id)),
    })),
    drops: [...drops],
  };
}
