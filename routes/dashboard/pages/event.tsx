import type { About } from "../../../lib/admin/about.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import { prettyJson } from "../../../lib/core/pretty_json.ts";
import {
  Code,
  CopyFrom,
  Facts,
  Fold,
  Id,
  LinkButton,
  Moment,
  Name,
  Rows,
  Section,
  State,
} from "../components/all.ts";
import { deliveryState, whyWords } from "../verdicts/attempts.ts";
import type { DeliveryPageFacts } from "../verdicts/delivery.ts";
import { canBeOwed, replayMissing } from "../verdicts/event.ts";
import { advised, type StateWords, told, type Verdict } from "../verdicts/verdict.ts";
import type { Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { aboutWords } from "./deliveries.tsx";
import { PayloadGone } from "./delivery.tsx";
import { Sentence, VerdictHead } from "./verdict.tsx";

/** Everything that the page shows. */
export interface EventProps {
  readonly visit: Visit;
  readonly event: shown.EventDetail;
  readonly verdict: Verdict;
  readonly payload: DeliveryPageFacts["payload"];
  readonly about: About | undefined;
  readonly names: ReadonlyMap<string, string>;
}

/** One event: where it went and where not, and why. */
export function EventPage(props: EventProps) {
  const { visit, event, verdict } = props;
  const { house } = visit;
  const name = event.confirmation_number ?? event.subject ?? event.id;
  return (
    <>
      <VerdictHead
        visit={visit}
        verdict={verdict}
        crumbs={
          <>
            <a href={`${house.base}/deliveries?status=all`}>Deliveries</a>
            {` › ${typeWords(event.type, house.audience)}, ${name}`}
          </>
        }
        aside={
          <>
            {"posted "}
            <Moment at={event.received_at} style="relative" />
          </>
        }
      />
      <Section
        id="endpoints"
        title={house.audience === "operator" ? "Where it went, and where not" : "Your systems"}
        live="swap"
      >
        <EndpointRows {...props} />
      </Section>
      <Section title={house.audience === "operator" ? "Event" : "Booking"}>
        <EventFacts {...props} />
      </Section>
      <Payload {...props} />
      <PayloadGone visit={visit} event={event} payload={props.payload} />
    </>
  );
}

/** The state of an event at an endpoint: that of its delivery, or that it is not owed. */
function stateOf({ owed, state }: shown.EndpointVerdict, { house }: Visit): StateWords {
  if (!owed) {
    return { kind: "cancelled", word: house.audience === "operator" ? "Not owed" : "Not sent" };
  }
  return deliveryState({ state: state as shown.Delivery["state"] }, house.audience);
}

/** With thousands of endpoints, most say that they do not select the event. */
const MAX_ROWS = 100;

/** The place of a row: what did not arrive first, what was not owed last. */
function rankOf({ owed, state }: shown.EndpointVerdict): number {
  if (!owed) return 4;
  return { failed: 0, cancelled: 2, delivered: 3 }[state as string] ?? 1;
}

function EndpointRows({ visit, event, names }: EventProps) {
  const { base, audience } = visit.house;
  const deliveries = new Map(event.deliveries.map((delivery) => [delivery.id, delivery]));
  // A test goes to one endpoint: that it did not go to each of the others is no news.
  const rows = event.endpoints.filter(({ state }) => state !== "test_of_another")
    .toSorted((a, b) => rankOf(a) - rankOf(b));
  const last = ({ delivery_id }: shown.EndpointVerdict) =>
    delivery_id === null ? undefined : deliveries.get(delivery_id)?.last_attempt_at ?? undefined;
  const more = rows.length - MAX_ROWS;
  const table = (
    <Rows
      label="Endpoints"
      columns={[
        {
          name: "state",
          label: "State",
          phone: "state",
          cell: (row) => <State {...stateOf(row, visit)} />,
        },
        {
          name: "endpoint",
          label: audience === "operator" ? "Endpoint" : "System",
          phone: "subject",
          cell: (row) => <Name name={names.get(row.endpoint_id) ?? row.endpoint_id} />,
        },
        {
          name: "why",
          label: "Why",
          phone: "reason",
          wrap: true,
          cell: (row) => <Why visit={visit} row={row} event={event} />,
        },
        {
          name: "last",
          label: "Last attempt",
          align: "right",
          phone: "time",
          cell: (row) => {
            const at = last(row);
            return at === undefined ? "" : <Moment at={at} style="relative" />;
          },
        },
      ]}
      rows={rows.slice(0, MAX_ROWS)}
      href={(row) =>
        row.delivery_id === null
          ? canBeOwed(row) ? null : `${base}/endpoints/${encodeURIComponent(row.endpoint_id)}`
          : `${base}/deliveries/${row.delivery_id}`}
      id={(row) => row.endpoint_id}
      empty={<p class="note">No endpoint existed when it was stored.</p>}
    />
  );
  return more <= 0 ? table : (
    <>
      {table}
      <p class="note">{`And ${more.toLocaleString("en-GB")} more; the API lists them all.`}</p>
    </>
  );
}

const NOT_OWED: Readonly<Record<string, string>> = {
  type_not_selected: "Not set to receive updates of this kind",
  made_later: "Made later",
  retired: "Deleted before",
  changed_later: "Set to receive it later only",
  test_of_another: "The test was for another system",
};

function Why({ visit, row, event }: {
  readonly visit: Visit;
  readonly row: shown.EndpointVerdict;
  readonly event: shown.EventDetail;
}) {
  const { house, may_write, now } = visit;
  const { audience } = house;
  const delivery = event.deliveries.find(({ id }) => id === row.delivery_id);
  const words = delivery !== undefined
    ? whyWords(delivery, { audience, now })
    : audience === "business"
    ? [NOT_OWED[row.state] ?? "Not sent to it"]
    : told(row.explanation);
  // An attempt before the cancellation explains nothing any more.
  const is_over = row.state === "cancelled";
  return (
    <>
      <Sentence words={words} />
      {is_over ? null : row.hints.map(({ text }) => <span class="second">{`${text}.`}</span>)}
      {is_over || row.advice === null || row.hints.length > 0 || audience === "business"
        ? null
        : (
          <span class="second">
            <Sentence words={[...advised(row.advice, house.base, row.delivery_id), "."]} />
          </span>
        )}
      {canBeOwed(row) && may_write
        ? (
          <>
            {" "}
            <a href={replayMissing(house.base, row, event)}>Send it what it is missing…</a>
          </>
        )
        : null}
    </>
  );
}

function EventFacts({ visit, event, about }: EventProps) {
  const is_business = visit.house.audience === "business";
  const words = aboutWords(about);
  const { base } = visit.house;
  return (
    <Facts
      items={[
        [
          is_business ? "What" : "Type",
          <>
            {typeWords(event.type, visit.house.audience)}
            {event.test ? " (test)" : ""}
            {words === "" ? "" : `: ${words}`}
          </>,
        ],
        ["Received", <Moment at={event.received_at} />],
        ...(event.confirmation_number === null ? [] : [
          [
            "Confirmation number",
            <a href={`${base}/search?${new URLSearchParams({ q: event.confirmation_number })}`}>
              {event.confirmation_number}
            </a>,
          ] as const,
        ]),
        ...(event.subject === null ? [] : [
          [
            "Subject",
            <a href={`${base}/search?${new URLSearchParams({ q: event.subject })}`}>
              {event.subject}
            </a>,
          ] as const,
        ]),
        ...(is_business ? [] : [
          [
            "Business",
            event.business === null ? "None known" : (
              <>
                <a href={`${base}/search?${new URLSearchParams({ q: event.business })}`}>
                  {event.business}
                </a>
                {about?.business == null ? "" : `, ${about.business}`}
              </>
            ),
          ] as const,
        ]),
        ["Event id", <Id text={event.id} what="the event’s id" />],
      ]}
    />
  );
}

function Payload({ visit, event }: EventProps) {
  const { payload } = event;
  if (payload === null) return null;
  const pretty = prettyJson(payload);
  const bytes = new TextEncoder().encode(payload).length.toLocaleString("en-GB");
  return (
    <Section
      title="Payload"
      aside={
        <>
          {`${bytes} bytes, as posted `}
          <CopyFrom id="payload" what="the payload" />
        </>
      }
    >
      <Code text={payload} id="payload" />
      {pretty === null || pretty === payload ? null : (
        <Fold label="Pretty">
          <Code text={pretty} id="payload-pretty" />
        </Fold>
      )}
      {visit.may_write && visit.house.audience === "operator" && !event.test
        ? (
          <p>
            <LinkButton
              href={`${visit.house.base}/test?event=${encodeURIComponent(event.type)}`}
              label="Send a test of this type"
            />
          </p>
        )
        : null}
    </Section>
  );
}
