import { inWords } from "../../core/explain.ts";
import type { Stats } from "../../admin/shown.ts";
import { API_OPTIONS, openApi } from "../daemon_api/client.ts";
import { command, duration, UsageError } from "../command.ts";
import { refusedLines } from "../refused_posts.ts";
import { type Cell, facts, millisecondsOf, table } from "../table.ts";
import { type Io, type Palette, paletteOf } from "../terminal.ts";

const MIN_WINDOW_MS = 60_000;
const MAX_WINDOW_MS = 30 * 86_400_000;

type Totals = Stats["totals"];

export const stats = command({
  name: "stats",
  summary: "Counts attempts by outcome, latency, pending deliveries, and refused posts",
  about:
    `Attempts count when they were recorded, up to now. A window begins with a whole minute, one of more
than 6h with a whole hour, one of more than 7d with a whole day (UTC).`,
  options: {
    window: { type: "string", default: "1h", value: "TIME", about: "Time before now: 1m to 30d" },
    endpoint: {
      type: "string",
      value: "ID",
      completes: "endpoints",
      about: "Only this endpoint",
    },
    json: { type: "boolean", about: "Print the API's answer as JSON" },
    ...API_OPTIONS,
  },
  examples: [
    ["bookme-webhooks stats", "The last hour"],
    ["bookme-webhooks stats --window 7d --endpoint crm", "A week of one endpoint"],
    [
      "bookme-webhooks stats --json | jq .totals.success_rate",
      "Share of attempts that were delivered",
    ],
  ],
  async run({ io, values }) {
    const { window, endpoint, json } = values;
    if (duration("--window", window, MAX_WINDOW_MS) < MIN_WINDOW_MS) {
      throw new UsageError("--window must be at least 1m");
    }
    const found = await (await openApi(io, values)).get<Stats>("stats", { window, endpoint });
    if (json) {
      io.out(JSON.stringify(found, null, 2));
      return 0;
    }
    const parts = [
      totals(io, found),
      found.endpoints.length === 0 ? [] : byEndpoint(io, found),
      refusedLines(io, found.refused, Date.now()),
    ];
    const printed = parts.filter((lines) => lines.length > 0);
    for (const [at, lines] of printed.entries()) {
      if (at > 0) io.out("");
      for (const line of lines) io.out(line);
    }
    return 0;
  },
});

function totals(io: Io, { totals, since, until, ...found }: Stats): string[] {
  const palette = paletteOf(io);
  const { promise } = totals;
  const least = found.events_without_business_exact ? "" : "at least ";
  return facts(io, [
    ["since", since],
    ["until", until],
    ["attempts", attemptsCell(totals, palette)],
    ["failed", failuresOf(totals) || null],
    ["latency", percentilesOf(totals.duration_ms)],
    ["first attempt after", percentilesOf(totals.first_attempt_ms)],
    ["delivered after", percentilesOf(totals.delivered_ms)],
    [
      "within 30 s",
      promise.deliveries === 0
        ? null
        : `${promise.delivered_in_time} of ${promise.deliveries} delivered, ${promise.begun_in_time} begun`,
    ],
    ["pending", pendingOf(totals)],
    [
      "events without a business",
      found.events_without_business === 0
        ? null
        : `${least}${found.events_without_business}: endpoints with \`businesses\` do not get them`,
    ],
  ]);
}

function percentilesOf({ p50, p95, p99 }: Totals["duration_ms"]): string | null {
  return p50 === null
    ? null
    : `p50 ${millisecondsOf(p50)}, p95 ${millisecondsOf(p95)}, p99 ${millisecondsOf(p99)}`;
}

function byEndpoint(io: Io, { endpoints }: Stats): string[] {
  const palette = paletteOf(io);
  return table(
    io,
    ["ENDPOINT", "ATTEMPTS", "FAILED", "P50", "P95", "P99", "PENDING"],
    endpoints.map((one) => [
      one.endpoint_id,
      attemptsCell(one, palette),
      failuresOf(one) || "-",
      millisecondsOf(one.duration_ms.p50),
      millisecondsOf(one.duration_ms.p95),
      millisecondsOf(one.duration_ms.p99),
      pendingOf(one),
    ]),
    ["P99", "P50"],
  );
}

function attemptsCell({ attempts, success_rate }: Totals, palette: Palette): Cell {
  if (success_rate === null) return { text: "0", paint: palette.dim };
  // Rounded down: 100 % means all of them.
  const share = Math.floor(1000 * success_rate) / 10;
  const paint = success_rate === 1 ? palette.green : palette.red;
  return { text: `${attempts}, ${share} % delivered`, paint };
}

function failuresOf({ failed }: Totals): string {
  return Object.entries(failed).toSorted(([, a], [, b]) => b - a)
    .map(([reason, count]) => `${reason} ${count}`).join(", ");
}

function pendingOf(totals: Totals): string {
  const { pending, pending_exact, sending, overdue, oldest_overdue_ms } = totals;
  if (pending === 0) return "0";
  const parts = [
    ...(sending === 0 ? [] : [`${sending} being sent`]),
    ...(oldest_overdue_ms === null
      ? []
      : [`${overdue} due, for up to ${inWords(oldest_overdue_ms)}`]),
  ];
  return `${pending}${pending_exact ? "" : "+"}${
    parts.length === 0 ? "" : ` (${parts.join("; ")})`
  }`;
}
