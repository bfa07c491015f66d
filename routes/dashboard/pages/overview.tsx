import type { OpenAlerts } from "../../../lib/admin/alerts.ts";
import { headline } from "../../../lib/core/alerting/words.ts";
import type { About } from "../../../lib/admin/about.ts";
import type { Overview } from "../../../lib/admin/overview.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { inSeconds } from "../../../lib/core/time.ts";
import {
  Ago,
  AttemptLegend,
  Chart,
  Code,
  type Column,
  CopyFrom,
  Empty,
  Figures,
  Moment,
  Name,
  Notes,
  Rows,
  Section,
  Split,
  State,
  TimedText,
} from "../components/all.ts";
import type { Figure } from "../last_known.ts";
import type { Visit } from "../visit.ts";
import { changeWords } from "../verdicts/changes.ts";
import { isLate, nameOf, percent } from "../verdicts/health.ts";
import { age } from "../verdicts/endpoint.ts";
import { many, number, type StateWords } from "../verdicts/verdict.ts";
import { typeWords } from "../words.ts";
import {
  chartBars,
  endpointPath,
  EndpointRows,
  NewLink,
  type Room,
  verdictOf,
} from "./endpoints.tsx";
import { aboutWords } from "./deliveries.tsx";
import { policyWords } from "./endpoint_settings.tsx";
import { VerdictHead } from "./verdict.tsx";

/** Content of the dashboard's first page. */
export interface OverviewProps {
  /** Open ones; null if they cannot be read. */
  readonly alerts: OpenAlerts | null;
  readonly visit: Visit;
  readonly overview: Overview;
  /** Names of endpoints, by their ids. */
  readonly names: ReadonlyMap<string, string>;
  /** How the first event is posted, and from which addresses. */
  readonly first_post: { readonly command: string; readonly ranges: readonly string[] };
  /** Parts of the daemon, each `ok` or with what is wrong. */
  readonly checks: Readonly<Record<string, string>>;
}

/** The first page of the dashboard. */
export function OverviewPage(props: OverviewProps) {
  const { visit, overview, first_post } = props;
  const is_empty = !overview.posted;
  const has_endpoints = overview.endpoints.length > 0;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={verdictOf(visit, overview)}
        aside={<Moment at={inSeconds(new Date(visit.now).toISOString())} style="minute" />}
      />
      {is_empty && has_endpoints ? <FirstPost {...first_post} visit={visit} /> : null}
      {is_empty ? null : <Numbers {...props} />}
      {is_empty ? null : <Day {...props} />}
      {has_endpoints
        ? (
          <Section
            title="Endpoints, worst first"
            id="endpoints"
            live="swap"
            aside={
              <>
                <a href={`${visit.house.base}/endpoints`}>All endpoints</a>
                {visit.may_write
                  ? (
                    <>
                      {" · "}
                      <NewLink visit={visit} room={null} />
                    </>
                  )
                  : null}
              </>
            }
          >
            <EndpointRows visit={visit} endpoints={overview.endpoints.slice(0, MAX_ROWS)} />
          </Section>
        )
        : null}
      {is_empty ? <Checks checks={props.checks} /> : null}
      <Split kind="halves">
        <Section
          title="Open alerts"
          id="alerts"
          live="swap"
          aside={<a href={`${visit.house.base}/alerts`}>All alerts</a>}
        >
          {props.alerts === null
            ? <Empty cause="The open alerts could not be read; the log has the reason" />
            : props.alerts.count === 0
            ? <Empty cause="No alert is open" />
            : (
              <Notes
                items={props.alerts.worst.map(({ spoken, is_quiet }) => ({
                  text: (
                    <a href={`${visit.house.base}/alerts#${spoken.id}`}>
                      <TimedText text={headline(spoken, visit.house.audience)} />
                    </a>
                  ),
                  note: is_quiet ? "Acknowledged or snoozed" : null,
                }))}
              />
            )}
        </Section>
        <Section
          title="Latest changes"
          id="changes"
          live="swap"
          aside={<a href={`${visit.house.base}/audit`}>Audit</a>}
        >
          <Changes {...props} />
        </Section>
      </Split>
    </>
  );
}

/** Rows of the overview; the page of endpoints has more. */
const MAX_ROWS = 20;

function FirstPost(
  { visit, command, ranges }: {
    readonly visit: Visit;
    readonly command: string;
    readonly ranges: readonly string[];
  },
) {
  return (
    <Section title="Post the first event" aside={<CopyFrom id="first-post" what="the command" />}>
      <Code text={command} id="first-post" />
      <p class="note">
        From an address in {ranges.join(", ")}
        {visit.environment === "development" ? " or on this machine" : ""}, the range in force for
        {" "}
        {visit.environment}. The answer is 202 with the event’s id; this page then shows it.
      </p>
    </Section>
  );
}

