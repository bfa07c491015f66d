import type {
  ConfigShown,
  Delivery,
  EndpointVerdict,
  EventDetail,
  EventPage,
  EventSummary,
  Stats,
} from "../../admin/shown.ts";
import { AppError } from "../../core/errors.ts";
import { parseEventId, timeOfUuid } from "../../core/ids.ts";
import { isObject } from "../../core/json.ts";
import { summariseRefusals } from "../../core/refusals.ts";
import { formatDuration } from "../../core/units.ts";
import { type Api, API_OPTIONS, openApi, pathPart } from "../daemon_api/client.ts";
import { command, integer, period } from "../command.ts";
import { type Cell, facts, statusCell, table, when, whenExactly } from "../table.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

const MAX_LISTED = 200;
const MAX_UNOWED_SHOWN = 20;

export const event = command({
  name: "event",
  summary: "Shows where an event went, where not, and why",
  about: `QUERY is the id of an event or delivery, a confirmation number, or a subject (the id of an
appointment, business or service). Prints each event that it names, the newest first, and for each
endpoint what became of it, or why it was not owed the event when it was stored. Exits with 1 if
nothing is found, and then says what to look at.`,
  positionals: { usage: "QUERY", min: 1, max: 1 },
  options: {
    since: { type: "string", value: "TIME", about: "Stored since: 2h (ago) or an ISO time" },
    limit: { type: "string", default: "10", value: "N", about: "Most events to show" },
    json: { type: "boolean", about: "Print the API's answers as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks event BK7X9M2P", "This booking did not arrive: where did it go?"],
    ["bookme-webhooks event apt_789 --since 2d", "All events of an appointment, of two days"],
    [
      "bookme-webhooks event evt_01kw3… --json | jq '.data[].endpoints[] | select(.owed | not)'",
      "The endpoints that were not owed it",
    ],
  ],
  async run({ io, values, positionals: [query = ""] }) {
    const { since } = period({ since: values.since }, Date.now());
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    const api = await openApi(io, values);
    const found = await search(api, query, since, limit);
    const events: EventDetail[] = [];
    for (const { id } of found.events) events.push(await getEvent(api, id));
    if (values.json) {
      const { near, more } = found;
      io.out(JSON.stringify({ data: events, next_cursor: more, ...(near && { near }) }, null, 2));
    } else if (events.length === 0) await explainNothing(io, api, query, since, found);
    else showEvents(io, query, events, found);
    return events.length === 0 ? 1 : 0;
  },
});

/** The events that a query names, the newest of them. */
interface Found {
  readonly events: readonly EventSummary[];
  readonly near: EventPage["near"];
  /** Cursor of older ones; null if there are none. */
  readonly more: string | null;
}

async function search(
  api: Api,
  query: string,
  since: string | undefined,
  limit: number,
): Promise<Found> {
  const page: EventPage = await api.get("events", { q: query, since, limit: String(limit) });
  return { events: page.data, near: page.near, more: page.next_cursor };
}

/** One event with its deliveries and verdicts. Rejects with an `AppError` if there is none. */
export function getEvent(api: Api, id: string): Promise<EventDetail> {
  return api.get<EventDetail>(`events/${pathPart(id)}`);
}

function showEvents(io: Io, query: string, events: readonly EventDetail[], { more }: Found): void {
  const { bold } = paletteOf(io);
  if (events.length > 1) {
    io.out(`${bold(String(events.length))} events match ${printable(query)}, the newest first:\n`);
  }
  events.forEach((one, nth) => {
    if (nth > 0) io.out("");
    showEvent(io, one);
  });
  const last = more === null ? undefined : parseEventId(more);
  if (last === undefined) return;
  const back_to = new Date(timeOfUuid(last)).toISOString();
  io.err(`Events before ${back_to} match as well: raise --limit`);
}

