import type { FoundEvent, SearchFound } from "../../../lib/admin/search.ts";
import { capitalised } from "../../../lib/core/words.ts";
import {
  Ago,
  Filter,
  FormRow,
  Name,
  Rows,
  Section,
  State,
  Submit,
  TextField,
  TypeName,
  Url,
} from "../components/all.ts";
import { many, type StateWords, type Verdict } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { VerdictHead } from "./verdict.tsx";

/** Everything that the page shows. */
export interface SearchProps {
  readonly visit: Visit;
  /** As typed. */
  readonly query: string;
  /** Null if it was not searched. */
  readonly found: SearchFound | null;
  /** Why it was not searched; null if it was, or nothing was typed. */
  readonly mistake: string | null;
  /** A query that may be meant. */
  readonly meant: string | null;
}

/** Results of a search that did not find exactly one thing. */
export function SearchPage(props: SearchProps) {
  const { visit, query, found } = props;
  return (
    <>
      <VerdictHead visit={visit} verdict={verdictOf(props)} crumbs="Search" is_list />
      {found === null ? null : <Found {...props} found={found} />}
      <Section title={query === "" ? "Search" : "Search again"}>
        <Filter action={`${visit.house.base}/search`} wide>
          <TextField
            name="q"
            label="For"
            value={query}
            note={visit.house.audience === "operator"
              ? "An id, a confirmation number, an appointment, a business, an endpoint or its URL; or status:failed endpoint:crm type:booking.created reason:timeout code:401 since:2h until:1h."
              : "A confirmation number, like BK7X9M2P, or one of your systems."}
          />
          <FormRow>
            <Submit label="Search" kind="plain" />
          </FormRow>
        </Filter>
      </Section>
    </>
  );
}

function verdictOf({ visit, query, found, mistake, meant }: SearchProps): Verdict {
  const base = { tone: "calm", actions: [] } as const;
  const at = (text: string) => `${visit.house.base}/search?${new URLSearchParams({ q: text })}`;
  const instead = meant === null ? [] : [["Did you mean ", { href: at(meant), text: meant }, "?"]];
  if (mistake !== null) {
    return {
      ...base,
      state: { kind: "unused", word: "Not searched" },
      headline: [mistake.split("; ")[0] ?? mistake],
      sentences: [...rest(mistake), ...instead],
    };
  }
  if (found === null) {
    return {
      ...base,
      state: { kind: "unused", word: "Nothing typed" },
      headline: ["Type an id, a name or a filter"],
      sentences: [],
    };
  }
  const count = found.events.length + found.endpoints.length;
  if (count > 0) {
    return {
      ...base,
      state: { kind: "owed", word: "Found" },
      headline: [
        `${many(count, "result", "results", !found.has_more_events)} for ${query}`,
      ],
      sentences: [],
    };
  }
  const near = found.near.map(({ name }) => [{ href: at(name), text: name }, " "]).flat();
  return {
    ...base,
    state: { kind: "unused", word: "Not found" },
    headline: [`Nothing was found for ${query}`],
    sentences: near.length === 0
      ? [["It may be mistyped, or older than what is kept."]]
      : [["Did you mean ", ...near.slice(0, -1), "?"]],
  };
}

/** The remedy that follows a mistake: `There are status:, endpoint: …`. */
function rest(mistake: string): string[][] {
  const [, ...remedy] = mistake.split("; ");
  return remedy.length === 0 ? [] : [[`${capitalised(remedy.join("; "))}.`]];
}

function Found({ visit, found }: SearchProps & { readonly found: SearchFound }) {
  const { base } = visit.house;
  return (
    <>
      {found.endpoints.length === 0
        ? null
        : (
          <Section title={visit.house.audience === "operator" ? "Endpoints" : "Your systems"}>
            <Rows
              label="Endpoints"
              columns={[
                {
                  name: "endpoint",
                  label: "Endpoint",
                  cell: (row) => (
                    <Name
                      name={row.description ?? row.id}
                      rest={row.retired ? "deleted" : undefined}
                    />
                  ),
                },
                {
                  name: "url",
                  label: "URL",
                  phone: "reason",
                  wrap: true,
                  cell: ({ url }) => <Url text={url} />,
                },
              ]}
              rows={found.endpoints}
              href={({ id }) => `${base}/endpoints/${encodeURIComponent(id)}`}
            />
          </Section>
        )}
      {found.events.length === 0 ? null : (
        <Section
          title={visit.house.audience === "operator" ? "Events" : "Bookings"}
          aside={found.has_more_events ? `The newest ${found.events.length}` : undefined}
        >
          <EventRows visit={visit} events={found.events} />
        </Section>
      )}
    </>
  );
}

/** Whether an event has arrived wherever it is owed. */
function stateOf({ failed, pending }: FoundEvent, { house }: Visit): StateWords {
  if (failed) {
    return { kind: "failed", word: house.audience === "operator" ? "Failed" : "Given up" };
  }
  if (pending) return { kind: "waiting", word: "Waiting" };
  return { kind: "delivered", word: house.audience === "operator" ? "Delivered" : "Arrived" };
}

/** Events, newest first. */
export function EventRows({ visit, events }: {
  readonly visit: Visit;
  readonly events: readonly FoundEvent[];
}) {
  const { base, audience } = visit.house;
  return (
    <Rows
      label="Events"
      columns={[
        {
          name: "state",
          label: "State",
          phone: "state",
          cell: (row) => <State {...stateOf(row, visit)} />,
        },
        {
          name: "event",
          label: audience === "operator" ? "Event" : "Booking",
          phone: "subject",
          cell: (row) => (
            <Name
              name={row.confirmation_number ?? row.subject ?? row.id}
              rest={audience === "operator"
                ? <TypeName type={row.type} />
                : typeWords(row.type, audience)}
            />
          ),
        },
        ...(audience === "operator"
          ? [{
            name: "business",
            label: "Business",
            phone: "under" as const,
            cell: (row: FoundEvent) => row.business ?? "",
          }]
          : []),
        {
          name: "at",
          label: "Posted",
          align: "right",
          phone: "time",
          cell: (row) => <Ago at={row.received_at} />,
        },
      ]}
      rows={events}
      href={(row) => `${base}/events/${row.id}`}
    />
  );
}
