/** `deno task bench`: this program beside what a TypeScript team would pick instead (README.md). */

import { parseArgs } from "node:util";
import { bookme, embedded } from "./contenders/bookme.ts";
import { peers } from "./contenders/peer.ts";
import { type Bench, type Scenario, type Size, startDriver } from "./harness/bench.ts";
import { mustRun, startServer } from "./harness/postgres.ts";
import { stopAll } from "./harness/processes.ts";
import { commitOf, moment, writeReport } from "./harness/report.ts";
import type { Sample } from "./harness/stats.ts";
import { api } from "./scenarios/api.ts";
import { daemons, drain, drainTls } from "./scenarios/drain.ts";
import { fairness } from "./scenarios/fairness.ts";
import { growth } from "./scenarios/growth.ts";
import { idle } from "./scenarios/idle.ts";
import { ingest } from "./scenarios/ingest.ts";
import { memory } from "./scenarios/memory.ts";
import { metrics } from "./scenarios/metrics.ts";
import { pages } from "./scenarios/pages.ts";
import { retention } from "./scenarios/retention.ts";
import { start } from "./scenarios/start.ts";
import { sustained, sustainedTls } from "./scenarios/sustained.ts";
import { traces } from "./scenarios/traces.ts";

/** In the order of their running. `times` is how often, where it is not `--reps`. */
const SCENARIOS: Readonly<Record<string, { run: Scenario; embedded: boolean; times?: number }>> = {
  drain: { run: drain, embedded: true },
  "drain-tls": { run: drainTls, embedded: false },
  sustained: { run: sustained, embedded: true },
  "sustained-tls": { run: sustainedTls, embedded: false },
  idle: { run: idle, embedded: true },
  ingest: { run: ingest, embedded: true },
  growth: { run: growth, embedded: false },
  daemons: { run: daemons, embedded: false },
  fairness: { run: fairness, embedded: false },
  start: { run: start, embedded: false },
  metrics: { run: metrics, embedded: false },
  traces: { run: traces, embedded: false },
  // Stores twelve million deliveries.
  retention: { run: retention, embedded: false, times: 1 },
  // Ten minutes long.
  memory: { run: memory, embedded: true, times: 1 },
  // Stores ten million attempts.
  api: { run: api, embedded: false, times: 1 },
  // Stores ten million deliveries.
  pages: { run: pages, embedded: false, times: 1 },
};

/** What the rows of "Must show" need. */
const MUST = ["start", "drain", "drain-tls", "ingest", "idle", "sustained"];

function readArgs() {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      must: { type: "boolean", default: false },
      only: { type: "string" },
      contenders: { type: "string" },
      reps: { type: "string", default: "5" },
      quick: { type: "boolean", default: false },
      out: { type: "string" },
    },
  });
  const names = values.only?.split(",") ?? (values.must ? MUST : Object.keys(SCENARIOS));
  const unknown = names.filter((name) => !Object.hasOwn(SCENARIOS, name));
  if (unknown.length > 0) {
    throw new Error(`No scenario ${unknown.join(", ")}; there are ${Object.keys(SCENARIOS)}`);
  }
  const size: Size = values.quick ? "quick" : values.must ? "short" : "full";
  const is_part = (values.only ?? values.contenders) !== undefined;
  // A lesser run must not take the place of the whole one.
  const place = {
    quick: "/quick",
    short: is_part ? "/part" : "/must",
    full: is_part ? "/part" : "",
  };
  const results = new URL("results", import.meta.url).pathname;
  return {
    names,
    contenders: values.contenders?.split(","),
    embedded: !values.must,
    reps: values.quick ? 1 : Number(values.reps),
    size,
    out: values.out ?? results + place[size],
  };
}

// The peers and a Node to run them, in a directory of their own that the product never sees.
async function installPeers(log: string): Promise<string> {
  const cwd = new URL("peers/", import.meta.url).pathname;
  const node = `${cwd}node_modules/.bin/node`;
  try {
    Deno.statSync(node);
  } catch {
    say("Installing the peers (bench/peers)");
    await mustRun("npm", ["ci", "--no-audit", "--no-fund"], { cwd, log });
  }
  return node;
}

function say(text: string): void {
  const time = new Date().toISOString().slice(11, 19);
  Deno.stderr.writeSync(new TextEncoder().encode(`${time} ${text}\n`));
}

async function main(): Promise<void> {
  const args = readArgs();
  const directory = Deno.makeTempDirSync({ prefix: "bookme-bench-" });
  Deno.chmodSync(directory, 0o711); // the database's user must get to its own directory
  const cleanUp = async () => {
    await stopAll();
    Deno.removeSync(directory, { recursive: true });
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void cleanUp().finally(() => Deno.exit(130)));
  }
  try {
    const begun = moment();
    const commit = await commitOf(`${directory}/git.log`);
    const samples: Sample[] = [];
    const node = await installPeers(`${directory}/npm.log`);
    const server = await startServer(directory);
    const bench: Bench = {
      server,
      node,
      directory,
      size: args.size,
      quick: args.size === "quick",
      driver: startDriver(node, directory),
      add: (sample) => {
        if (!Number.isFinite(sample.value)) {
          throw new Error(`Check failed: no figure, ${JSON.stringify(sample)}`);
        }
        samples.push(sample);
      },
      log: (text) => say(`    ${text}`),
    };
    let must = "";
    for (const name of args.names) {
      await repeat(bench, name, args, async () => {
        must = await writeReport(args.out, { samples, bench, begun, commit });
      });
    }
    await server.stop();
    say(`Results are in ${args.out}\n\n${must}`);
  } finally {
    await cleanUp();
  }
}

// Interleaved: every contender once, then every contender again. The report is written each time, so that
// a run that is stopped leaves what it has.
async function repeat(
  bench: Bench,
  name: string,
  args: ReturnType<typeof readArgs>,
  report: () => Promise<void>,
): Promise<void> {
  const scenario = SCENARIOS[name];
  if (scenario === undefined) return;
  const all = [
    bookme,
    ...peers(bench.node),
    ...(scenario.embedded && args.embedded ? [embedded] : []),
  ];
  const contenders = all.filter((one) => args.contenders?.includes(one.name) ?? true);
  const times = Math.min(args.reps, scenario.times ?? Infinity);
  for (let i = 1; i <= times; i++) {
    say(`${name}, ${i} of ${times}`);
    await scenario.run(bench, contenders);
    await report();
  }
}

await main();
