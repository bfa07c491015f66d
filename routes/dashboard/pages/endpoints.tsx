import type { HealthBar } from "../../../lib/admin/health.ts";
import type { Overview, OverviewEndpoint } from "../../../lib/admin/overview.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import {
  Ago,
  type ChartBar,
  type Column,
  Count,
  durationWords,
  Empty,
  LinkButton,
  Moment,
  Name,
  Pager,
  Rows,
  Section,
  Spark,
  State,
  Tabs,
  Verdict,
} from "../components/all.ts";
import type { Audience, Visit } from "../visit.ts";
import { healthState, hostOf, nameOf, percent } from "../verdicts/health.ts";
import { overviewVerdict } from "../verdicts/overview.ts";
import { many, number } from "../verdicts/verdict.ts";
import { VerdictHead } from "./verdict.tsx";

/** How many endpoints a business has, and may have; null for an operator. */
export type Room = { readonly has: number; readonly most: number } | null;

/** Attempts of an hour as the chart has them: what failed hangs below the line. */
export function chartBars(bars: readonly HealthBar[]): ChartBar[] {
  return bars.map((bar) => ({ ...bar, waiting: 0 }));
}

/** The path of an endpoint's page. */
export function endpointPath({ house }: Pick<Visit, "house">, id: string): string {
  return `${house.base}/endpoints/${encodeURIComponent(id)}`;
}

/** The verdict of an overview, from what was read for it. */
export function verdictOf(visit: Visit, overview: Overview) {
  return overviewVerdict(overview, visit);
}

/** The endpoints in force, worst first. */
export function EndpointsPage(
  { visit, overview, room }: {
    readonly visit: Visit;
    readonly overview: Overview;
    readonly room: Room;
  },
) {
  const { endpoints, counts } = overview;
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const more = total - endpoints.length;
  return (
    <>
      <VerdictHead visit={visit} verdict={verdictOf(visit, overview)} crumbs="Endpoints" />
      <ListTabs visit={visit} current="in force" />
      <Section
        title={many(total, "endpoint", "endpoints")}
        id="endpoints"
        live="swap"
        aside={<NewLink visit={visit} room={room} />}
      >
        <EndpointRows visit={visit} endpoints={endpoints} />
        {more > 0
          ? (
            <Pager
              note={`The worst ${number(endpoints.length)} of ${number(total)}`}
              older_href={`${visit.house.base}/endpoints?all`}
            />
          )
          : null}
      </Section>
    </>
  );
}

/** The way to a new endpoint, or why there is none. */
export function NewLink({ visit, room }: { readonly visit: Visit; readonly room: Room }) {
  if (!visit.may_write) return null;
  if (room !== null && room.has >= room.most) {
    return <>{`${room.has} of ${many(room.most, "endpoint", "endpoints")}; no room for another`}</>;
  }
  return (
    <>
      {room === null ? null : `${room.has} of ${many(room.most, "endpoint", "endpoints")} · `}
      <a href={`${visit.house.base}/endpoints?new`}>New endpoint</a>
    </>
  );
}

function ListTabs(
  { visit, current }: {
    readonly visit: Visit;
    readonly current: "in force" | "all" | "deleted";
  },
) {
  const base = `${visit.house.base}/endpoints`;
  return (
    <Tabs
      label="Which endpoints"
      items={[
        { label: "Worst first", href: base, current: current === "in force" },
        { label: "Newest first", href: `${base}?all`, current: current === "all" },
        { label: "Deleted", href: `${base}?retired`, current: current === "deleted" },
      ]}
    />
  );
}

/** One row for each endpoint, with how it does. */
export function EndpointRows(
  { visit, endpoints }: {
    readonly visit: Visit;
    readonly endpoints: readonly OverviewEndpoint[];
  },
) {
  return (
    <Rows
      label="Endpoints"
      rows={endpoints}
      href={({ endpoint }) => endpointPath(visit, endpoint.id)}
      id={({ endpoint }) => endpoint.id}
      columns={visit.house.audience === "operator" ? operatorColumns(visit) : businessColumns()}
      empty={
        <Empty cause="No endpoint yet">
          {visit.house.audience === "operator"
            ? "Events are accepted and kept, but no endpoint is owed them. "
            : "Nothing is sent anywhere yet. "}
          {visit.may_write ? <a href={`${visit.house.base}/endpoints?new`}>New endpoint</a> : null}
        </Empty>
      }
    />
  );
}

const DAY_MS = 86_400_000;

function daysTo(at: string | null, now: number): number | null {
  return at === null ? null : Math.floor((Date.parse(at) - now) / DAY_MS);
}

function Certificate({ one, now }: { readonly one: OverviewEndpoint; readonly now: number }) {
  if (one.endpoint.url.startsWith("http:")) return <>no TLS</>;
  const days = daysTo(one.certificate_ends_at, now);
  if (days === null) return <>–</>;
  if (days < 0) return <State kind="failed" word="expired" />;
  return days <= 21 ? <State kind="waiting" word={`${days} d`} /> : <>{`${days} d`}</>;
}

/** The columns that both audiences begin with. */
function firstColumns(audience: Audience): Column<OverviewEndpoint>[] {
  return [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: (one) => <State {...healthState(one, audience)} />,
    },
    {
      name: "endpoint",
      label: "Endpoint",
      phone: "subject",
      cell: ({ endpoint }) => <Name name={nameOf(endpoint)} under={hostOf(endpoint)} />,
    },
    {
      name: "day",
      label: "Last 24 hours",
      cell: ({ bars }) => <Spark bars={chartBars(bars)} />,
    },
  ];
}

