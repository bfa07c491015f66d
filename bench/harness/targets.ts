import { type Figure, precise, ratioText } from "./stats.ts";

/** One of the targets; `met` is undefined if it was not measured. */
export interface Verdict {
  readonly figure: string;
  readonly target: string;
  readonly found: string;
  readonly met: boolean | undefined;
}

const OURS = "bookme-webhooks";
export const PEERS: readonly string[] = ["graphile-worker", "pg-boss"];
const HONO = "empty hono program";

/** The median of a figure of ours, or of another contender; undefined if it was not measured. */
type Get = (
  scenario: string,
  variant: string,
  metric: string,
  contender?: string,
) => number | undefined;

function reader(figures: readonly Figure[]): Get {
  return (scenario, variant, metric, contender = OURS) =>
    figures.find((f) =>
      f.scenario === scenario && f.variant === variant && f.metric === metric &&
      f.contender === contender
    )?.median;
}

/** Compares the medians with the table "must show" of issue 23, whose last row is no matter of the bench. */
export function mustShow(figures: readonly Figure[]): Verdict[] {
  const get = reader(figures);
  const peer = (figure: string, of: readonly [string, string, string], bound: Bound) => {
    const theirs = PEERS.map((name) => get(...of, name)).filter((value) => value !== undefined);
    const better = "least" in bound ? Math.max(...theirs) : Math.min(...theirs);
    const peers = theirs.length < PEERS.length ? undefined : better;
    return ratio(figure, get(...of), peers, bound, "the better peer's");
  };
  const hono = (figure: string, variant: string, bound: Bound) =>
    ratio(
      figure,
      get("start", variant, "to first 202"),
      get("start", variant, "to first 202", HONO),
      bound,
      `an ${HONO}'s`,
    );
  const start = (variant: string) => get("start", variant, "to first 202");
  return [
    peer("drain: all CPU per delivery", ["drain", "", "CPU"], { most: 0.6 }),
    peer("drain: rate", ["drain", "", "rate"], { least: 1.65 }),
    peer("drain over TLS: rate", ["drain-tls", "", "rate"], { least: 2 }),
    peer("ingest: rate, fan-out 1", ["ingest", "fan-out 1", "rate"], { least: 7 }),
    peer("ingest: rate, fan-out 10", ["ingest", "fan-out 10", "rate"], { least: 6 }),
    peer("ingest: rate, fan-out 100", ["ingest", "fan-out 100", "rate"], { least: 6 }),
    peer("highest rate with p99 below 50 ms", ["sustained", "", "rate held"], { least: 10 }),
    peer("idle: p50, one process", ["idle", "in process", "p50"], { most: 0.55 }),
    peer("idle: p50, two processes", ["idle", "two processes", "p50"], { most: 0.75 }),
    hono("start to first 202: deno run", "server", { most: 3 }),
    hono("start to first 202: executable", "executable", { most: 1.6 }),
    value("start to first 202: embedded, new", start("embedded, new directory"), 2_500, "ms"),
    value("start to first 202: embedded, existing", start("embedded"), 700, "ms"),
  ];
}

/** Compares the medians with the targets of the other issues. */
export function verdictsOf(figures: readonly Figure[]): Verdict[] {
  const get = reader(figures);
  return [...speed(get), ...growth(figures, get), ...memory(get), ...reading(figures)];
}

function speed(get: Get): Verdict[] {
  const healthy = (variant: string, metric: string) => get("fairness", variant, metric);
  const bad = "with 5 hanging ones";
  const good = "without hanging ones";
  const drain = (scenario: string, contender = OURS) => get(scenario, "", "rate", contender);
  const traced = "bookme-webhooks traced";
  return [
    ratio("drain: rate", drain("drain"), drain("drain", "ceiling"), { least: 0.45 }, "the ceiling"),
    value(
      "202 to arrival at half load: p99",
      get("sustained", "half load", "202 to arrival p99"),
      2,
      "ms",
    ),
    ratio(
      "fairness: rate of healthy endpoints",
      healthy(bad, "rate"),
      healthy(good, "rate"),
      { least: 0.95 },
      "that without hanging ones",
    ),
    ratio(
      "fairness: p99 of healthy endpoints",
      healthy(bad, "p99"),
      healthy(good, "p99"),
      { most: 1.5 },
      "that without hanging ones",
    ),
    ...[traced, `${traced}, all of it`].map((name) =>
      ratio(
        `traces: rate of ${name}`,
        drain("traces", name),
        drain("traces"),
        { least: 0.9 },
        "that without traces",
      )
    ),
  ];
}

