import { expiryOf as certificateExpiryOf } from "../../core/examination.ts";
import { inWords, probeTime } from "../../core/explain.ts";
import { summariseRefusals } from "../../core/refusals.ts";
import { formatDuration } from "../../core/units.ts";
import type {
  Delivery,
  Endpoint,
  EndpointCheck,
  EndpointDetail,
  EndpointStats,
  Page,
  Stats,
} from "../../admin/shown.ts";
import { type Api, API_OPTIONS, MAX_LISTED, openApi, pathPart } from "../daemon_api/client.ts";
import { command, UsageError } from "../command.ts";
import { printVerdict } from "../doctor/verdict.ts";
import {
  type Cell,
  columnsOf,
  facts,
  hintFacts,
  millisecondsOf,
  table,
  when,
  whenExactly,
  wrap,
} from "../table.ts";
import { type Io, type Palette, paletteOf, printable } from "../terminal.ts";

const WINDOW = "1h";

export const endpoints = command({
  name: "endpoints",
  summary: "Lists endpoints with their last hour, or shows one",
  about: `Start here when something does not arrive: shows which endpoint fails, is paused, or has
deliveries waiting. With an ID, also prints its settings and its last failures.`,
  positionals: { usage: "[ID]", min: 0, max: 1, completes: "endpoints" },
  options: {
    ...API_OPTIONS,
    ids: { type: "boolean", about: "Print the ids only, one per line" },
    check: {
      type: "boolean",
      about: "Examine the DNS, addresses and TLS of ID, without a request",
    },
    retired: { type: "boolean", about: "Retired endpoints: removed from the file, or deleted" },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
  },
  examples: [
    ["bookme-webhooks endpoints", "Which one fails?"],
    ["bookme-webhooks endpoints crm", "Its settings, and why its last deliveries failed"],
    ["bookme-webhooks endpoints crm --check", "Can this daemon reach it, and for how long?"],
    [
      "bookme-webhooks endpoints --json | jq -r '.data[] | select(.failing_since) | .id'",
      "Ids of failing endpoints",
    ],
  ],
  async run({ io, values, positionals: [id] }) {
    if (values.check && id === undefined) {
      throw new UsageError("--check needs the ID of an endpoint; `doctor` examines all of them");
    }
    const api = await openApi(io, values);
    if (id !== undefined && values.check) return await examine(io, api, id, values.json);
    if (id !== undefined) return await showOne(io, api, id, values.json);
    const filter = values.retired ? { retired: "true" } : {};
    const page = await api.list<Endpoint>("endpoints", filter, MAX_LISTED);
    if (values.json) {
      io.out(JSON.stringify(page, null, 2));
      return 0;
    }
    if (values.ids) {
      for (const id of page.data.map(({ id }) => id).toSorted()) io.out(id);
      return 0;
    }
    if (page.data.length === 0) {
      io.out(values.retired ? "No endpoint is retired" : "No endpoints");
      return 0;
    }
    const { endpoints, refused } = await statsOf(api);
    const sorted = page.data.toSorted((a, b) => a.id < b.id ? -1 : 1);
    for (const line of list(io, sorted, byId(endpoints))) io.out(line);
    const summary = summariseRefusals(refused, "the last hour");
    const lines = [
      ...notes(io, sorted),
      ...(summary === undefined
        ? []
        : [`${summary.text}; \`bookme-webhooks stats\` has the remedy`]),
    ];
    for (const line of lines.flatMap((one) => wrap(one, columnsOf(io)))) io.out(line);
    return 0;
  },
});

/** Statistics of the last hour. */
async function statsOf(api: Api): Promise<Stats> {
  return await api.get<Stats>("stats", { window: WINDOW });
}

function byId(endpoints: readonly EndpointStats[]): ReadonlyMap<string, EndpointStats> {
  return new Map(endpoints.map((one) => [one.endpoint_id, one]));
}

function list(
  io: Io,
  endpoints: readonly Endpoint[],
  stats: ReadonlyMap<string, EndpointStats>,
): string[] {
  const palette = paletteOf(io);
  const now_ms = Date.now();
  return table(
    io,
    [
      "ID",
      "STATE",
      "LAST HOUR",
      "FAILING SINCE",
      "LAST SUCCESS",
      "P50",
      "P95",
      "PENDING",
      "EVENTS",
      "HOST",
      "SOURCE",
    ],
    endpoints.map((endpoint) => [
      endpoint.id,
      stateCell(endpoint, palette),
      hourCell(stats.get(endpoint.id), palette),
      failingCell(endpoint, when(io, endpoint.failing_since, now_ms), palette),
      when(io, endpoint.last_success_at, now_ms) || "-",
      millisecondsOf(endpoint.duration_ms.p50),
      millisecondsOf(endpoint.duration_ms.p95),
      pendingOf(endpoint),
      endpoint.events.join(" ") + (endpoint.businesses === null ? "" : " (some businesses)"),
      // Only the host: a path or query may hold what lets one in.
      new URL(endpoint.url).host,
      endpoint.source,
    ]),
    ["SOURCE", "HOST", "P50", "LAST SUCCESS", "EVENTS"],
  );
}