/** An event, what became of it at each endpoint, and which command shows more. */
export function showEvent(io: Io, one: EventDetail): void {
  const { bold, dim } = paletteOf(io);
  const now_ms = Date.now();
  io.out(`${bold(printable(one.id))}  ${printable(one.type)}${one.test ? "  (test)" : ""}`);
  const lines = facts(io, [
    ["received", whenExactly(one.received_at, now_ms)],
    ["business", one.business ?? "none known"],
    ["subject", one.subject],
    ["confirmation", one.confirmation_number],
    ["payload", missingPayload(one, now_ms)],
  ]);
  for (const line of lines) io.out(line);
  io.out("");
  if (one.endpoints.length === 0) return io.out("No endpoint existed when it was stored");
  const deliveries = new Map(one.deliveries.map((delivery) => [delivery.id, delivery]));
  const owed = one.endpoints.filter((verdict) => verdict.owed);
  const unowed = one.endpoints.filter((verdict) => !verdict.owed);
  const rows = [
    ...owed.map((verdict) => owedRow(io, verdict, deliveries, now_ms)),
    ...unowed.slice(0, MAX_UNOWED_SHOWN).map((verdict) => unowedRow(io, verdict)),
  ];
  for (const line of table(io, ["ENDPOINT", "STATUS", "WHY"], rows)) io.out(line);
  const left = unowed.length - MAX_UNOWED_SHOWN;
  if (left > 0) io.out(dim(`… and ${left} more that were not owed it; --json lists them`));
  const open = owed.find(({ state }) => state !== "delivered") ?? owed[0];
  if (open?.delivery_id != null) {
    io.out(dim("\nFor attempts, request and answer:"));
    io.out(dim(`bookme-webhooks delivery ${open.delivery_id}`));
  }
}

function missingPayload(
  { payload, payload_hidden, erased_at }: EventDetail,
  now_ms: number,
): string | null {
  if (payload !== null) return null;
  if (payload_hidden) return "hidden from this token (payloads: false)";
  return erased_at === null
    ? "gone (retention.payloads)"
    : `erased ${whenExactly(erased_at, now_ms)}`;
}

function owedRow(
  io: Io,
  { endpoint_id, explanation, advice, hints, delivery_id }: EndpointVerdict,
  deliveries: ReadonlyMap<string, Delivery>,
  now_ms: number,
): Cell[] {
  const delivery = deliveries.get(delivery_id ?? "");
  if (delivery === undefined) return [endpoint_id, "owed", explanation];
  const ended = delivery.ended_at === null ? "" : `, ${when(io, delivery.ended_at, now_ms)}`;
  const [cause] = hints;
  const why = cause === undefined ? "" : `${cause.text}. `;
  // An explanation that points to `verify` says it all.
  const more = advice === null || /`verify`/.test(explanation) ? "" : `${advice}. `;
  return [
    endpoint_id,
    statusCell(delivery.status, paletteOf(io)),
    `${explanation}${ended}. ${why}${more}${delivery.id}`,
  ];
}

function unowedRow(io: Io, { endpoint_id, explanation }: EndpointVerdict): Cell[] {
  return [endpoint_id, { text: "not owed", paint: paletteOf(io).dim }, explanation];
}

// --- nothing found ---------------------------------------------------------------------------------

/** Says what was looked for, how far back, what is similar, and what else may have happened. */
async function explainNothing(
  io: Io,
  api: Api,
  query: string,
  since: string | undefined,
  { near = [] }: Found,
): Promise<void> {
  io.err(`No event matches ${JSON.stringify(printable(query))}`);
  const similar = near.map(({ name, event_id }) => `${name} (${event_id})`).join(", ");
  const lines = facts(io, [
    [
      "looked for",
      "the id of an event or a delivery, a confirmation number, or a subject (the id of an " +
      "appointment, business or service), exactly as given",
    ],
    ["back to", since ?? await oldestKept(api)],
    ["similar", similar === "" ? null : similar],
    ["refused", await refusedOf(api)],
    [
      "next",
      "check the spelling; if it is right, BookMe has not posted it here or the post was refused: " +
      "`bookme-webhooks doctor` looks at this side, BookMe's log has the answers it got",
    ],
  ]);
  for (const line of lines) io.err(line);
}

async function oldestKept(api: Api): Promise<string> {
  const { retention } = await api.get<ConfigShown>("config");
  const kept = isObject(retention) ? retention["events_ms"] : undefined;
  const age = typeof kept === "number" ? `${formatDuration(kept)}, ` : "";
  return `the oldest event that is kept (${age}retention.events)`;
}

async function refusedOf(api: Api): Promise<string> {
  const { refused } = await api.get<Stats>("stats", { window: "24h" });
  const summary = summariseRefusals(refused, "the last 24 hours");
  return summary === undefined
    ? "no post in the last 24 hours"
    : `${summary.text}; ${summary.remedy}`;
}

/** Refuses what is no delivery's id, with the command that finds its deliveries. */
export function noDelivery(query: string): AppError {
  return new AppError(
    "not_found",
    `${JSON.stringify(printable(query))} is no delivery's id (dlv_…); ` +
      `\`bookme-webhooks event ${printable(query)}\` finds an event and its deliveries`,
  );
}
