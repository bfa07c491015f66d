import { mustRun, SETTINGS } from "./postgres.ts";
import { type Figure, figuresOf, precise, ratioText, type Sample } from "./stats.ts";
import { barChart, lineChart } from "./svg.ts";
import { mustShow, PEERS, type Verdict, verdictsOf } from "./targets.ts";
import type { Bench } from "./bench.ts";

export interface Outcome {
  readonly samples: readonly Sample[];
  readonly bench: Bench;
  readonly begun: Moment;
  /** What was measured: the commit when the run began, see `commitOf`. */
  readonly commit: string;
}

/** When something was, and how busy the machine was: its load average of the last minute. */
export interface Moment {
  readonly at: Date;
  readonly load: number;
}

/** The present moment. */
export function moment(): Moment {
  return { at: new Date(), load: Deno.loadavg()[0] ?? NaN };
}

/** The commit that is checked out, with `-dirty` if files differ from it. `log` gets what git complains about. */
export async function commitOf(log: string): Promise<string> {
  const cwd = new URL(".", import.meta.url).pathname;
  const args = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"];
  try {
    return (await mustRun("git", args, { cwd, log })).trim();
  } catch {
    return "unknown, this is no git checkout";
  }
}

const OURS = "bookme-webhooks";

/**
 * Writes results.json, results.md and the plots of this run, over what the directory has of another: no table
 * has figures of two runs. Answers the table of what the program must show.
 */
export async function writeReport(out: string, outcome: Outcome): Promise<string> {
  Deno.mkdirSync(out, { recursive: true });
  const figures = figuresOf(outcome.samples);
  const about = await describe(outcome);
  const plots = plotsOf(figures);
  for (const [name, svg] of plots) {
    if (svg === undefined) removeIfThere(`${out}/${name}.svg`);
    else Deno.writeTextFileSync(`${out}/${name}.svg`, svg);
  }
  const must = mustShow(figures);
  const verdicts = verdictsOf(figures);
  Deno.writeTextFileSync(
    `${out}/results.json`,
    JSON.stringify({ about, verdicts, figures, must }, null, 1) + "\n",
  );
  const table = verdictTable(must);
  const text = [
    ...headOf(about, verdicts),
    ...scenariosOf(figures, [...plots].flatMap(([name, svg]) => svg === undefined ? [] : name)),
    "",
    "## Must show",
    "",
    ...table,
  ];
  Deno.writeTextFileSync(`${out}/results.md`, text.join("\n") + "\n");
  return table.join("\n");
}

// A plot of an earlier run.
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

type About = Readonly<Record<string, string>>;