function operatorColumns({ now }: Visit): Column<OverviewEndpoint>[] {
  return [
    ...firstColumns("operator"),
    {
      name: "within",
      label: "Within 30 s",
      align: "right",
      phone: "kind",
      unit: "within 30 s",
      none: ({ today }) => today.all === 0,
      cell: ({ today }) => percent(today.within_30s, today.all) ?? "–",
    },
    {
      name: "waiting",
      label: "Waiting",
      align: "right",
      phone: "under",
      unit: "waiting",
      none: ({ endpoint }) => endpoint.pending === 0,
      cell: ({ endpoint }) => <Count value={endpoint.pending} exact={endpoint.pending_exact} />,
    },
    {
      name: "p95",
      label: "p95",
      align: "right",
      cell: ({ endpoint: { duration_ms: { p95 } } }) => p95 === null ? "–" : durationWords(p95),
    },
    {
      name: "last",
      label: "Last delivered",
      align: "right",
      phone: "time",
      cell: ({ endpoint: { last_success_at } }) =>
        last_success_at === null ? "–" : <Ago at={last_success_at} />,
    },
    {
      name: "certificate",
      label: "Certificate",
      align: "right",
      cell: (one) => <Certificate one={one} now={now} />,
    },
  ];
}

/** `31 today, all arrived`. */
function todayWords({ endpoint, today, health }: OverviewEndpoint): string {
  const on_way = `${number(endpoint.pending, endpoint.pending_exact)} on the way`;
  if (today.sent === 0) return endpoint.pending === 0 ? "Nothing today" : on_way;
  const sent = `${number(today.sent)} today`;
  if (endpoint.pending > 0) return `${sent}, ${on_way}`;
  const all_arrived = health === "delivering" && today.within_30s >= today.sent;
  return all_arrived ? `${sent}, all arrived` : sent;
}

function businessColumns(): Column<OverviewEndpoint>[] {
  return [
    ...firstColumns("business"),
    { name: "today", label: "Today", phone: "reason", cell: todayWords },
    {
      name: "last",
      label: "Last update",
      align: "right",
      phone: "time",
      cell: ({ endpoint: { last_success_at } }) =>
        last_success_at === null ? "–" : <Ago at={last_success_at} />,
    },
  ];
}

/** Endpoints by age: all of those in force, or the retired ones. */
export function EndpointListPage(
  { visit, list, retired, first, room }: {
    readonly visit: Visit;
    readonly list: shown.Page<shown.Endpoint>;
    readonly retired: boolean;
    /** Whether it is the first page. */
    readonly first: boolean;
    readonly room: Room;
  },
) {
  const query = retired ? "retired" : "all";
  const base = `${visit.house.base}/endpoints?${query}`;
  const older = list.next_cursor === null
    ? null
    : `${base}&cursor=${encodeURIComponent(list.next_cursor)}`;
  return (
    <>
      <Verdict
        tone="calm"
        crumbs={<a href={`${visit.house.base}/endpoints`}>Endpoints</a>}
        headline={retired ? "Deleted endpoints" : "All endpoints, newest first"}
      >
        {retired ? "Nothing is sent to them any more; their deliveries and changes stay." : null}
      </Verdict>
      <ListTabs visit={visit} current={retired ? "deleted" : "all"} />
      <Section id="endpoints" aside={retired ? null : <NewLink visit={visit} room={room} />}>
        <Rows
          label="Endpoints"
          rows={list.data}
          href={({ id }) => endpointPath(visit, id)}
          id={({ id }) => id}
          columns={plainColumns(visit, retired)}
          empty={
            <Empty cause={retired ? "No endpoint was deleted" : "No endpoint yet"}>
              {retired || !visit.may_write
                ? undefined
                : <LinkButton href={`${visit.house.base}/endpoints?new`} label="New endpoint" />}
            </Empty>
          }
        />
        <Pager older_href={older} newest_href={first ? null : base} />
      </Section>
    </>
  );
}

const STATES = {
  active: { kind: "delivered", word: "Active" },
  paused: { kind: "paused", word: "Paused" },
  unsendable: { kind: "failed", word: "Unsendable" },
  retired: { kind: "cancelled", word: "Deleted" },
} as const;

function plainColumns({ house }: Visit, retired: boolean): Column<shown.Endpoint>[] {
  const columns: Column<shown.Endpoint>[] = [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: ({ state }) => <State {...STATES[state]} />,
    },
    {
      name: "endpoint",
      label: "Endpoint",
      phone: "subject",
      cell: (endpoint) => <Name name={nameOf(endpoint)} under={hostOf(endpoint)} />,
    },
    {
      name: "events",
      label: "Selects",
      phone: "reason",
      wrap: true,
      cell: ({ events }) => events.slice(0, 6).join(", ") + (events.length > 6 ? ", …" : ""),
    },
    {
      name: "from",
      label: "From",
      phone: "hide",
      cell: ({ source }) => source === "file" ? "the configuration file" : "here or the API",
    },
    {
      name: "time",
      label: retired ? "Deleted" : "Made",
      align: "right",
      phone: "time",
      cell: ({ created_at, retired_at }) => (
        <Moment at={retired ? retired_at ?? created_at : created_at} style="date" />
      ),
    },
  ];
  return house.audience === "operator" ? columns : columns.filter(({ name }) => name !== "from");
}
