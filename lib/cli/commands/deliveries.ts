import { parseEventId } from "../../core/ids.ts";
import type { Delivery } from "../../admin/shown.ts";
import {
  API_OPTIONS,
  DELIVERY_FILTERS,
  LIST_OPTIONS,
  MAX_LISTED,
  openApi,
} from "../daemon_api/client.ts";
import { checkCode, command, integer, period, UsageError } from "../command.ts";
import { getEvent } from "./event.ts";
import { refuseUnknownType } from "./event_types.ts";
import { moreBelow, statusCell, table, when } from "../table.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

export const deliveries = command({
  name: "deliveries",
  summary: "Lists deliveries with their state, newest first",
  about: `Times are relative on a terminal; elsewhere, and with --json, they are ISO 8601 in UTC.
Without filters, lists the newest deliveries of all endpoints; with the id of an event, its own.`,
  positionals: { usage: "[EVENT]", min: 0, max: 1 },
  options: {
    status: {
      type: "string",
      value: "STATUS",
      choices: ["pending", "delivered", "failed", "cancelled"],
      about: "pending, delivered, failed or cancelled",
    },
    endpoint: DELIVERY_FILTERS.endpoint,
    type: { type: "string", value: "TYPE", about: "Only events of this type" },
    reason: DELIVERY_FILTERS.reason,
    code: DELIVERY_FILTERS.code,
    since: { type: "string", value: "TIME", about: "Created since: 2h (ago) or an ISO time" },
    until: { type: "string", value: "TIME", about: "Created before: 30m (ago) or an ISO time" },
    ...LIST_OPTIONS,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks deliveries --status failed --since 2h", "Failed in the last two hours"],
    ["bookme-webhooks deliveries --endpoint crm --status pending", "Still owed to crm"],
    [
      "bookme-webhooks deliveries --reason tls --json | jq -r '.data[].id'",
      "Ids of deliveries with a TLS failure",
    ],
  ],
  async run({ io, values, positionals: [event_id] }) {
    const { status, endpoint, type, reason, code, json } = values;
    const now_ms = Date.now();
    const query = {
      status,
      endpoint,
      type,
      reason,
      code,
      cursor: values.cursor,
      ...period(values, now_ms),
    };
    if (code !== undefined) checkCode(code);
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    if (event_id !== undefined && parseEventId(event_id) === undefined) throw noEvent(event_id);
    if (event_id !== undefined && Object.values(query).some((value) => value !== undefined)) {
      throw new UsageError("An event's id cannot be combined with other filters");
    }
    const api = await openApi(io, values);
    const page = event_id === undefined
      ? await api.list<Delivery>("deliveries", query, limit)
      : { data: (await getEvent(api, event_id)).deliveries, next_cursor: null };
    if (page.data.length === 0) await refuseUnknownType(api, type);
    if (json) io.out(JSON.stringify(page, null, 2));
    else if (page.data.length === 0) io.out("No deliveries match");
    else {
      for (const line of deliveryTable(io, page.data, now_ms)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function noEvent(query: string): UsageError {
  return new UsageError(
    `${JSON.stringify(printable(query))} is no event's id (evt_…); ` +
      `\`bookme-webhooks event ${printable(query)}\` finds an event and its deliveries`,
  );
}

/** Deliveries as a table. */
export function deliveryTable(
  io: Io,
  deliveries: readonly Delivery[],
  now_ms: number,
): string[] {
  const palette = paletteOf(io);
  return table(
    io,
    ["ID", "CREATED", "EVENT", "SUBJECT", "ENDPOINT", "STATUS", "ATTEMPTS", "WHY"],
    deliveries.map((delivery) => [
      delivery.id,
      when(io, delivery.created_at, now_ms),
      delivery.event_type + (delivery.test ? " (test)" : ""),
      printable(delivery.confirmation_number ?? delivery.subject ?? "-"),
      delivery.endpoint_id,
      statusCell(delivery.status, palette),
      String(delivery.attempt_count),
      whyOf(io, delivery, now_ms),
    ]),
    ["ATTEMPTS", "CREATED", "SUBJECT"],
  );
}

function whyOf(io: Io, delivery: Delivery, now_ms: number): string {
  const { status, reason, last_status, cancel_reason, next_attempt_at, sending } = delivery;
  if (status === "delivered") return "";
  if (cancel_reason !== null) return cancel_reason;
  const parts = reason === null ? [] : [reason + (last_status === null ? "" : ` ${last_status}`)];
  if (sending) parts.push("being sent");
  else if (next_attempt_at !== null) {
    const due = Date.parse(next_attempt_at) <= now_ms;
    parts.push(due ? "due" : `next ${when(io, next_attempt_at, now_ms)}`);
  }
  return parts.join(", ");
}
