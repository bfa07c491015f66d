import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { freePort } from "../harness/postgres.ts";
import { type Process, startProcess } from "../harness/processes.ts";
import { bookme, type DatabaseOption, launch, writeConfig } from "../contenders/bookme.ts";
import { bodyOf } from "../workload.ts";

const STARTS = 5;
const EVERY_MS = 3;
const GIVE_UP_MS = 30_000;

/** From the start of the process to the first 200 of /readyz and to the first 202, and hono's own. */
export async function start(bench: Bench): Promise<void> {
  await withRun(bench, bookme, { answering: 10, owed: "one" }, async (run) => {
    for (let i = 0; i < (bench.quick ? 2 : STARTS); i++) {
      await hono(bench, run);
      await daemon(bench, run, "server", { url: run.database.url });
      const directory = `${run.setup.directory}/embedded-${i}`;
      await daemon(bench, run, "embedded, new directory", { directory });
      await daemon(bench, run, "embedded", { directory });
    }
  });
}

async function daemon(bench: Bench, run: Run, variant: string, database: DatabaseOption) {
  const port = freePort();
  const config = writeConfig(run.setup, database, port);
  const from = performance.now();
  const process = launch(config, run.setup.directory);
  const url = `http://127.0.0.1:${port}`;
  const [ready, accepted] = await Promise.all([
    firstAnswer(process, () => new Request(`${url}/readyz`), 200),
    firstAnswer(process, () => post(url), 202),
  ]);
  await process.stop();
  add(bench, variant, bookme.name, "to ready", ready - from);
  add(bench, variant, bookme.name, "to first 202", accepted - from);
}

async function hono(bench: Bench, run: Run) {
  const script = new URL("../workers/hono.ts", import.meta.url).pathname;
  const port = freePort();
  const from = performance.now();
  const args = ["run", "--frozen", "--allow-net", "--allow-read", "--allow-env", script, `${port}`];
  const process = startProcess(Deno.execPath(), args, { log: `${run.setup.directory}/hono.log` });
  const at = await firstAnswer(process, () => post(`http://127.0.0.1:${port}`), 202);
  await process.stop();
  add(bench, "server", "empty hono program", "to first 202", at - from);
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