/** Why endpoints are paused or cannot be sent to, and which secrets sign during a rotation. */
function notes(io: Io, endpoints: readonly Endpoint[]): string[] {
  const now_ms = Date.now();
  return endpoints.flatMap((endpoint) => {
    const { id, state, paused_at, pause_reason, unsendable_reason } = endpoint;
    const rotation = rotationOf(endpoint);
    const texts = [
      ...(state === "paused"
        ? [
          `${id} is paused since ${whenExactly(paused_at, now_ms)}: ${pause_reason}` +
          (endpoint.next_probe_at === null ? "" : `; resumes ${probeOf(endpoint, now_ms)}`),
        ]
        : state === "unsendable"
        ? [`${id} cannot be sent to: ${unsendable_reason}`]
        : []),
      ...(rotation === null ? [] : [`${id}: ${rotation}`]),
    ];
    return texts.flatMap((text) => wrap(printable(text), columnsOf(io)));
  });
}

/** How an automatic pause ends; null if there is none. */
function probeOf({ next_probe_at, pending }: Endpoint, now_ms: number): string | null {
  if (next_probe_at === null) return null;
  return pending === 0
    ? "by itself once a delivery arrives; none waits to be tried"
    : "by itself once a delivery arrives; one that waits is tried " +
      probeTime(Date.parse(next_probe_at), now_ms);
}

function stateCell({ state }: Endpoint, palette: Palette): Cell {
  return {
    active: { text: "active", paint: palette.green },
    paused: { text: "paused", paint: palette.yellow },
    unsendable: { text: "cannot send", paint: palette.red },
    retired: { text: "retired", paint: palette.dim },
  }[state];
}

function failingCell({ failing_since }: Endpoint, text: string, palette: Palette): Cell {
  return failing_since === null ? "-" : { text, paint: palette.red };
}

function hourCell(stats: EndpointStats | undefined, palette: Palette): Cell {
  if (stats === undefined || stats.attempts === 0) return { text: "-", paint: palette.dim };
  const { attempts, delivered } = stats;
  const failed = attempts - delivered;
  if (failed === 0) return { text: `${attempts} ok`, paint: palette.green };
  const reasons = Object.entries(stats.failed).toSorted(([, a], [, b]) => b - a)
    .map(([reason]) => reason).join(", ");
  return { text: `${failed} of ${attempts} failed: ${reasons}`, paint: palette.red };
}

function pendingOf({ pending, pending_exact, overdue, oldest_overdue_ms }: Endpoint): string {
  if (pending === 0) return "-";
  const late = oldest_overdue_ms === null
    ? ""
    : ` (${overdue} due, for up to ${inWords(oldest_overdue_ms)})`;
  return `${pending}${pending_exact ? "" : "+"}${late}`;
}

function expiryOf({ expires }: Endpoint, now_ms: number): string | null {
  if (expires === null) return null;
  const { deliveries, deliveries_exact, first_at } = expires;
  const count = `${deliveries}${deliveries_exact ? "" : "+"}`;
  return `${count} waiting will be cancelled from ${whenExactly(first_at, now_ms)} on`;
}

