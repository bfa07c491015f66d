import type { About } from "../../../lib/admin/about.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { DELIVERY_REASONS } from "../../../lib/core/cancellation.ts";
import { nearest } from "../../../lib/core/nearest.ts";
import {
  Ago,
  Chips,
  type Column,
  Count,
  Empty,
  Filter,
  Fold,
  FormRow,
  Name,
  Pager,
  Rows,
  Section,
  SelectField,
  State,
  Submit,
  Tabs,
  TextField,
  TypeName,
} from "../components/all.ts";
import {
  type Filter as FilterName,
  type Filters,
  forTab,
  inForce,
  listPath,
  without,
} from "../delivery_filters.ts";
import { deliveryState, whyWords } from "../verdicts/attempts.ts";
import type { Shown } from "../verdicts/deliveries.ts";
import type { Verdict } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { Sentence, VerdictHead } from "./verdict.tsx";

/** A count as far as it went. */
export interface Bounded {
  readonly value: number;
  readonly exact: boolean;
}

/** Why a list is empty. */
export type EmptyCause =
  /** Nothing was ever posted. */
  | { readonly kind: "none" }
  /** There is some, but none matches; how many do without each of the filters. */
  | {
    readonly kind: "filtered";
    readonly without: readonly { readonly name: FilterName; readonly count: Bounded }[];
  }
  /** It lies before what is kept. */
  | { readonly kind: "removed"; readonly kept_since: string }
  /** None of the newest matches; older ones may. */
  | { readonly kind: "deeper" };

/** Everything that the page shows. */
export interface DeliveriesProps {
  readonly visit: Visit;
  readonly filters: Filters;
  readonly errors: ReadonlyMap<string, string>;
  readonly verdict: Verdict | null;
  /** By tab; null if it was not counted. */
  readonly counts: ReadonlyMap<Shown, Bounded>;
  readonly rows: readonly shown.Delivery[];
  readonly names: ReadonlyMap<string, string>;
  /** What events are about, by their ids; empty for operators. */
  readonly about: ReadonlyMap<string, About>;
  readonly types: readonly string[];
  readonly older: string | null;
  readonly is_first: boolean;
  readonly empty: EmptyCause | null;
  readonly kept_days: number;
}

/** Deliveries: what was found in words, presets, filters, and a row each. */
export function DeliveriesPage(props: DeliveriesProps) {
  const { visit, filters, verdict, rows, older, is_first, kept_days } = props;
  const { base } = visit.house;
  return (
    <>
      {verdict === null ? <Refused {...props} /> : (
        <VerdictHead
          visit={visit}
          verdict={verdict}
          is_list
          crumbs="Deliveries"
        />
      )}
      <ListTabs {...props} />
      <Chips
        items={inForce(filters).map(([name, value]) => ({
          name,
          value: name === "endpoint" ? props.names.get(value) ?? value : value,
          remove_href: listPath(base, without(filters, name)),
        }))}
      >
        {inForce(filters).some(([name]) => name !== "since")
          ? <a href={listPath(base, cleared(filters))}>Clear all</a>
          : null}
        <AddFilter {...props} />
      </Chips>
      {verdict === null ? null : (
        <Section id="deliveries" live="list">
          <Rows
            label="Deliveries"
            columns={visit.house.audience === "operator"
              ? operatorColumns(props)
              : businessColumns(props)}
            rows={rows}
            href={(row) => `${base}/deliveries/${row.id}`}
            id={(row) => row.id}
            empty={<Nothing {...props} />}
          />
          {rows.length === 0 && (older === null || is_first) ? null : (
            <Pager
              older_href={older}
              newest_href={is_first ? null : listPath(base, filters)}
              note={
                <>
                  <ShownOf {...props} />
                  {`. ${visit.house.audience === "operator" ? "Deliveries" : "They"} are kept for ${
                    kept_days === 1 ? "1 day" : `${kept_days} days`
                  }.`}
                </>
              }
            />
          )}
        </Section>
      )}
    </>
  );
}

function cleared({ shown }: Filters): Filters {
  return forTab(
    { shown: "all", endpoint: "", type: "", reason: "", code: "", since: "24h", until: "" },
    shown,
  );
}

/** `Newest 50 of 250`, `All 29`, `50 of 250`. */
function ShownOf({ counts, filters, rows, older, is_first }: DeliveriesProps) {
  if (is_first && older === null) return <>{`All ${rows.length}`}</>;
  const all = counts.get(filters.shown);
  return (
    <>
      {is_first ? "Newest " : ""}
      {rows.length}
      {all === undefined ? "" : " of "}
      {all === undefined ? "" : <Count {...all} />}
    </>
  );
}