async function describe({ bench, begun, commit }: Outcome): Promise<About> {
  const cpu = /model name\s*: (.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? "unknown";
  const here = new URL("../peers/", import.meta.url).pathname;
  const peers = JSON.parse(Deno.readTextFileSync(`${here}package.json`)).dependencies as Record<
    string,
    string
  >;
  const read = async (command: string, args: string[]) =>
    (await mustRun(command, args, { cwd: here, log: `${bench.directory}/versions.log` })).trim();
  const when = ({ at, load }: Moment) =>
    `${at.toISOString().slice(0, 16).replace("T", " ")} UTC at a load of ${load.toFixed(2)}`;
  const executable = Deno.env.get("EXECUTABLE");
  return {
    "Run": `from ${when(begun)} to ${when(moment())}; sizes: ${bench.size}`,
    "Commit": commit,
    "Machine": `${navigator.hardwareConcurrency} cores (${cpu}), ` +
      `${Math.round(Deno.systemMemoryInfo().total / 2 ** 30)} GB, Linux ${Deno.osRelease()}`,
    "Shared": "Load generator, receivers, PostgreSQL and contender share these cores",
    "Runtime":
      `Deno ${Deno.version.deno}; peers, load generator and receivers on Node ${peers.node}`,
    ...(executable === undefined
      ? {}
      : { "Executable": (await read(executable, ["--version", "--json"])).replace(/\s+/g, " ") }),
    "Peers": `graphile-worker ${peers["graphile-worker"]}, pg-boss ${peers["pg-boss"]}, ` +
      `undici ${peers.undici}`,
    "PostgreSQL": `${bench.server.version} (${
      Object.entries(SETTINGS).map(([name, value]) => `${name} ${value}`).join(", ")
    })`,
    "Check": `Each run passed it${bench.quick ? ". Small sizes: THE FIGURES MEAN LITTLE" : ""}`,
  };
}

function headOf(about: About, verdicts: readonly Verdict[]): string[] {
  return [
    "# Results of the bench",
    "",
    ...Object.entries(about).map(([name, value]) => `- ${name}: ${value}`),
    "",
    "## Targets",
    "",
    ...verdictTable(verdicts),
  ];
}

function verdictTable(verdicts: readonly Verdict[]): string[] {
  return [
    "| figure | measured | target | |",
    "| --- | --- | --- | --- |",
    ...verdicts.map(({ figure, found, target, met }) => {
      const word = met === undefined ? "not measured" : met ? "met" : "**not met**";
      return `| ${figure} | ${found} | ${target} | ${word} |`;
    }),
  ];
}

function scenariosOf(figures: readonly Figure[], plots: readonly string[]): string[] {
  return [...new Set(figures.map(({ scenario }) => scenario))].flatMap((scenario) => {
    const own = figures.filter((figure) => figure.scenario === scenario);
    const shown = plots.filter((name) => scenarioOf(name) === scenario);
    return [
      "",
      `## ${scenario}`,
      "",
      timesOf(own),
      "",
      ...tableOf(own),
      ...shown.flatMap((name) => ["", `![${name}](${name}.svg)`]),
    ];
  });
}

function timesOf(figures: readonly Figure[]): string {
  const most = Math.max(...figures.map(({ values }) => values.length));
  return most === 1 ? "Once." : `${most} times, interleaved: median (lowest–highest).`;
}

// One row per variant and metric, one column per contender: median (min–max).
function tableOf(figures: readonly Figure[]): string[] {
  const contenders = [...new Set(figures.map((figure) => figure.contender))];
  const with_ratio = PEERS.some((peer) => contenders.includes(peer));
  const head = ["", ...contenders, ...(with_ratio ? ["ours / better peer"] : [])];
  const rows = new Map<string, Figure[]>();
  for (const figure of figures) {
    const { variant, metric, unit } = figure;
    const key = `${variant === "" ? "" : `${variant}: `}${metric}, ${unit}`;
    rows.set(key, [...(rows.get(key) ?? []), figure]);
  }
  return [
    `| ${head.join(" | ")} |`,
    `|${head.map(() => " --- ").join("|")}|`,
    ...[...rows].map(([key, row]) => {
      const cells = contenders.map((name) => cell(row.find((f) => f.contender === name)));
      return `| ${[key, ...cells, ...(with_ratio ? [ratioOf(row)] : [])].join(" | ")} |`;
    }),
  ];
}

function cell(figure: Figure | undefined): string {
  if (figure === undefined) return "";
  const { median, min, max, values } = figure;
  const range = values.length > 1 ? ` (${precise(min)}–${precise(max)})` : "";
  return precise(median) + range;
}

function ratioOf(row: readonly Figure[]): string {
  const ours = row.find((figure) => figure.contender === OURS);
  const theirs = row.filter((figure) => PEERS.includes(figure.contender)).map((f) => f.median);
  if (ours === undefined || theirs.length < PEERS.length) return "";
  // Of rates more is better, of everything else less.
  const better = ours.metric.startsWith("rate") ? Math.max(...theirs) : Math.min(...theirs);
  return ratioText(ours.median, better);
}

/** Bar charts: name, title, metric. */
const BARS = [
  ["drain", "Drain", "rate"],
  ["drain_cpu", "CPU of contender and PostgreSQL", "CPU"],
  ["drain-tls", "Drain over TLS", "rate"],
  ["daemons", "Drain by several daemons", "rate"],
  ["daemons_cpu", "CPU of the daemons and PostgreSQL", "CPU"],
  ["idle", "Idle post-to-arrival, p50", "p50"],
  ["ingest", "Acknowledged events", "rate"],
  ["growth", "Delivery rate with many unfinished", "rate"],
  ["growth_claim", "Claim of 500", "claim of 500"],
  ["fairness", "Rate of 50 healthy endpoints", "rate"],
  ["fairness_p99", "Post-to-arrival at 50 healthy endpoints, p99", "p99"],
  ["start", "Start to first 202", "to first 202"],
  ["memory", "Resident memory", "memory"],
] as const;

/** Line charts over the rates offered: the same. */
const LINES = [
  ["sustained_p50", "Post-to-arrival, p50", "p50"],
  ["sustained_p99", "Post-to-arrival, p99", "p99"],
  ["sustained-tls_p50", "Post-to-arrival over TLS, p50", "p50"],
  ["sustained-tls_p99", "Post-to-arrival over TLS, p99", "p99"],
] as const;

/** The plots by name; undefined where nothing was measured. */
function plotsOf(figures: readonly Figure[]): Map<string, string | undefined> {
  const shown = (name: string, metric: string) =>
    figures.filter((f) => f.scenario === scenarioOf(name) && f.metric === metric);
  return new Map([
    ...BARS.map(([name, title, metric]) => [name, barsOf(title, shown(name, metric))] as const),
    ...LINES.map(([name, title, metric]) => [name, linesOf(title, shown(name, metric))] as const),
  ]);
}

/** A plot is named by its scenario and, after a _, by what else it shows. */
function scenarioOf(plot: string): string | undefined {
  return plot.split("_")[0];
}

function barsOf(title: string, figures: readonly Figure[]): string | undefined {
  const [first] = figures;
  if (first === undefined) return undefined;
  const bars = figures.map(({ variant, contender, median, min, max }) => ({
    group: variant,
    name: contender,
    value: median,
    min,
    max,
  }));
  return barChart(title, first.unit, bars);
}

function linesOf(title: string, figures: readonly Figure[]): string | undefined {
  const found = figures.filter(({ variant }) => /^\d/.test(variant));
  if (found.length === 0) return undefined;
  const lines = [...new Set(found.map((f) => f.contender))].map((name) => ({
    name,
    points: found.filter((f) => f.contender === name)
      .map((f) => ({ x: parseInt(f.variant), y: f.median })),
  }));
  return lineChart(title, "ms", "events per second offered", lines);
}
