import { Buffer } from "node:buffer";
import type { About } from "../../../lib/admin/about.ts";
import type * as shown from "../../../lib/admin/shown.ts";
import {
  AttemptDetails,
  type Content,
  durationWords,
  Empty,
  Facts,
  FormMessage,
  Id,
  Moment,
  Notice,
  Section,
  Split,
  Timeline,
  Url,
} from "../components/all.ts";
import type { FormState } from "../forms.ts";
import { inWord } from "../verdicts/attempts.ts";
import type { DeliveryPageFacts } from "../verdicts/delivery.ts";
import { nameOf } from "../verdicts/health.ts";
import { wayOf } from "../verdicts/timeline.ts";
import type { Verdict } from "../verdicts/verdict.ts";
import type { Audience, House, Visit } from "../visit.ts";
import { typeWords } from "../words.ts";
import { aboutWords } from "./deliveries.tsx";
import { VerdictHead } from "./verdict.tsx";

/** Everything that the page shows. */
export interface DeliveryProps {
  readonly visit: Visit;
  readonly facts: DeliveryPageFacts;
  readonly verdict: Verdict;
  readonly event: shown.EventDetail;
  readonly about: About | undefined;
  readonly names: ReadonlyMap<string, string>;
  /** Whether all attempts are shown, not only the newest. */
  readonly shows_all: boolean;
  /** What a form just did, or why it was refused. */
  readonly note: string | null;
  readonly refused: FormState | null;
  /** The comparison of two attempts, or nothing. */
  readonly comparison: Content;
}

/** Attempts that are shown without being asked for. */
const NEWEST = 3;

/** One delivery: the verdict, its way, what changed, and its attempts. */
export function DeliveryPage(props: DeliveryProps) {
  const { visit, facts, verdict, event, note, refused, comparison } = props;
  const { delivery, endpoint } = facts;
  const owed = event.deliveries.length;
  const way = wayOf(delivery, endpoint, owed === 0 ? null : owed, {
    audience: visit.house.audience,
    now: visit.now,
  });
  return (
    <>
      {note === null ? null : <Notice>{note}</Notice>}
      {refused === null ? null : <FormMessage state={refused} />}
      <VerdictHead
        visit={visit}
        verdict={verdict}
        crumbs={<Crumbs {...props} />}
        aside={<Age delivery={delivery} />}
        bar
      />
      <Split kind="aside">
        <Section id="timeline" title="Timeline" live="swap" aside={<Span delivery={delivery} />}>
          <Timeline steps={way} />
        </Section>
        <div>
          {comparison}
          <Section id="facts">
            <DeliveryFacts {...props} />
          </Section>
        </div>
      </Split>
      <Attempts {...props} />
      <PayloadGone visit={visit} event={event} payload={facts.payload} />
    </>
  );
}

function Crumbs({ visit, facts }: DeliveryProps) {
  const { delivery, endpoint } = facts;
  const what = delivery.confirmation_number ?? delivery.subject ??
    typeWords(delivery.event_type, visit.house.audience);
  return (
    <>
      <a href={`${visit.house.base}/deliveries`}>Deliveries</a>
      {` › ${what} to ${nameOf(endpoint)}`}
    </>
  );
}

function Age({ delivery }: { readonly delivery: shown.Delivery }) {
  const { ended_at, created_at } = delivery;
  return (
    <>
      {ended_at === null ? "posted " : "ended "}
      <Moment at={ended_at ?? created_at} style="relative" />
    </>
  );
}

/** `seven attempts in 32 h 13 min`. */
function Span({ delivery }: { readonly delivery: shown.DeliveryDetail }) {
  const { attempts, attempt_count } = delivery;
  const [first, last] = [attempts[0], attempts.at(-1)];
  if (first === undefined || last === undefined) return null;
  const took = Date.parse(last.ended_at) - Date.parse(first.started_at);
  return (
    <>
      {attempt_count === 1 ? "one attempt" : `${inWord(attempt_count)} attempts`}
      {` in ${durationWords(took)}`}
    </>
  );
}

function DeliveryFacts({ visit, facts, event, about, names }: DeliveryProps) {
  const { base, audience } = visit.house;
  const { delivery, endpoint } = facts;
  const is_business = audience === "business";
  const name = event.confirmation_number ?? event.subject;
  const words = aboutWords(about);
  return (
    <Facts
      items={[
        [
          is_business ? "Booking" : "Event",
          <>
            <a href={`${base}/events/${event.id}`}>{typeWords(event.type, audience)}</a>
            {name === null ? null : (
              <>
                {" for "}
                <strong>{name}</strong>
              </>
            )}
            {is_business || about?.business == null ? "" : `, ${about.business}`}
            {words === "" ? "" : `; ${words}`}
          </>,
        ],
        [
          is_business ? "System" : "Endpoint",
          <>
            <a href={`${base}/endpoints/${encodeURIComponent(endpoint.id)}`}>{nameOf(endpoint)}</a>
            {", "}
            <Url text={endpoint.url} />
          </>,
        ],
        [
          is_business ? "Also sent to" : "Also owed to",
          <Others event={event} delivery={delivery} names={names} house={visit.house} />,
        ],
        ...(delivery.owed_by === null ? [] : [
          [
            "Owed by",
            <>
              {"the replay "}
              <a href={`${base}/replays/${delivery.owed_by}`}>{delivery.owed_by}</a>
            </>,
          ] as const,
        ]),
        ["Delivery id", <Id text={delivery.id} what="the delivery’s id" />],
        ["Event id", <Id text={event.id} what="the event’s id" />],
      ]}
    />
  );
}

