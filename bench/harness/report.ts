import { SETTINGS } from "./postgres.ts";
import { type Figure, figuresOf, type Sample } from "./stats.ts";
import { barChart, lineChart, short } from "./svg.ts";
import { type Verdict, verdictsOf } from "./targets.ts";
import type { Bench } from "./bench.ts";

export interface Outcome {
  readonly samples: readonly Sample[];
  readonly bench: Bench;
}

/** What a report holds of a scenario, beside its figures: when it was run, and how often. */
type Taken = Readonly<Record<string, string>>;

const OURS = "bookme-webhooks";
const PEERS = ["graphile-worker", "pg-boss"];

/**
 * Writes results.json, results.md and the plots. What was not run now, a scenario or a contender in it,
 * keeps the figures that the directory's results.json has.
 */
export async function writeReport(out: string, outcome: Outcome): Promise<void> {
  Deno.mkdirSync(out, { recursive: true });
  const fresh = figuresOf(outcome.samples);
  const now = [...new Set(fresh.map(({ scenario }) => scenario))];
  const before = outcome.bench.quick ? NOTHING : read(out);
  const figures = [
    ...before.figures.filter((old) =>
      !fresh.some((figure) =>
        figure.scenario === old.scenario && figure.contender === old.contender
      )
    ),
    ...fresh,
  ];
  const taken = {
    ...before.taken,
    ...Object.fromEntries(now.map((name) => [name, take(fresh, name)])),
  };
  const verdicts = verdictsOf(figures);
  const about = await describe(outcome);
  const plots = plotsOf(figures);
  for (const [name, svg] of plots) Deno.writeTextFileSync(`${out}/${name}.svg`, svg);
  Deno.writeTextFileSync(
    `${out}/results.json`,
    JSON.stringify({ about, taken, verdicts, figures }, null, 1) + "\n",
  );
  const names = [...plots.keys()];
  Deno.writeTextFileSync(`${out}/results.md`, markdown(about, taken, verdicts, figures, names));
}

interface Report {
  readonly taken: Taken;
  readonly figures: readonly Figure[];
}
const NOTHING: Report = { taken: {}, figures: [] };

function read(out: string): Report {
  try {
    return JSON.parse(Deno.readTextFileSync(`${out}/results.json`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return NOTHING;
    throw error;
  }
}

function take(figures: readonly Figure[], name: string): string {
  const counts = figures.filter(({ scenario }) => scenario === name)
    .map(({ values }) => values.length);
  const most = Math.max(...counts);
  const times = most === 1 ? "Once" : `${most} times, interleaved: median (lowest–highest)`;
  return `${times}; ${new Date().toISOString().slice(0, 10)}`;
}

type About = Readonly<Record<string, string>>;

async function describe({ bench }: Outcome): Promise<About> {
  const cpu = /model name\s*: (.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1] ?? "unknown";
  const peers = JSON.parse(
    await Deno.readTextFile(new URL("../peers/package.json", import.meta.url)),
  ).dependencies as Record<string, string>;
  return {
    "Machine": `${navigator.hardwareConcurrency} cores (${cpu}), ` +
      `${Math.round(Deno.systemMemoryInfo().total / 2 ** 30)} GB, Linux ${Deno.osRelease()}`,
    "Shared": "Load generator, receivers, PostgreSQL and contender share these cores",
    "Runtime":
      `Deno ${Deno.version.deno}; peers, load generator and receivers on Node ${peers.node}`,
    "Peers": `graphile-worker ${peers["graphile-worker"]}, pg-boss ${peers["pg-boss"]}, ` +
      `undici ${peers.undici}`,
    "PostgreSQL": `${bench.server.version} (${
      Object.entries(SETTINGS).map(([name, value]) => `${name} ${value}`).join(", ")
    })`,
    "Check": `Each run passed it${bench.quick ? ". Small sizes: THE FIGURES MEAN LITTLE" : ""}`,
  };
}

function markdown(
  about: About,
  taken: Taken,
  verdicts: readonly Verdict[],
  figures: readonly Figure[],
  plots: readonly string[],
): string {
  const lines = ["# Results of the bench", ""];
  for (const [name, value] of Object.entries(about)) lines.push(`- ${name}: ${value}`);
  lines.push("", "## Targets", "", "| target | found | |", "| --- | --- | --- |");
  for (const { target, found, met } of verdicts) {
    const word = met === undefined ? "not measured" : met ? "met" : "**not met**";
    lines.push(`| ${target} | ${found} | ${word} |`);
  }
  for (const scenario of new Set(figures.map((figure) => figure.scenario))) {
    lines.push(
      "",
      `## ${scenario}`,
      "",
      `${taken[scenario] ?? ""}.`,
      "",
      ...tableOf(figures.filter((f) => f.scenario === scenario)),
    );
    const mine = plots.filter((name) => name.startsWith(scenario));
    lines.push(...mine.flatMap((name) => ["", `![${name}](${name}.svg)`]));
  }
  return lines.join("\n") + "\n";
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
  if (ours === undefined || theirs.length === 0) return "";
  // Of rates more is better, of everything else less.
  const better = ours.metric.startsWith("rate") ? Math.max(...theirs) : Math.min(...theirs);
  return `${(ours.median / better).toFixed(2)} ×`;
}

function precise(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en") : short(value);
}

function plotsOf(figures: readonly Figure[]): Map<string, string> {
  const plots = new Map<string, string>();
  const bars = (
    name: string,
    title: string,
    scenario: string,
    metric: string,
    wanted: (variant: string) => boolean = () => true,
  ) => {
    const found = figures.filter((f) =>
      f.scenario === scenario && f.metric === metric && wanted(f.variant)
    );
    const unit = found[0]?.unit;
    if (unit === undefined) return;
    plots.set(
      name,
      barChart(
        title,
        unit,
        found.map(({ variant, contender, median, min, max }) => ({
          group: variant,
          name: contender,
          value: median,
          min,
          max,
        })),
      ),
    );
  };
  bars("drain", "Drain", "drain", "rate");
  bars("drain_cpu", "CPU of contender and PostgreSQL", "drain", "CPU");
  bars("idle", "Idle post-to-arrival, p50", "idle", "p50");
  bars("ingest", "Acknowledged events", "ingest", "rate");
  bars("growth", "Delivery rate with many unfinished", "growth", "rate");
  bars("growth_claim", "Claim of 500", "growth", "claim of 500");
  bars("fairness", "Rate of 50 healthy endpoints", "fairness", "rate");
  bars("fairness_p99", "Post-to-arrival at 50 healthy endpoints, p99", "fairness", "p99");
  bars("start", "Start to first 202", "start", "to first 202");
  bars("memory", "Resident memory", "memory", "memory");
  for (const metric of ["p50", "p99"]) {
    const found = figures.filter((f) =>
      f.scenario === "sustained" && f.metric === metric && /^\d/.test(f.variant)
    );
    if (found.length === 0) continue;
    const lines = [...new Set(found.map((f) => f.contender))].map((name) => ({
      name,
      points: found.filter((f) => f.contender === name)
        .map((f) => ({ x: parseInt(f.variant), y: f.median })),
    }));
    const title = `Sustained: post-to-arrival, ${metric}`;
    plots.set(`sustained_${metric}`, lineChart(title, "ms", "events per second offered", lines));
  }
  return plots;
}
