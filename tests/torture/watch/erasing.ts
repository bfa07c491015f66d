import type { Sql } from "postgres";
import { eventId, parseErasureId } from "../../../lib/core/ids.ts";
import { sleep } from "../../support/wait.ts";
import type { Random } from "../random.ts";
import type { ErasureRow, Watched } from "./watched.ts";

/** An event that was acknowledged, as far as an erasure looks for it. */
export interface Known {
  readonly event_id: string;
  readonly subject: string;
}

/** An erasure that was asked for. */
interface Asked extends Known {
  readonly kind: "event" | "subject";
  /** UUIDs of erasures that were answered with 201. */
  readonly ids: string[];
}

/** Somebody who asks for erasures while daemons are struck. */
export interface Erasing {
  readonly asked: readonly Asked[];
  on: boolean;
  /** Asks for nothing more; false if the last one is not acknowledged in time. */
  stop(within_ms: number): Promise<boolean>;
}

/** Erasures of a round, and the latest events that they are chosen from. */
const MOST = 25;
const LATEST = 300;
const PAUSE_MS = [300, 1_500] as const;

/**
 * Starts to ask, each time until it is acknowledged. `call` answers with the body of a 201; undefined: to be asked
 * again.
 */
export function startErasing(
  random: Random,
  known: () => readonly Known[],
  call: (body: Readonly<Record<string, string>>) => Promise<{ readonly id: string } | undefined>,
): Erasing {
  const asked: Asked[] = [];
  let ends_at = Infinity;
  let stopped = false;
  async function askFor(one: Asked): Promise<void> {
    const body = one.kind === "event" ? { event: eventId(one.event_id) } : { subject: one.subject };
    while (one.ids.length === 0 && performance.now() < ends_at) {
      const answer = await call(body);
      const id = parseErasureId(answer?.id ?? "");
      if (id !== undefined) one.ids.push(id);
      else await sleep(100);
    }
  }
  const erasing: Erasing = {
    asked,
    on: false,
    async stop(within_ms) {
      stopped = true;
      ends_at = performance.now() + within_ms;
      await running;
      return asked.every(({ ids }) => ids.length > 0);
    },
  };
  const running = (async () => {
    while (!stopped) {
      const latest = known().slice(-LATEST);
      if (erasing.on && latest.length > 0 && asked.length < MOST) {
        const one = {
          ...random.pick(random.chance(0.3) ? latest.slice(-1) : latest),
          kind: random.pick(["event", "subject"] as const),
          ids: [],
        };
        asked.push(one);
        await askFor(one);
      }
      await sleep(random.int(...PAUSE_MS));
    }
  })();
  return erasing;
}

/** How many erasures have not ended. */
export async function unerased(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int from erasures where state = 'running'`;
  return row?.count ?? NaN;
}

/** What came of erasures, and where anything of their events is left. */
export async function readErasures(
  sql: Sql,
  asked: readonly Asked[],
): Promise<Pick<Watched, "erasures" | "traces">> {
  const rows = await sql<(Pick<ErasureRow, "id" | "state" | "ended_at">)[]>`
    select id, state, (extract(epoch from ended_at) * 1000)::float8 as ended_at from erasures`;
  const erasures: ErasureRow[] = [];
  // One that was not acknowledged was asked for again: it found nothing that the later one did not find.
  for (const row of rows) {
    const one = asked.find(({ ids }) => ids.includes(row.id));
    const event_ids = one === undefined ? [] : await erasedBy(sql, row.id, one);
    erasures.push({ ...row, is_acknowledged: one !== undefined, event_ids });
  }
  return { erasures, traces: await tracesOf(sql) };
}

async function erasedBy(sql: Sql, erasure: string, one: Asked): Promise<string[]> {
  if (one.kind === "event") return [one.event_id];
  const rows = await sql<{ id: string }[]>`
    select e.id from events e, erasures r
    where r.id = ${erasure}::uuid and e.subject = ${one.subject}
      and e.received_at <= r.created_at`;
  return rows.map(({ id }) => id);
}

/**
 * Where the marks of erased events are still found: in any text of any table of the program. An event's mark is in
 * its payload, its confirmation number, and in the answers to its deliveries.
 */
async function tracesOf(sql: Sql): Promise<Watched["traces"]> {
  const columns = await sql<{ table_name: string; column_name: string; data_type: string }[]>`
    select c.relname as table_name, a.attname as column_name, format_type(a.atttypid, null) as data_type
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and format_type(a.atttypid, null) in ('text', 'jsonb', 'json', 'bytea', 'text[]')`;
  const searches = columns.map(({ table_name, column_name, data_type }) => {
    const text = data_type === "bytea"
      ? `encode(${column_name}, 'escape')`
      : `${column_name}::text`;
    return `select '${table_name}.${column_name}' as place, m[1] as mark
      from ${table_name}, regexp_matches(${text}, '(~[a-z0-9_.]+~)', 'g') m`;
  });
  return await sql.unsafe<{ event_id: string; place: string }[]>(`
    select distinct k.event_id, f.place from (${searches.join(" union all ")}) f
    join torture.marks k on k.mark = f.mark join events e on e.id = k.event_id
    where e.erased_at is not null`);
}
