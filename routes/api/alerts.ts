import { optional, picklist, strictObject } from "valibot";
import * as admin from "../../lib/admin/alerts.ts";
import * as field from "../../lib/admin/fields.ts";
import * as inputs from "../../lib/admin/inputs.ts";
import { CURSOR_RULE } from "../../lib/admin/lists.ts";
import * as shown from "../../lib/admin/shown.ts";
import { KINDS } from "../../lib/core/alerting/kinds.ts";
import { parseAlertId } from "../../lib/core/ids.ts";
import * as example from "./examples.ts";
import { operation } from "./operation.ts";
import * as query from "./queries.ts";

const tag = "Alerts";
const path = "/api/alerts/{id}";
const STATUSES = ["open", "ended", "all"] as const;

const ListQuery = strictObject({
  status: optional(field.oneOf(STATUSES), "open"),
  endpoint: optional(field.identifier),
  kind: optional(picklist(KINDS, `Must be ${KINDS.join(", ")}`)),
  cursor: optional(query.parsed(parseAlertId, CURSOR_RULE)),
  limit: query.limit,
});

export const alertOperations = [
  operation({
    id: "listAlerts",
    method: "get",
    path: "/api/alerts",
    tag,
    summary: "Lists alerts, the newest first; open ones unless another `status` is asked for",
    description:
      "An alert begins once something has gone wrong for a while, and ends by itself. Its figures are those " +
      "that were announced last.",
    query: ListQuery,
    status: 200,
    response: shown.page(shown.Alert),
    refuses: [],
    example: { response: { data: [example.alert], next_cursor: null } },
    handle: (ctx, { by, query }) => admin.listAlerts(ctx, by, query),
  }),
  operation({
    id: "acknowledgeAlert",
    method: "post",
    path: `${path}/acknowledge`,
    tag,
    summary: "Says that somebody looks after an open alert",
    description: "It is not announced again before it ends. The first acknowledgement stays.",
    status: 200,
    response: shown.Alert,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ALERT_ID,
      response: {
        ...example.alert,
        acknowledged_at: "2026-11-24T10:05:00.000Z",
        acknowledged_by: "ops",
      },
    },
    handle: (ctx, { by, id }) => admin.acknowledgeAlert(ctx, by, id),
  }),
  operation({
    id: "snoozeAlert",
    method: "post",
    path: `${path}/snooze`,
    tag,
    summary: "Keeps an open alert quiet for a while",
    description: "It is not announced again before then, unless it ends.",
    body: inputs.SnoozeInput,
    status: 200,
    response: shown.Alert,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ALERT_ID,
      body: { for: "2h" },
      response: { ...example.alert, snoozed_until: "2026-11-24T12:05:00.000Z" },
    },
    handle: (ctx, { by, id, body }) => admin.snoozeAlert(ctx, by, id, body),
  }),
  operation({
    id: "testAlerts",
    method: "post",
    path: "/api/alerts/test",
    tag,
    summary: "Sends a test to those who get alerts, and says whether it arrived",
    description: "Answers within 15 seconds, about.",
    body: inputs.TestAlertsInput,
    status: 200,
    response: shown.AlertTest,
    refuses: [],
    example: {
      body: { target: "slack" },
      response: { targets: [{ target: "slack", ok: true, explanation: "The test arrived" }] },
    },
    handle: (ctx, { by, body }) => admin.testAlerts(ctx, by, body),
  }),
];