function Refused({ visit, errors }: DeliveriesProps) {
  return (
    <VerdictHead
      visit={visit}
      verdict={{
        tone: "calm",
        state: { kind: "unused", word: "Not searched" },
        headline: [
          errors.size === 1 ? "One filter cannot be used" : "Some filters cannot be used",
        ],
        sentences: [...errors].map(([name, message]) => [{ strong: name }, `: ${message}.`]),
        actions: [],
      }}
      crumbs="Deliveries"
    />
  );
}

/** Whether a count says no more than that it went nowhere. */
function isUnknown({ value, exact }: Bounded): boolean {
  return value === 0 && !exact;
}

const TABS: readonly (readonly [Shown, operator: string, business: string])[] = [
  ["attention", "Needs attention", "Not arrived"],
  ["failed", "Failed", "Given up"],
  ["waiting", "Waiting", "On the way"],
  ["overdue", "Overdue", "Late"],
  ["delivered", "Delivered", "Arrived"],
  ["tests", "Tests", "Tests"],
  ["all", "All", "All"],
];

function ListTabs({ visit, filters, counts }: DeliveriesProps) {
  const { base, audience } = visit.house;
  return (
    <Tabs
      items={TABS.map(([shown, operator, business]) => {
        const count = counts.get(shown);
        return {
          label: audience === "operator" ? operator : business,
          href: listPath(base, forTab(filters, shown)),
          count: count === undefined || isUnknown(count) ? null : <Count {...count} />,
          current: shown === filters.shown,
        };
      })}
    />
  );
}

function AddFilter({ visit, filters, errors, names, types }: DeliveriesProps) {
  const error = (name: FilterName) => errors.get(name);
  const any = { value: "", label: "Any" };
  return (
    <Fold label="Add a filter" open={errors.size > 0}>
      <Filter action={`${visit.house.base}/deliveries`} wide>
        <input type="hidden" name="status" value={filters.shown} />
        <SelectField
          name="endpoint"
          label="Endpoint"
          value={filters.endpoint}
          error={error("endpoint")}
          options={[
            any,
            ...among(filters.endpoint, [...names.keys()]).map((id) => ({
              value: id,
              label: names.get(id) ?? id,
            })),
          ]}
        />
        <SelectField
          name="type"
          label="Event type"
          value={filters.type}
          error={error("type")}
          options={[
            any,
            ...among(filters.type, types).map((type) => ({
              value: type,
              label: typeWords(type, visit.house.audience),
            })),
          ]}
        />
        <SelectField
          name="reason"
          label="Reason"
          value={filters.reason}
          error={error("reason")}
          note="Why the last attempt failed, or why it was cancelled."
          options={[
            any,
            ...among(filters.reason, DELIVERY_REASONS).map((value) => ({
              value,
              label: value === "any" ? "any failure" : value,
            })),
          ]}
        />
        <TextField
          name="code"
          label="Status code"
          value={filters.code}
          error={error("code")}
          note="Of the last answer: 401, or 4xx."
          narrow
        />
        <TextField
          name="since"
          label="Posted since"
          value={filters.since}
          error={error("since")}
          note="24h or 3d ago, 2026-11-26 14:00 (UTC), or all."
          narrow
        />
        <TextField
          name="until"
          label="Posted before"
          value={filters.until}
          error={error("until")}
          note="Like Posted since. Empty: now."
          narrow
        />
        <FormRow>
          <Submit label="Show" kind="plain" />
        </FormRow>
      </Filter>
    </Fold>
  );
}

/** The options, with what was typed: it stays chosen. */
function among(typed: string, options: readonly string[]): readonly string[] {
  return typed === "" || options.includes(typed) ? options : [typed, ...options];
}

type Columns = readonly Column<shown.Delivery>[];

function whyCell({ visit }: DeliveriesProps, row: shown.Delivery) {
  return <Sentence words={whyWords(row, { audience: visit.house.audience, now: visit.now })} />;
}

function when({ state, last_attempt_at, created_at, sending }: shown.Delivery) {
  return sending && state === "sending" ? "now" : <Ago at={last_attempt_at ?? created_at} />;
}

/** `2 of 7` while it is pending, else how many there were. */
function attemptsWords(
  { status, counted_attempts, max_attempts, attempt_count, sending }: shown.Delivery,
): string {
  if (status !== "pending" || max_attempts === null) return String(attempt_count);
  const nth = Math.min((counted_attempts ?? 0) + (sending ? 1 : 0), max_attempts);
  return `${nth} of ${max_attempts}`;
}