const PARTS: Readonly<Record<string, string>> = {
  database: "Database",
  dispatcher: "Dispatcher",
  disk: "Disk",
};

/** Whether the daemon is ready, while nothing that it did shows it. */
function Checks({ checks }: Pick<OverviewProps, "checks">) {
  return (
    <Section title="Checks" id="checks" live="swap" aside="The same as GET /readyz">
      <Rows
        label="Checks"
        rows={Object.entries(checks)}
        columns={[
          {
            name: "state",
            label: "State",
            phone: "state",
            cell: ([, found]) =>
              found === "ok"
                ? <State kind="delivered" word="Good" />
                : <State kind="failed" word="Fault" />,
          },
          {
            name: "part",
            label: "Checked",
            phone: "subject",
            cell: ([part]) => <Name name={PARTS[part] ?? part} />,
          },
          {
            name: "found",
            label: "Found",
            phone: "reason",
            wrap: true,
            cell: ([, found]) => found === "ok" ? "It works" : found,
          },
        ]}
      />
    </Section>
  );
}

/** The overview's numbers in words. */
export function figuresOf({ today, hour, waiting, overdue, endpoints }: Overview): Figure[] {
  const paused = endpoints.filter(({ health }) => health === "paused")
    .toSorted((a, b) => b.endpoint.pending - a.endpoint.pending)[0];
  const worst = endpoints.find(({ health, today }) => health === "failing" && today.all > 0);
  const rest = worst === undefined
    ? null
    : percent(today.within_30s - worst.today.within_30s, today.all - worst.today.all);
  return [
    {
      label: "Delivered within 30 s, today",
      value: percent(today.within_30s, today.all) ?? "–",
      note: worst !== undefined && rest !== null
        ? `${rest} without ${nameOf(worst.endpoint)}`
        : today.all === 0
        ? today.sent === 0 ? "nothing sent" : "nothing sent that the promise covers"
        : today.begun_in_time < today.all
        ? `${percent(today.begun_in_time, today.all)} were tried within 30 s`
        : `${number(today.within_30s)} of ${number(today.all)}, all tried within 30 s`,
    },
    {
      label: "Delivered in the last hour",
      value: percent(hour.delivered, hour.all) ?? "–",
      note: hour.all === 0
        ? "nothing sent"
        : `${number(hour.delivered)} of ${many(hour.all, "attempt", "attempts")}`,
    },
    {
      label: "Waiting",
      value: waiting.value === 0 ? "None" : number(waiting.value, waiting.exact),
      note: paused !== undefined && paused.endpoint.pending > 0
        ? `${number(paused.endpoint.pending, paused.endpoint.pending_exact)} of them for ${
          nameOf(paused.endpoint)
        }, paused`
        : waiting.value === 0
        ? "everything was sent"
        : "for their next attempt",
    },
    {
      label: "Overdue",
      value: isLate(overdue.oldest_ms) ? number(overdue.value, overdue.exact) : "None",
      note: isLate(overdue.oldest_ms)
        ? `the oldest for ${age(overdue.oldest_ms ?? 0)}`
        : "all sent on time",
    },
  ];
}

function Numbers({ visit, overview }: OverviewProps) {
  const href = `${visit.house.base}/deliveries?status=waiting&since=all`;
  const items = figuresOf(overview).map(({ value, ...figure }) => ({
    ...figure,
    value: figure.label === "Waiting" && overview.waiting.value > 0
      ? (
        <a href={href}>
          {value}
        </a>
      )
      : value,
  }));
  return <Figures id="figures" live="swap" items={items} />;
}

function Day({ visit, overview, names }: OverviewProps) {
  const since = Date.parse(overview.bars[0]?.from ?? "");
  const marks = overview.changes
    .filter(({ at, action }) => Date.parse(at) >= since && MARKED.includes(action))
    .slice(0, 1)
    .map((entry) => ({ at: entry.at, label: markWords(entry, visit, names) }));
  return (
    <Section
      title="Attempts, last 24 hours"
      id="day"
      live="swap"
      aside={<AttemptLegend />}
    >
      <Chart
        bars={chartBars(overview.bars)}
        marks={marks}
        top_label="in an hour"
        unit="attempts"
        label="Attempts of the last 24 hours by outcome"
      />
    </Section>
  );
}

/** Changes that often explain what follows them. */
const MARKED = [
  "endpoint.rotated",
  "endpoint.updated",
  "endpoint.paused",
  "endpoint.resumed",
  "config.reloaded",
];

function nameIn(
  names: ReadonlyMap<string, string>,
  { action, object }: shown.AuditEntry,
): string | null {
  return action.startsWith("endpoint.") ? names.get(object) ?? object : null;
}