async function showOne(io: Io, api: Api, id: string, json: boolean): Promise<number> {
  const endpoint = await api.get<EndpointDetail>(`endpoints/${pathPart(id)}`);
  if (json) {
    io.out(JSON.stringify(endpoint, null, 2));
    return 0;
  }
  const palette = paletteOf(io);
  const now_ms = Date.now();
  const stats = byId((await statsOf(api)).endpoints).get(id);
  const { duration_ms: { p50, p95 } } = endpoint;
  const lines = facts(io, [
    ["state", stateCell(endpoint, palette)],
    ["paused since", whenExactly(endpoint.paused_at, now_ms)],
    ["because", endpoint.pause_reason ?? endpoint.unsendable_reason],
    ["resumes", probeOf(endpoint, now_ms)],
    ["last hour", hourCell(stats, palette)],
    [
      "failing since",
      failingCell(endpoint, whenExactly(endpoint.failing_since, now_ms) ?? "", palette),
    ],
    ...hintFacts(endpoint.hints, now_ms),
    ["last success", whenExactly(endpoint.last_success_at, now_ms) ?? "-"],
    ["latency", p50 === null ? "-" : `p50 ${millisecondsOf(p50)}, p95 ${millisecondsOf(p95)}`],
    ["connection", connectionOf(endpoint, now_ms)],
    ["pending", pendingOf(endpoint)],
    ["expires", expiryOf(endpoint, now_ms)],
    ["url", endpoint.url],
    ["description", endpoint.description],
    ["events", endpoint.events.join(" ")],
    ["businesses", endpoint.businesses?.join(" ") ?? "all"],
    ["headers", Object.keys(endpoint.headers).join(" ") || null],
    ["client cert", clientCertificateOf(endpoint, now_ms)],
    ["trusts", endpoint.tls?.ca.map(({ subject }) => subject).join(", ") || null],
    ["signed", endpoint.unsigned ? { text: "no", paint: palette.yellow } : "yes"],
    ["rotation", rotationOf(endpoint)],
    ["timeout", formatDuration(endpoint.timeout_ms)],
    ["attempts after", endpoint.retry_ms.map(formatDuration).join(", ")],
    ["concurrency", endpoint.concurrency === null ? null : String(endpoint.concurrency)],
    ["rate limit", endpoint.rate_limit],
    ["traceparent", endpoint.traceparent ? "sent" : null],
    ["source", endpoint.source === "file" ? "the configuration file" : "the API"],
    ["version", String(endpoint.version)],
    ["created", whenExactly(endpoint.created_at, now_ms)],
    ["changed", whenExactly(endpoint.updated_at, now_ms)],
    ["retired", whenExactly(endpoint.retired_at, now_ms)],
  ]);
  io.out(palette.bold(endpoint.id));
  for (const line of lines) io.out(line);
  await showFailures(io, api, id, now_ms);
  return 0;
}

/** The last look at its receiver: the worst finding, and since when. */
function connectionOf({ check }: Endpoint, now_ms: number): string | null {
  if (check === null) return null;
  const { ok, findings, checked_at, failing_since } = check;
  const found = findings.find(({ mark }) => mark === (ok ? "!" : "✗")) ?? findings[0];
  const seen = failing_since === null
    ? `looked at ${whenExactly(checked_at, now_ms)}`
    : `so since ${whenExactly(failing_since, now_ms)}`;
  return `${ok ? "" : "✗ "}${found?.text ?? "good"} (${seen})`;
}

function clientCertificateOf({ tls }: Endpoint, now_ms: number): string | null {
  if (tls === null || tls.cert === null) return null;
  return `${tls.cert.subject}, ${certificateExpiryOf(Date.parse(tls.cert.valid_to), now_ms)}`;
}

/** Which secrets sign during a rotation, and until when; null without one. */
export function rotationOf({ rotation }: Pick<Endpoint, "rotation">): string | null {
  if (rotation === null) return null;
  const { activates_at, overlap_ends_at } = rotation;
  if (activates_at === null) {
    return "the new secret signs, and the old one until it is removed from the file";
  }
  const from = Date.parse(activates_at) > Date.now() ? ` from ${activates_at} on` : "";
  return `the new secret signs X-BookMe-Signature${from}; the old one stays in webhook-signature ` +
    `until ${overlap_ends_at}`;
}

async function examine(io: Io, api: Api, id: string, json: boolean): Promise<number> {
  const found = await api.post<EndpointCheck>(`endpoints/${pathPart(id)}/check`);
  if (json) io.out(JSON.stringify(found, null, 2));
  else for (const one of found.findings) printVerdict(io, { subject: `endpoint ${id}`, ...one });
  return found.ok ? 0 : 1;
}

async function showFailures(io: Io, api: Api, id: string, now_ms: number): Promise<void> {
  const { bold } = paletteOf(io);
  const query = { endpoint: id, status: "failed", limit: "5" };
  const { data } = await api.get<Page<Delivery>>("deliveries", query);
  if (data.length === 0) return;
  io.out(`\n${bold("Failed last")} (bookme-webhooks delivery ID tells more)`);
  const rows = data.map((delivery) => [
    delivery.id,
    when(io, delivery.ended_at, now_ms),
    delivery.event_type,
    delivery.explanation,
  ]);
  for (const line of table(io, ["ID", "ENDED", "EVENT", "WHY"], rows)) io.out(line);
}