function operatorColumns(props: DeliveriesProps): Columns {
  return [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: (row) => <State {...deliveryState(row, "operator")} />,
    },
    {
      name: "event",
      label: "Event",
      phone: "subject",
      cell: (row) => (
        <Name
          name={row.confirmation_number ?? row.subject ?? "Event"}
          rest={<TypeName type={row.event_type} />}
        />
      ),
    },
    {
      name: "endpoint",
      label: "Endpoint",
      phone: "under",
      cell: (row) => props.names.get(row.endpoint_id) ?? row.endpoint_id,
    },
    { name: "why", label: "Why", phone: "reason", wrap: true, cell: (row) => whyCell(props, row) },
    { name: "attempts", label: "Attempts", align: "right", phone: "hide", cell: attemptsWords },
    { name: "last", label: "Last attempt", align: "right", phone: "time", cell: when },
  ];
}

function businessColumns(props: DeliveriesProps): Columns {
  return [
    {
      name: "state",
      label: "State",
      phone: "state",
      cell: (row) => <State {...deliveryState(row, "business")} />,
    },
    {
      name: "booking",
      label: "Booking",
      phone: "subject",
      cell: (row) => (
        <Name
          name={row.test ? "Test" : typeWords(row.event_type, "business")}
          under={row.confirmation_number ?? row.subject}
        />
      ),
    },
    {
      name: "about",
      label: "About",
      phone: "kind",
      cell: (row) => aboutWords(props.about.get(row.event_id)),
    },
    {
      name: "endpoint",
      label: "Sent to",
      phone: "under",
      cell: (row) => props.names.get(row.endpoint_id) ?? row.endpoint_id,
    },
    { name: "why", label: "Why", phone: "reason", wrap: true, cell: (row) => whyCell(props, row) },
    { name: "last", label: "When", align: "right", phone: "time", cell: when },
  ];
}

/** Keeps a day and its time on one line. */
const NBSP = "\u00a0";
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `Haircut & Style, Sat 1 Nov, 10:00`: day and time as the business posted them. */
export function aboutWords(about: About | undefined): string {
  if (about === undefined) return "";
  const { service, date, time } = about;
  const day = date === null ? null : new Date(`${date}T00:00:00Z`);
  const words = day === null || Number.isNaN(day.getTime())
    ? null
    : `${DAYS[day.getUTCDay()]}${NBSP}${day.getUTCDate()}${NBSP}${MONTHS[day.getUTCMonth()]}`;
  const when = [words, time].filter((part) => part !== null).join(`,${NBSP}`);
  return [service, when].filter((part) => part !== null && part !== "").join(", ");
}

/** That the type which a list is narrowed to is none of those in force, and which may be meant. */
function UnknownType({ filters, types, visit }: DeliveriesProps) {
  const { type } = filters;
  if (type === "" || types.includes(type) || type.startsWith("webhooks.")) return null;
  const near = nearest(type, types);
  return (
    <>
      {`No event type is called ${type}. `}
      {near === undefined ? null : (
        <>
          {"Did you mean "}
          <a href={listPath(visit.house.base, { ...filters, type: near })}>{near}</a>
          {"? "}
        </>
      )}
    </>
  );
}

function Nothing(props: DeliveriesProps) {
  const { empty, visit, filters, kept_days, older } = props;
  const { base, audience } = visit.house;
  const is_business = audience === "business";
  switch (empty?.kind) {
    case "none":
      return (
        <Empty cause={is_business ? "Nothing was sent yet" : "Nothing was posted yet"}>
          {is_business
            ? "The next booking shows up here by itself. "
            : "The first event shows up here by itself. "}
          <a href={is_business ? `${base}/test` : base}>
            {is_business ? "Send a test" : "Post the first event"}
          </a>
        </Empty>
      );
    case "removed":
      return (
        <Empty cause={`Removed before ${empty.kept_since.slice(0, 10)}`}>
          {`${is_business ? "They" : "Deliveries"} are kept for ${kept_days} days.`}
          {is_business ? "" : " Set retention.attempts to keep them longer."}
        </Empty>
      );
    case "deeper":
      return (
        <Empty cause="A search stops after the newest ones, so that it stays fast">
          <UnknownType {...props} />
          {older === null ? null : <a href={older}>Look among older ones</a>}
        </Empty>
      );
    case "filtered":
      return (
        <Empty cause={is_business ? "Nothing matches" : "No delivery matches these filters"}>
          <UnknownType {...props} />
          {empty.without.map(({ name, count }) => (
            <>
              <Count {...count} />
              {` ${count.value === 1 && count.exact ? "matches" : "match"} without ${name} `}
              {`${filters[name]}. `}
              <a href={listPath(base, without(filters, name))}>{`Remove ${name}`}</a>
              {". "}
            </>
          ))}
          <a href={listPath(base, { ...cleared({ ...filters, shown: "all" }), since: "all" })}>
            Show all
          </a>
        </Empty>
      );
    default:
      return null;
  }
}
