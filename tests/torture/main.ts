/**
 * Breaks things for real and checks that nothing is lost.
 *
 *   deno task torture                     every fault once
 *   deno task torture --fault NAME[,NAME] these only
 *   deno task torture --minutes 10        over and over, for so long
 *   deno task torture --kills 1000        over and over, until daemons were killed so often
 *
 * See `USAGE` for the rest. Exits with 1 where an invariant is broken.
 */

import { parseArgs } from "node:util";
import { VERSION } from "../../lib/core/version.ts";
import { messageOf } from "../../lib/core/errors.ts";
import { type Cluster, startCluster } from "./cluster.ts";
import { killAll } from "./daemons.ts";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { removeNetwork } from "./machines/network.ts";
import { makeRandom } from "./random.ts";
import { inWords, summary, writeTable } from "./report.ts";
import { type Round, runRound } from "./round.ts";
import { copyTree, hasten, sabotage, SABOTAGES, SHOWN_BY } from "./sabotage.ts";

const USAGE = `deno task torture [options]

  --fault NAME[,NAME]   only these; without it, each once
  --minutes N           goes on, round after round, for so long
  --kills N             goes on, round after round, until daemons were killed so often
  --seconds N           how long each fault strikes, instead of its own time
  --seed N              of the plan; else one is made and printed
  --daemons 1..3        3 unless a fault says otherwise
  --executable PATH     runs this instead of main.ts
  --write               puts the results into the table of docs/reliability.md
  --sabotage NAME       breaks a copy of the program on purpose: ${
  Object.keys(SABOTAGES).join(", ")
}
  --list                the names of the faults`;

const TREE = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");
const PAGE = `${TREE}/docs/reliability.md`;

const encoder = new TextEncoder();

function print(line: string): void {
  const bytes = encoder.encode(line + "\n");
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

interface Options {
  readonly faults: readonly Fault[];
  readonly minutes: number | undefined;
  readonly kills: number;
  readonly seconds: number | undefined;
  readonly seed: number;
  readonly daemons: number;
  readonly executable: string | undefined;
  readonly write: boolean;
  readonly sabotage: string | undefined;
}

function readOptions(args: string[]): Options | undefined {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  const { values } = parseArgs({
    args,
    options: {
      fault: text,
      minutes: text,
      kills: text,
      seconds: text,
      seed: text,
      daemons: text,
      executable: text,
      sabotage: text,
      write: flag,
      list: flag,
      help: flag,
    },
  });
  if (values.help || values.list) {
    print(values.help ? USAGE : FAULTS.map(({ name }) => name).join("\n"));
    return undefined;
  }
  const names = values.fault?.split(",") ?? SHOWN_BY[values.sabotage ?? ""];
  return {
    faults: names?.map(faultNamed) ?? FAULTS,
    minutes: numberOf(values.minutes),
    kills: numberOf(values.kills) ?? 0,
    seconds: numberOf(values.seconds),
    seed: numberOf(values.seed) ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 1,
    daemons: numberOf(values.daemons) ?? 3,
    executable: values.executable,
    write: values.write,
    sabotage: values.sabotage,
  };
}

function faultNamed(name: string): Fault {
  const fault = FAULTS.find((one) => one.name === name);
  if (fault === undefined) throw new Error(`There is no fault ${name}; --list names them`);
  return fault;
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (text === "" || !(number >= 0)) throw new Error(`${JSON.stringify(text)} is not a number`);
  return number;
}

async function runAll(options: Options, cluster: Cluster, tree: string): Promise<Round[]> {
  const end = performance.now() + (options.minutes ?? 0) * 60_000;
  const random = makeRandom(options.seed);
  const rounds: Round[] = [];
  const goesOn = () =>
    performance.now() < end ||
    rounds.reduce((sum, { kills }) => sum + kills, 0) < options.kills;
  for (let turn = 0; turn === 0 || goesOn(); turn++) {
    for (const [at, fault] of options.faults.entries()) {
      if (turn > 0 && !goesOn()) break;
      const round = await runRound(fault, {
        ...options,
        cluster,
        tree,
        is_hasty: options.executable === undefined,
        database: `torture_${turn}_${at}`,
        // A broken copy may never come to an end.
        patience_ms: options.sabotage === undefined ? 60_000 : 10_000,
        random: random.fork(`${turn}/${fault.name}`),
      });
      inWords(round).forEach(print);
      rounds.push(round);
    }
  }
  return rounds;
}

async function main(args: string[]): Promise<number> {
  const options = readOptions(args);
  if (options === undefined) return 0;
  const tree = await copyTree(TREE);
  await hasten(tree);
  if (options.sabotage !== undefined) await sabotage(tree, options.sabotage);
  const cluster = await startCluster();
  // Whoever interrupts the run must not leave a server and daemons behind.
  const interrupted = () => {
    killAll();
    Promise.all([removeNetwork(), cluster.close()]).finally(() => Deno.exit(130));
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, interrupted);
  try {
    const versions = `bookme-webhooks ${VERSION}, Deno ${Deno.version.deno}, ` +
      `PostgreSQL ${cluster.version}, ${options.daemons} daemons`;
    print(`seed ${options.seed}, ${versions}`);
    const rounds = await runAll(options, cluster, tree);
    print(summary(rounds));
    if (options.write) Deno.writeTextFileSync(PAGE, writeTable(readPage(), rounds, versions));
    return rounds.some(({ violations }) => violations.length > 0) ? 1 : 0;
  } finally {
    await cluster.close();
    await Deno.remove(tree, { recursive: true });
  }
}

function readPage(): string {
  try {
    return Deno.readTextFileSync(PAGE);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "# Reliability\n";
  }
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    print(error instanceof Error && error.stack !== undefined ? error.stack : messageOf(error));
    Deno.exit(2);
  }
}
