import type * as shown from "../../../lib/admin/shown.ts";
import {
  Ago,
  Chips,
  type Column,
  Diff,
  Empty,
  Filter,
  Fold,
  Moment,
  Name,
  Pager,
  Rows,
  Section,
  Submit,
  TextField,
  TimedText,
  Verdict,
} from "../components/all.ts";
import { actorWords, changeWords } from "../verdicts/changes.ts";
import { differences } from "../verdicts/difference.ts";
import type { Visit } from "../visit.ts";

/** Narrows the list of changes. */
interface AuditFilter {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly object?: string | undefined;
}

const NAMES = ["actor", "action", "object"] as const;

/** Changes with their actor, time and address. */
export function AuditPage({ visit, entries, names, filter, is_first }: {
  readonly visit: Visit;
  readonly entries: shown.Page<shown.AuditEntry>;
  readonly names: ReadonlyMap<string, string>;
  readonly filter: AuditFilter;
  readonly is_first: boolean;
}) {
  const [latest] = entries.data;
  const here = `${visit.house.base}/audit`;
  const is_filtered = NAMES.some((name) => filter[name] !== undefined);
  return (
    <>
      <Verdict
        tone="calm"
        crumbs="Audit"
        aside={latest === undefined || !is_first ? undefined : <Ago at={latest.at} />}
        headline={<TimedText text={headlineOf(latest, names, visit, is_filtered, is_first)} />}
      >
        <p>Changes by people and by the program itself. Secrets and payloads are never in it.</p>
      </Verdict>
      <Section>
        <Chips
          items={NAMES.flatMap((name) => {
            const value = filter[name];
            return value === undefined
              ? []
              : [{ name, value, remove_href: withFilter(here, { ...filter, [name]: undefined }) }];
          })}
        >
          {is_filtered ? <a href={here}>Clear all</a> : null}
        </Chips>
        <AuditFilterForm here={here} filter={filter} />
        <Rows
          label="Changes"
          rows={entries.data}
          columns={columnsOf(visit, names)}
          href={(entry) => objectHref(visit.house.base, entry)}
          empty={is_filtered
            ? (
              <Empty cause="No change matches these filters">
                <a href={here}>Clear all filters</a>
              </Empty>
            )
            : <Empty cause="Nothing has been changed yet" />}
        />
        <Pager
          note={entries.data.length === 0 ? null : `${entries.data.length} changes, newest first`}
          newest_href={is_first ? null : withFilter(here, filter)}
          older_href={entries.next_cursor === null
            ? null
            : withFilter(here, filter, entries.next_cursor)}
        />
      </Section>
    </>
  );
}

function headlineOf(
  latest: shown.AuditEntry | undefined,
  names: ReadonlyMap<string, string>,
  { house }: Visit,
  is_filtered: boolean,
  is_first: boolean,
): string {
  if (latest === undefined) {
    return is_filtered ? "No change matches these filters" : "Nothing has been changed yet";
  }
  if (!is_first) return "Older changes";
  const { who, text } = changeWords(latest, house.audience, nameOf(latest, names));
  return `${who} ${text}`;
}

function nameOf({ object }: shown.AuditEntry, names: ReadonlyMap<string, string>): string | null {
  return names.get(object) ?? null;
}

function AuditFilterForm(
  { here, filter }: { readonly here: string; readonly filter: AuditFilter },
) {
  const labels = { actor: "Who", action: "Action", object: "Id of what was changed" };
  const notes = {
    actor: "Name of a token, or portal: and a link's id",
    action: "endpoint.rotated",
    object: "ep_…, dlv_…, alr_…",
  };
  return (
    <Fold label="Filter">
      <Filter action={here} wide>
        {NAMES.map((name) => (
          <TextField
            name={name}
            label={labels[name]}
            value={filter[name] ?? ""}
            note={notes[name]}
          />
        ))}
        <Submit label="Show" kind="plain" />
      </Filter>
    </Fold>
  );
}

function columnsOf(
  visit: Visit,
  names: ReadonlyMap<string, string>,
): Column<shown.AuditEntry>[] {
  const { audience } = visit.house;
  return [
    { name: "when", label: "When", phone: "time", cell: ({ at }) => <Moment at={at} /> },
    {
      name: "who",
      label: "Who",
      phone: "kind",
      cell: ({ actor, address }) => <Name name={actorWords(actor, audience)} under={address} />,
    },
    {
      name: "what",
      label: "What",
      phone: "subject",
      wrap: true,
      cell: (entry) => <TimedText text={changeWords(entry, audience, nameOf(entry, names)).text} />,
    },
    {
      name: "change",
      label: "Before → after",
      phone: "reason",
      cell: ({ before, after }) => {
        const changes = differences(before, after);
        return changes.length === 0 ? null : <Diff changes={changes} />;
      },
    },
  ];
}

/** The page of what was changed; null without one. */
function objectHref(base: string, { action, object }: shown.AuditEntry): string | null {
  const id = encodeURIComponent(object);
  if (object.startsWith("dlv_")) return `${base}/deliveries/${id}`;
  if (object.startsWith("evt_")) return `${base}/events/${id}`;
  if (object.startsWith("rpl_")) return `${base}/replays/${id}`;
  if (object.startsWith("alr_")) return `${base}/alerts#${id}`;
  if (action.startsWith("alert")) return `${base}/alerts`;
  return action.startsWith("endpoint.") ? `${base}/endpoints/${id}` : null;
}

function withFilter(here: string, filter: AuditFilter, cursor?: string): string {
  const query = new URLSearchParams();
  for (const name of NAMES) {
    const value = filter[name];
    if (value !== undefined) query.set(name, value);
  }
  if (cursor !== undefined) query.set("cursor", cursor);
  const text = query.toString();
  return text === "" ? here : `${here}?${text}`;
}
