import { KINDS } from "../../core/alerting/kinds.ts";
import type { Alert, AlertTest } from "../../admin/shown.ts";
import { API_OPTIONS, LIST_OPTIONS, MAX_LISTED, openApi, pathPart } from "../daemon_api/client.ts";
import { command, integer, UsageError } from "../command.ts";
import { facts, moreBelow, table, when, whenExactly } from "../table.ts";
import { type Io, paletteOf } from "../terminal.ts";

const SNOOZE = "2h";

export const alerts = command({
  name: "alerts",
  summary: "Lists open alerts; acknowledges or snoozes one, or sends a test",
  about:
    `An alert begins once something has gone wrong for a while, and ends by itself. The section alerts of
the configuration says who gets them.`,
  options: {
    all: { type: "boolean", about: "Those that ended as well" },
    endpoint: { type: "string", value: "ID", about: "Only those about this endpoint" },
    kind: {
      type: "string",
      value: "KIND",
      about: `One of ${KINDS.slice(6, 8).join(", ")} and others`,
    },
    acknowledge: { type: "string", value: "ID", about: "Somebody looks after it: no reminders" },
    snooze: { type: "string", value: "ID", about: "Keep it quiet for a while" },
    for: {
      type: "string",
      value: "TIME",
      about: `How long it is quiet (default ${SNOOZE}, at most 7d)`,
    },
    test: { type: "boolean", about: "Send a test to every alert target" },
    to: {
      type: "string",
      value: "TARGET",
      about: "With --test: only to slack, mail or an endpoint",
    },
    ...LIST_OPTIONS,
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks alerts", "What is wrong now?"],
    ["bookme-webhooks alerts --all --endpoint crm", "What has been wrong with one endpoint?"],
    ["bookme-webhooks alerts --acknowledge alr_06yn4b7c2d5f0000e1g3", "I look after it"],
    ["bookme-webhooks alerts --test --to slack", "Do alerts arrive?"],
  ],
  async run({ io, values }) {
    const { acknowledge, snooze, test } = values;
    const asked = [acknowledge !== undefined, snooze !== undefined, test === true];
    if (asked.filter((one) => one).length > 1) {
      throw new UsageError("--acknowledge, --snooze and --test exclude each other");
    }
    if (values.for !== undefined && snooze === undefined) {
      throw new UsageError("--for needs --snooze");
    }
    if (values.to !== undefined && test !== true) throw new UsageError("--to needs --test");
    const limit = integer("--limit", values.limit, 1, MAX_LISTED);
    const api = await openApi(io, values);
    if (test) {
      const body = values.to === undefined ? {} : { target: values.to };
      return showTest(io, await api.post<AlertTest>("alerts/test", body), values.json === true);
    }
    if (acknowledge !== undefined || snooze !== undefined) {
      const alert = acknowledge !== undefined
        ? await api.post<Alert>(`alerts/${pathPart(acknowledge)}/acknowledge`)
        : await api.post<Alert>(`alerts/${pathPart(snooze ?? "")}/snooze`, {
          for: values.for ?? SNOOZE,
        });
      if (values.json) io.out(JSON.stringify(alert, null, 2));
      else for (const line of describe(io, alert)) io.out(line);
      return 0;
    }
    const query = {
      cursor: values.cursor,
      status: values.all ? "all" : "open",
      endpoint: values.endpoint,
      kind: values.kind,
    };
    const page = await api.list<Alert>("alerts", query, limit);
    if (values.json) io.out(JSON.stringify(page, null, 2));
    else if (page.data.length === 0) io.out(values.all ? "No alerts" : "No alert is open");
    else {
      for (const line of list(io, page.data)) io.out(line);
      moreBelow(io, page);
    }
    return 0;
  },
});

function list(io: Io, alerts: readonly Alert[]): string[] {
  const { red, green, yellow } = paletteOf(io);
  const now_ms = Date.now();
  const stateOf = ({ status, acknowledged_by, snoozed_until }: Alert) =>
    status === "ended"
      ? { text: "ended", paint: green }
      : acknowledged_by !== null
      ? { text: `with ${acknowledged_by}`, paint: yellow }
      : snoozed_until !== null && Date.parse(snoozed_until) > now_ms
      ? { text: "snoozed", paint: yellow }
      : { text: "open", paint: red };
  return table(
    io,
    ["ID", "SINCE", "STATE", "ALERT"],
    alerts.map((
      alert,
    ) => [alert.id, when(io, alert.began_at, now_ms), stateOf(alert), alert.summary]),
  );
}

function describe(io: Io, alert: Alert): string[] {
  const now_ms = Date.now();
  return [
    paletteOf(io).bold(alert.summary),
    ...facts(io, [
      ["id", alert.id],
      ["since", whenExactly(alert.began_at, now_ms)],
      ["next", alert.next],
      ["acknowledged", alert.acknowledged_by],
      ["quiet until", whenExactly(alert.snoozed_until, now_ms)],
    ]),
  ];
}

function showTest(io: Io, { targets }: AlertTest, json: boolean): number {
  const { red, green } = paletteOf(io);
  if (json) io.out(JSON.stringify({ targets }, null, 2));
  else if (targets.length === 0) {
    io.out("No alert targets; set alerts.to, alerts.chat or alerts.mail in the configuration");
  } else {
    const rows = targets.map(({ target, ok, explanation }) => [
      target,
      ok ? { text: "✓", paint: green } : { text: "✗", paint: red },
      explanation,
    ]);
    for (const line of table(io, ["TARGET", "", "ANSWER"], rows)) io.out(line);
  }
  return targets.every(({ ok }) => ok) ? 0 : 1;
}
