import type { Figure } from "./stats.ts";

/** One of the targets; `met` is undefined where it was not measured. */
export interface Verdict {
  readonly target: string;
  readonly found: string;
  readonly met: boolean | undefined;
}

const OURS = "bookme-webhooks";
const PEERS = ["graphile-worker", "pg-boss"];

/** Compares the medians with the targets. */
export function verdictsOf(figures: readonly Figure[]): Verdict[] {
  const get = (scenario: string, variant: string, metric: string, contender = OURS) =>
    figures.find((f) =>
      f.scenario === scenario && f.variant === variant && f.metric === metric &&
      f.contender === contender
    )?.median;
  const better = (choose: "max" | "min", scenario: string, variant: string, metric: string) => {
    const found = PEERS.map((peer) => get(scenario, variant, metric, peer))
      .filter((value) => value !== undefined);
    return found.length === 0 ? undefined : Math[choose](...found);
  };
  const sizes = [...new Set(figures.filter((f) => f.scenario === "growth").map((f) => f.variant))]
    .filter((variant) => !variant.includes("pinned"));
  const [small = "", middle = ""] = sizes;
  const large = sizes[2] ?? "";
  const pinned = `${middle}, dead rows pinned`;
  const own = "daemon's claims, per 500 rows";
  const healthy = (variant: string, metric: string) => get("fairness", variant, metric);
  const bad = "with 5 hanging ones";
  const good = "without hanging ones";
  const api = figures.filter((f) => f.scenario === "api");
  const late = get("memory", "under load, last tenth", "memory");
  const early = get("memory", "under load, second tenth", "memory");
  const grown = late === undefined || early === undefined ? undefined : late - early;
  return [
    ratio(
      "drain: at least 2 × the better peer",
      get("drain", "", "rate"),
      better("max", "drain", "", "rate"),
      ">=",
      2,
    ),
    ratio(
      "drain: at least 0.45 × the ceiling",
      get("drain", "", "rate"),
      get("drain", "", "rate", "ceiling"),
      ">=",
      0.45,
    ),
    ratio(
      "sustained: holds at least 10 × the better peer's rate at p99 < 50 ms (or the profile says why not)",
      get("sustained", "", "rate held"),
      better("max", "sustained", "", "rate held"),
      ">=",
      10,
    ),
    value(
      "202 to arrival at half load: p99 at most 2 ms",
      get("sustained", "half load", "202 to arrival p99"),
      2,
      "ms",
    ),
    ratio(
      "idle p50, in process: at most 0.7 × the better peer's",
      get("idle", "in process", "p50"),
      better("min", "idle", "in process", "p50"),
      "<=",
      0.7,
    ),
    ratio(
      "idle p50, two processes: at most 0.7 × the better peer's",
      get("idle", "two processes", "p50"),
      better("min", "idle", "two processes", "p50"),
      "<=",
      0.7,
    ),
    ratio(
      `claim time, ${large}: at most 1.3 × ${small}`,
      get("growth", large, "claim of 500"),
      get("growth", small, "claim of 500"),
      "<=",
      1.3,
    ),
    ratio(
      `claim time, ${pinned}: at most 2 ×`,
      get("growth", pinned, "claim of 500"),
      get("growth", middle, "claim of 500"),
      "<=",
      2,
    ),
    ratio(
      `the daemon's own claims, ${pinned}: at most 2 ×`,
      get("growth", pinned, own),
      get("growth", middle, own),
      "<=",
      2,
    ),
    ratio(
      "fairness: healthy endpoints keep at least 95 % of their rate",
      healthy(bad, "rate"),
      healthy(good, "rate"),
      ">=",
      0.95,
    ),
    ratio(
      "fairness: healthy endpoints' p99 at most 1.5 ×",
      healthy(bad, "p99"),
      healthy(good, "p99"),
      "<=",
      1.5,
    ),
    value(
      "memory under sustained load: below 250 MB",
      get("memory", "under load, highest", "memory"),
      250,
      "MB",
    ),
    value(`memory, ${large}: below 250 MB`, get("growth", large, "memory"), 250, "MB"),
    value(
      "memory: no growth over ten minutes (last tenth less second tenth, within 10 MB)",
      grown,
      10,
      "MB",
    ),
    ratio(
      "start to first 202, server: at most 1.5 × an empty hono program",
      get("start", "server", "to first 202"),
      get("start", "server", "to first 202", "empty hono program"),
      "<=",
      1.5,
    ),
    ...["p50", "p99"].flatMap((metric) => [
      worst("pages", metric, api.filter((f) => !f.variant.startsWith("stats"))),
      worst("statistics", metric, api.filter((f) => f.variant.startsWith("stats"))),
    ]),
    ratio(
      "traces: a drain that records all of them at least 0.9 × one without",
      get("traces", "", "rate", "bookme-webhooks traced"),
      get("traces", "", "rate"),
      ">=",
      0.9,
    ),
    ratio(
      "traces: a drain that records a tenth of them at least 0.9 × one without",
      get("traces", "", "rate", "bookme-webhooks traced, a tenth"),
      get("traces", "", "rate"),
      ">=",
      0.9,
    ),
    slowestPage(figures.filter((f) => f.scenario === "pages" && f.metric === "p99")),
  ];
}

// Of the pages for people, with 10 million deliveries.
function slowestPage(figures: readonly Figure[]): Verdict {
  const target = "dashboard and portal: p99 of each page at most 100 ms";
  const slowest = figures.toSorted((a, b) => b.median - a.median)[0];
  if (slowest === undefined) return { target, found: "–", met: undefined };
  const found = `${slowest.median.toFixed(1)} ms (${slowest.variant})`;
  return { target, found, met: slowest.median <= 100 };
}

// Of some calls of the admin API the one that a long history makes slower the most.
function worst(what: string, metric: string, figures: readonly Figure[]): Verdict {
  const found = figures.filter((f) => f.metric === `${metric} against 10 k`)
    .toSorted((a, b) => b.median - a.median)[0];
  const [, call = "", size = "10 M"] = /^(.*), (.*) attempts$/.exec(found?.variant ?? "") ?? [];
  const target = `admin API ${metric}: ${what} at ${size} attempts at most 5 × those at 10 k`;
  if (found === undefined) return { target, found: "–", met: undefined };
  return { target, found: `${found.median.toFixed(2)} × (${call})`, met: found.median <= 5 };
}

function ratio(
  target: string,
  ours: number | undefined,
  theirs: number | undefined,
  sense: ">=" | "<=",
  bound: number,
): Verdict {
  if (ours === undefined || theirs === undefined) return { target, found: "–", met: undefined };
  const found = ours / theirs;
  const met = sense === ">=" ? found >= bound : found <= bound;
  return { target, found: `${found.toFixed(2)} ×`, met };
}

function value(target: string, found: number | undefined, most: number, unit: string): Verdict {
  if (found === undefined) return { target, found: "–", met: undefined };
  return { target, found: `${found.toFixed(1)} ${unit}`, met: found <= most };
}