function growth(figures: readonly Figure[], get: Get): Verdict[] {
  const sizes = [...new Set(figures.filter((f) => f.scenario === "growth").map((f) => f.variant))]
    .filter((variant) => !variant.includes("pinned"));
  const [small = "10 k unfinished", middle = "1 M unfinished", large = "5 M unfinished"] = sizes;
  const pinned = `${middle}, dead rows pinned`;
  const compare = (metric: string, variant: string, base: string, most: number) =>
    ratio(
      `${metric}, ${variant}`,
      get("growth", variant, metric),
      get("growth", base, metric),
      { most },
      `that with ${base}`,
    );
  return [
    compare("claim of 500", large, small, 1.3),
    compare("claim of 500", pinned, middle, 2),
    compare("daemon's claims, per 500 rows", pinned, middle, 2),
    value(`memory, ${large}`, get("growth", large, "memory"), 250, "MB"),
  ];
}

function memory(get: Get): Verdict[] {
  const late = get("memory", "under load, last tenth", "memory");
  const early = get("memory", "under load, second tenth", "memory");
  const grown = late === undefined || early === undefined ? undefined : late - early;
  const highest = get("memory", "under load, highest", "memory");
  return [
    value("memory under sustained load", highest, 250, "MB"),
    value("memory: last tenth of ten minutes less the second tenth", grown, 10, "MB"),
  ];
}

function reading(figures: readonly Figure[]): Verdict[] {
  const api = figures.filter((f) => f.scenario === "api");
  const pages = figures.filter((f) => f.scenario === "pages" && f.metric === "p99");
  return [
    ...["p50", "p99"].flatMap((metric) => [
      worst("lists", metric, api.filter((f) => !f.variant.startsWith("stats"))),
      worst("statistics", metric, api.filter((f) => f.variant.startsWith("stats"))),
    ]),
    slowest("dashboard and portal: p99 of each page", pages.filter((f) => !isScrape(f))),
    slowest("scrape with 500 endpoints: p99", pages.filter(isScrape)),
  ];
}

function isScrape({ variant }: Figure): boolean {
  return variant === "/metrics";
}

// With 10 million deliveries.
function slowest(figure: string, figures: readonly Figure[]): Verdict {
  const found = figures.toSorted((a, b) => b.median - a.median)[0];
  const verdict = value(figure, found?.median, 100, "ms");
  return found === undefined
    ? verdict
    : { ...verdict, found: `${verdict.found} (${found.variant})` };
}

// Of some calls of the admin API the one that a long history makes slower the most.
function worst(what: string, metric: string, figures: readonly Figure[]): Verdict {
  const found = figures.filter((f) => f.metric === `${metric} against 10 k`)
    .toSorted((a, b) => b.median - a.median)[0];
  const [, call = "", size = "10 M"] = /^(.*), (.*) attempts$/.exec(found?.variant ?? "") ?? [];
  const figure = `admin API ${metric}: ${what} at ${size} attempts`;
  const target = "at most 5 × that at 10 k";
  if (found === undefined) return { figure, target, found: "–", met: undefined };
  return {
    figure,
    target,
    found: `${found.median.toFixed(2)} × (${call})`,
    met: found.median <= 5,
  };
}

type Bound = { readonly least: number } | { readonly most: number };

function ratio(
  figure: string,
  ours: number | undefined,
  theirs: number | undefined,
  bound: Bound,
  base: string,
): Verdict {
  const [sense, times] = "least" in bound ? ["at least", bound.least] : ["at most", bound.most];
  const target = `${sense} ${times} × ${base}`;
  if (ours === undefined || theirs === undefined) {
    return { figure, target, found: "–", met: undefined };
  }
  const met = "least" in bound ? ours > 0 && ours >= times * theirs : ours <= times * theirs;
  const found = `${ratioText(ours, theirs)} (${precise(ours)} / ${precise(theirs)})`;
  return { figure, target, found, met };
}

function value(figure: string, found: number | undefined, most: number, unit: string): Verdict {
  const target = `at most ${most} ${unit}`;
  if (found === undefined) return { figure, target, found: "–", met: undefined };
  return { figure, target, found: `${found.toFixed(1)} ${unit}`, met: found <= most };
}
