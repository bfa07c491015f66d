import type { Endpoint, Stats } from "../../admin/shown.ts";
import { inSeconds } from "../../core/time.ts";
import { counted } from "../../core/units.ts";
import type { Api } from "../daemon_api/client.ts";
import { good, odd, type Verdict } from "./verdict.ts";

/** Whether the last day's events have a known business, as endpoints with `businesses` need. */
export async function checkBusinesses(
  api: Api,
  endpoints: readonly Pick<Endpoint, "businesses">[],
): Promise<Verdict> {
  const subject = "businesses";
  const { events_without_business: count, events_without_business_exact: exact } = await api.get<
    Stats
  >("stats", { window: "24h" });
  if (count === 0) return good(subject, "every event of the last 24 hours has a known one");
  const text = `${exact ? "" : "at least "}${counted(count, "event")} of the last 24 hours ` +
    "without a known one";
  const picky = endpoints.filter(({ businesses }) => businesses !== null).length;
  if (picky === 0) return good(subject, `${text}; no endpoint asks for one`);
  return odd(
    subject,
    `${text}, not owed to the ${counted(picky, "endpoint")} with \`businesses\``,
    "let BookMe post them with a business member or the header X-BookMe-Business",
  );
}

/** Longer than this nothing due should wait. */
const MAX_OVERDUE_MS = 60_000;
const WINDOW = "15m";

/** Whether the endpoints' last attempts delivered, and nothing due waits. */
export async function checkTraffic(api: Api, endpoints: readonly Endpoint[]): Promise<Verdict[]> {
  const stats = await api.get<Stats>("stats", { window: WINDOW });
  const counts = new Map(stats.endpoints.map((one) => [one.endpoint_id, one]));
  const paused = new Set(endpoints.filter(({ paused }) => paused).map(({ id }) => id));
  const failing = endpoints.flatMap((one) => judgeAttempts(one, counts.get(one.id)));
  const waiting = stats.endpoints.filter(({ endpoint_id, oldest_overdue_ms }) =>
    (oldest_overdue_ms ?? 0) > MAX_OVERDUE_MS && !paused.has(endpoint_id)
  );
  if (failing.length + waiting.length === 0) {
    return [good("traffic", "no endpoint's last attempt failed, and nothing due waits")];
  }
  return [...failing, ...waiting.map(judgeWaiting)];
}

function judgeAttempts(
  { id, failing_since, last_success_at }: Endpoint,
  counts: Stats["endpoints"][number] | undefined,
): Verdict[] {
  if (failing_since === null) return [];
  const reasons = Object.entries(counts?.failed ?? {}).filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${count} ${reason}`);
  const lately = reasons.length === 0 ? "" : `, in the last ${WINDOW} ${reasons.join(", ")}`;
  const success = last_success_at === null ? "never" : `last at ${inSeconds(last_success_at)}`;
  return [odd(
    `endpoint ${id}`,
    `fails since ${inSeconds(failing_since)}${lately}; delivered ${success}`,
    `repair the receiver; \`bookme-webhooks deliveries --endpoint ${id}\` shows each cause`,
  )];
}

function judgeWaiting({ endpoint_id, overdue, oldest_overdue_ms }: Stats["endpoints"][number]) {
  const minutes = Math.floor((oldest_overdue_ms ?? 0) / 60_000);
  return odd(
    `endpoint ${endpoint_id}`,
    `${counted(overdue, "delivery", "deliveries")} due and not being sent, the first of them for ` +
      counted(minutes, "minute"),
    "raise its rate_limit or concurrency, or make its receiver answer faster",
  );
}
