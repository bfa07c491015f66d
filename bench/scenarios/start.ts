import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import config from "../../deno.json" with { type: "json" };
import { freePort, mustRun } from "../harness/postgres.ts";
import { cpuOf, type Process, startProcess } from "../harness/processes.ts";
import { bookme, type DatabaseOption, launch, writeConfig } from "../contenders/bookme.ts";
import { bodyOf } from "../workload.ts";

const EVERY_MS = 3;
const GIVE_UP_MS = 60_000;

/** An empty hono program, run by deno. */
const HONO = new URL("../workers/hono.ts", import.meta.url).pathname;
const RUN_HONO = [
  Deno.execPath(),
  "run",
  "--frozen",
  "--allow-net",
  "--allow-read",
  "--allow-env",
  HONO,
];

/**
 * From the start of the process to the first 200 of /readyz and to the first 202, and hono's own: by `deno run`
 * and, if EXECUTABLE names our compiled program, compiled.
 */
export async function start(bench: Bench): Promise<void> {
  const executable = Deno.env.get("EXECUTABLE");
  if (executable === undefined) bench.log("No start of the executable: EXECUTABLE is not set");
  const compiled_hono = executable === undefined ? "" : await compileHono(bench);
  const starts = { quick: 2, short: 1, full: 5 }[bench.size];
  await withRun(bench, bookme, { answering: 10, owed: "one" }, async (run) => {
    const server = { url: run.database.url };
    for (let i = 0; i < starts; i++) {
      await hono(bench, run, "server", RUN_HONO);
      await daemon(bench, run, "server", server);
      if (executable !== undefined) {
        await hono(bench, run, "executable", [compiled_hono]);
        await daemon(bench, run, "executable", server, executable);
      }
      const directory = `${run.setup.directory}/embedded-${i}`;
      await daemon(bench, run, "embedded, new directory", { directory });
      await daemon(bench, run, "embedded", { directory });
    }
  });
}

async function daemon(
  bench: Bench,
  run: Run,
  variant: string,
  database: DatabaseOption,
  executable?: string,
) {
  const port = freePort();
  const config = writeConfig(run.setup, database, port);
  const from = performance.now();
  const process = launch(config, run.setup.directory, { executable });
  const url = `http://127.0.0.1:${port}`;
  const [ready, accepted] = await Promise.all([
    firstAnswer(process, () => new Request(`${url}/readyz`), 200),
    firstAnswer(process, () => post(url), 202),
  ]);
  const cpu_ms = cpuOf(process.pid);
  await process.stop();
  add(bench, variant, bookme.name, "to ready", ready - from);
  add(bench, variant, bookme.name, "to first 202", accepted - from);
  add(bench, variant, bookme.name, "CPU to first 202", cpu_ms);
}

let compiled: Promise<string> | undefined;

/**
 * The empty hono program, compiled as ours is by deploy/compile.sh, with DENO and DENORT_BIN as there, but in
 * a folder that names no package besides hono.
 */
function compileHono({ directory }: Bench): Promise<string> {
  return compiled ??= (async () => {
    const cwd = `${directory}/hono`;
    Deno.mkdirSync(cwd);
    Deno.copyFileSync(HONO, `${cwd}/main.ts`);
    const { hono } = config.imports;
    Deno.writeTextFileSync(`${cwd}/deno.json`, JSON.stringify({ imports: { hono } }));
    const options = ["--no-check", "--no-code-cache", "--allow-net", "--allow-read", "--allow-env"];
    const args = ["compile", ...options, "--output", `${cwd}/hono`, "main.ts"];
    await mustRun(Deno.env.get("DENO") ?? Deno.execPath(), args, { cwd, log: `${cwd}.log` });
    return `${cwd}/hono`;
  })();
}

async function hono(bench: Bench, run: Run, variant: string, command: readonly string[]) {
  const port = freePort();
  const from = performance.now();
  const [program = "", ...args] = [...command, `${port}`];
  const process = startProcess(program, args, { log: `${run.setup.directory}/hono.log` });
  const at = await firstAnswer(process, () => post(`http://127.0.0.1:${port}`), 202);
  const cpu_ms = cpuOf(process.pid);
  await process.stop();
  add(bench, variant, "empty hono program", "to first 202", at - from);
  add(bench, variant, "empty hono program", "CPU to first 202", cpu_ms);
}

// Owed to nobody, so that nothing but starting and storing is measured.
function post(url: string): Request {
  const headers = { "content-type": "application/json" };
  return new Request(`${url}/ingest`, { method: "POST", headers, body: bodyOf(0, "bus_nobody") });
}

// A new try every few milliseconds, none waiting for another: what is sent too early costs nothing.
async function firstAnswer(
  process: Process,
  make: () => Request,
  status: number,
): Promise<number> {
  const abort = new AbortController();
  const tries: Promise<unknown>[] = [];
  const found = Promise.withResolvers<number>();
  const timer = setInterval(() => {
    const attempt = fetch(make(), { signal: abort.signal }).then(async (response) => {
      if (response.status === status) found.resolve(performance.now());
      await response.body?.cancel();
    }).catch(() => {});
    tries.push(attempt);
  }, EVERY_MS);
  const late = setTimeout(() => found.reject(new Error("No answer in time")), GIVE_UP_MS);
  process.ended.then((code) => found.reject(new Error(`Ended with ${code}: ${process.log}`)));
  try {
    return await found.promise;
  } finally {
    clearInterval(timer);
    clearTimeout(late);
    abort.abort();
    await Promise.all(tries);
  }
}

function add(bench: Bench, variant: string, contender: string, metric: string, value: number) {
  bench.add({ scenario: "start", variant, contender, metric, unit: "ms", value });
  bench.log(`${contender}, ${variant}: ${metric} ${Math.round(value)} ms`);
}