function markWords(
  entry: shown.AuditEntry,
  visit: Visit,
  names: ReadonlyMap<string, string>,
): string {
  const { text } = changeWords(entry, visit.house.audience, nameIn(names, entry));
  const short = text.split(": ")[0] ?? text;
  return short.length > 44 ? `${short.slice(0, 43)}…` : short;
}

function Changes({ visit, overview, names }: OverviewProps) {
  if (overview.changes.length === 0) return <Empty cause="Nothing has been changed yet" />;
  return (
    <Notes
      items={overview.changes.map((entry) => {
        const { who, text } = changeWords(entry, visit.house.audience, nameIn(names, entry));
        const has_page = entry.action.startsWith("endpoint.");
        return {
          text: (
            <>
              <strong>{who}</strong>{" "}
              {has_page ? <a href={endpointPath(visit, entry.object)}>{text}</a> : text}
            </>
          ),
          note: (
            <>
              <Ago at={entry.at} />
              {entry.address === null ? null : `, from ${entry.address}`}
            </>
          ),
        };
      })}
    />
  );
}

// --- the portal --------------------------------------------------------------------------------------------

/** An update about a booking, with the systems that it was sent to. */
export interface Sent {
  /** Service, day and time, as far as they are known. */
  readonly about: About | undefined;
  readonly event: Pick<
    shown.EventSummary,
    "id" | "type" | "subject" | "confirmation_number" | "test" | "received_at"
  >;
  readonly state: StateWords;
  readonly to: readonly string[];
}

/** Content of the portal's first page. */
export interface PortalProps {
  readonly visit: Visit;
  readonly overview: Overview;
  readonly room: Room;
  readonly sent: readonly Sent[];
  /** What the configuration says for endpoints that say nothing. */
  readonly retry_ms: readonly number[];
  readonly kept_days: number;
}

/** The portal's numbers in words, which it shows only while the database is away. */
export function portalFigures({ today, waiting }: Overview): Figure[] {
  return [
    { label: "Updates sent today", value: number(today.all) },
    { label: "On the way", value: number(waiting.value, waiting.exact) },
  ];
}

/** The first page of the portal. */
export function PortalOverviewPage(
  { visit, overview, room, sent, retry_ms, kept_days }: PortalProps,
) {
  const { base } = visit.house;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={verdictOf(visit, overview)}
        crumbs="Settings › Integrations › Webhooks"
      />
      <Section
        title="Your endpoints"
        id="endpoints"
        live="swap"
        aside={<NewLink visit={visit} room={room} />}
      >
        <EndpointRows visit={visit} endpoints={overview.endpoints} />
      </Section>
      <Section
        title="Latest updates sent"
        id="sent"
        live="list"
        aside={<a href={`${base}/deliveries`}>See all</a>}
      >
        <Rows
          label="Latest updates sent"
          rows={sent}
          href={({ event }) => `${base}/events/${encodeURIComponent(event.id)}`}
          id={({ event }) => event.id}
          columns={sentColumns()}
          empty={
            <Empty cause="Nothing was sent yet">
              Whatever is new about your bookings is listed here.
            </Empty>
          }
        />
      </Section>
      <Section title="If a system is down">
        <Split kind="thirds">
          <div>
            <strong>We keep trying</strong>
            <p>
              BookMe makes{" "}
              {policyWords(retry_ms)}. If your website is down for a while, the bookings arrive once
              it is back.
            </p>
          </div>
          <div>
            <strong>You can send again</strong>
            <p>
              Anything that did not arrive stays here for{" "}
              {many(kept_days, "day", "days")}, with a button to send it again.
            </p>
          </div>
          <div>
            <strong>Your technician can see why</strong>
            <p>
              Every booking has a page with the exact request and answer. Copy the link and send it
              to whoever looks after your website. <a href={`${base}/help`}>Help for technicians</a>
            </p>
          </div>
        </Split>
      </Section>
    </>
  );
}

function sentColumns(): Column<Sent>[] {
  return [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: ({ state }) => <State {...state} />,
    },
    {
      name: "booking",
      label: "Booking",
      phone: "subject",
      cell: ({ event }) => (
        <Name
          name={typeWords(event.type, "business") + (event.test ? " (test)" : "")}
          under={event.confirmation_number ?? event.subject ?? undefined}
        />
      ),
    },
    {
      name: "about",
      label: "About",
      phone: "reason",
      wrap: true,
      cell: ({ about }) => aboutWords(about),
    },
    {
      name: "to",
      label: "Sent to",
      phone: "hide",
      cell: ({ to }) => to.length === 0 ? "Nowhere" : to.join(", "),
    },
    {
      name: "when",
      label: "When",
      align: "right",
      phone: "time",
      cell: ({ event }) => <Ago at={event.received_at} />,
    },
  ];
}