const MAX_OTHERS = 6;

function Others({ event, delivery, names, house: { base, audience } }: {
  readonly event: shown.EventDetail;
  readonly delivery: shown.Delivery;
  readonly names: ReadonlyMap<string, string>;
  readonly house: House;
}) {
  const others = event.endpoints.filter(({ owed, delivery_id }) =>
    owed && delivery_id !== delivery.id
  );
  const see = <a href={`${base}/events/${event.id}`}>See the event</a>;
  if (others.length === 0) return <>{"Nobody else. "}{see}</>;
  const arrived = audience === "operator" ? "delivered" : "arrived";
  const are_all = others.every(({ state }) => state === "delivered");
  return (
    <>
      {others.slice(0, MAX_OTHERS).map(({ endpoint_id, delivery_id, state }, index) => (
        <>
          {index === 0 ? "" : ", "}
          {delivery_id === null
            ? names.get(endpoint_id) ?? endpoint_id
            : (
              <a href={`${base}/deliveries/${delivery_id}`}>
                {names.get(endpoint_id) ?? endpoint_id}
              </a>
            )}
          {are_all ? "" : ` (${otherWords(state, audience)})`}
        </>
      ))}
      {others.length > MAX_OTHERS ? ` and ${others.length - MAX_OTHERS} others` : ""}
      {are_all ? `, ${others.length === 1 ? arrived : `all ${arrived}`}. ` : ". "}
      {see}
    </>
  );
}

/** A state as a word between brackets: `rate limited`, or for a business `given up`. */
function otherWords(state: string, audience: Audience): string {
  if (audience === "business" && state === "delivered") return "arrived";
  if (audience === "business" && state === "failed") return "given up";
  return state.replace("_", " ");
}

function Attempts({ visit, facts, shows_all }: DeliveryProps) {
  const { delivery } = facts;
  const { attempts } = delivery;
  if (attempts.length === 0) {
    return (
      <Section id="attempts" title="Attempts" live="swap">
        {delivery.attempt_count > 0
          ? <Empty cause="The attempts are no longer kept" />
          : delivery.status === "pending"
          ? <Empty cause="No attempt has ended yet">The first one shows up here by itself.</Empty>
          : <Empty cause="No attempt was made">It ended before the first.</Empty>}
      </Section>
    );
  }
  const newest = attempts.toReversed();
  const visible = shows_all ? newest : newest.slice(0, NEWEST);
  const hidden = newest.length - visible.length;
  return (
    <Section
      id="attempts"
      title={attempts.length === 1 ? "Attempt" : "Attempts, newest first"}
      aside={<Bodies attempts={attempts} />}
      live="swap"
    >
      {visible.map((attempt, index) => (
        <AttemptDetails attempt={attempt} open={index === 0} visit={visit} />
      ))}
      {hidden === 0 ? null : (
        <p class="note">
          <a href={`${visit.house.base}/deliveries/${delivery.id}?all#attempt-${hidden}`}>
            {hidden === 1 ? "Show the earlier one" : `Show the ${inWord(hidden)} earlier ones`}
          </a>
        </p>
      )}
    </Section>
  );
}

/** That all attempts sent the same bytes: they always do. */
function Bodies({ attempts }: { readonly attempts: readonly shown.Attempt[] }) {
  const body = attempts.find(({ request }) => request?.body != null)?.request?.body;
  if (body == null) return null;
  const bytes = Buffer.byteLength(body).toLocaleString("en-GB");
  return (
    <>
      {attempts.length === 1
        ? `Body of ${bytes} bytes`
        : `Body identical in ${
          attempts.length === 2 ? "both" : `all ${inWord(attempts.length)}`
        }, ${bytes} bytes`}
    </>
  );
}

/** What became of a payload that is not shown, and when. */
export function PayloadGone({ visit, payload, event }: Pick<DeliveryProps, "visit" | "event"> & {
  readonly payload: DeliveryPageFacts["payload"];
}) {
  const is_business = visit.house.audience === "business";
  switch (payload) {
    case "kept":
      return null;
    case "hidden":
      return (
        <Section>
          <Empty cause="Payload hidden">
            Your token may see deliveries, not their contents. An admin token can.
          </Empty>
        </Section>
      );
    case "erased":
      return (
        <Section>
          <Empty
            cause={
              <>
                {"Payload erased "}
                {event.erased_at === null ? null : <Moment at={event.erased_at} style="absolute" />}
              </>
            }
          >
            On request. Times and outcomes stay; the body, the confirmation number and the answers
            are gone.
          </Empty>
        </Section>
      );
    case "purged":
      return (
        <Section>
          <Empty cause="Payload removed">
            {is_business
              ? "It is older than what is kept, so it cannot be sent again."
              : "It is older than retention.payloads. Have BookMe post the event again, under another id, to send it."}
          </Empty>
        </Section>
      );
  }
}
