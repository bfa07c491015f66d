import type { Sql } from "postgres";
import type { Bench, Run } from "../harness/bench.ts";
import { withRun } from "../harness/bench.ts";
import { median, quantile } from "../harness/stats.ts";
import { bookme, startDaemon } from "../contenders/bookme.ts";
import {
  ATTEMPTS_OF_FAILED,
  attemptsPerEvent,
  countHistory,
  loadHistory,
} from "../contenders/history.ts";
import { deliveryId } from "../../lib/core/ids.ts";
import { label } from "./growth.ts";

const ENDPOINTS = 10;
const PAGE = 100;
const WARM_UP = 20;
const TOKEN = "admin-token-of-the-bench-0123";

/** One of the calls: its name, and its path the nth time. */
interface Call {
  readonly name: string;
  readonly path: (nth: number) => string;
}

/** A daemon with a history. */
interface Side {
  readonly url: string;
  readonly calls: readonly Call[];
  stop(): Promise<void>;
}

/**
 * How long the admin API's calls take with 10 million attempts of the last 24 hours, and with
 * 10 thousand: two daemons on one server, asked in turn, one call at a time.
 */
export async function api(bench: Bench): Promise<void> {
  const sizes = [10_000, bench.quick ? 200_000 : 10_000_000] as const;
  await withHistory(
    bench,
    sizes[0],
    (startFew) =>
      withHistory(bench, sizes[1], async (startMany) => {
        const sides = [await startFew(), await startMany()] as const;
        for (const [i, { name }] of sides[0].calls.entries()) {
          report(bench, name, sizes, await ask(sides, i, bench.quick ? 100 : 500));
        }
        for (const side of sides) await side.stop();
      }),
  );
}

// The daemons start only when all is loaded: a history that stands still is what is measured.
async function withHistory(
  bench: Bench,
  attempts: number,
  use: (start: () => Promise<Side>) => Promise<void>,
): Promise<void> {
  await withRun(bench, bookme, { answering: ENDPOINTS, owed: "all" }, async (run) => {
    const from = performance.now();
    await loadHistory(run.database.sql, attempts / attemptsPerEvent(ENDPOINTS));
    await countHistory(run.database);
    await run.database.settle();
    const seconds = (performance.now() - from) / 1000;
    bench.log(`${label(attempts)} attempts loaded in ${seconds.toFixed(0)} s`);
    await use(() => start(run));
  });
}

async function start({ setup, database }: Run): Promise<Side> {
  const admin = { tokens: [{ name: "bench", token: TOKEN, role: "admin" }] };
  const { process, port } = await startDaemon(setup, { url: database.url }, { admin });
  const url = `http://127.0.0.1:${port}/api/`;
  const calls = await callsOf(database.sql, url);
  return { url, calls, stop: async () => void await process.stop() };
}

async function callsOf(sql: Sql, url: string): Promise<Call[]> {
  const rows = await sql<{ id: string }[]>`
    select id from ended_deliveries where status = 'failed' order by random() limit 500`;
  const ids = rows.map(({ id }) => deliveryId(id));
  let cursor = "";
  for (let page = 1; page < PAGE; page++) {
    const { next_cursor } = await get(`${url}deliveries${cursor}`);
    if (typeof next_cursor !== "string") throw new Error(`Page ${page} is the last one`);
    cursor = `?cursor=${next_cursor}`;
  }
  const fixed = (name: string, path: string): Call => ({ name, path: () => path });
  return [
    fixed("deliveries", "deliveries"),
    fixed("deliveries, failed", "deliveries?status=failed"),
    fixed("deliveries, one endpoint", "deliveries?endpoint=e3"),
    fixed(`deliveries, page ${PAGE}`, `deliveries${cursor}`),
    fixed("events", "events"),
    { name: "one delivery", path: (nth) => `deliveries/${ids[nth % ids.length]}` },
    fixed("endpoints", "endpoints?limit=5"),
    fixed("one endpoint", "endpoints/e3"),
    fixed("stats, 1h", "stats?window=1h"),
    fixed("stats, 24h", "stats?window=24h"),
  ];
}

/** Asks both sides in turn for their `i`th call; answers each side's times in milliseconds. */
async function ask(
  sides: readonly [Side, Side],
  i: number,
  times: number,
): Promise<readonly [number[], number[]]> {
  const found: readonly [number[], number[]] = [[], []];
  for (let nth = -WARM_UP; nth < times; nth++) {
    for (const [which, { url, calls }] of sides.entries()) {
      const call = calls[i];
      if (call === undefined) continue;
      const from = performance.now();
      const answer = await get(url + call.path(Math.abs(nth)));
      if (nth >= 0) found[which]?.push(performance.now() - from);
      if (!isWhole(answer)) throw new Error(`${call.name}: ${JSON.stringify(answer)}`);
    }
  }
  return found;
}

interface Answer {
  readonly data?: readonly unknown[];
  readonly next_cursor?: string | null;
  readonly attempts?: readonly unknown[];
  readonly totals?: { readonly attempts: number };
  readonly last_success_at?: string | null;
}

async function get(url: string): Promise<Answer> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status} ${text}`);
  return JSON.parse(text);
}

// A page has a next one, a failed delivery all of its attempts, and statistics have counted some.
function isWhole({ data, next_cursor, attempts, totals, last_success_at }: Answer): boolean {
  if (last_success_at !== undefined) return last_success_at !== null;
  if (data !== undefined) return data.length > 0 && typeof next_cursor === "string";
  if (attempts !== undefined) return attempts.length === ATTEMPTS_OF_FAILED;
  return totals !== undefined && totals.attempts > 0;
}

function report(
  bench: Bench,
  name: string,
  sizes: readonly [number, number],
  times: readonly [number[], number[]],
): void {
  const add = (variant: string, metric: string, unit: string, value: number) =>
    bench.add({ scenario: "api", variant, contender: bookme.name, metric, unit, value });
  const quantiles = [["p50", median], ["p99", (list: number[]) => quantile(list, 0.99)]] as const;
  for (const [metric, of] of quantiles) {
    const [few, many] = [of(times[0]), of(times[1])];
    const [small, large] = [label(sizes[0]), label(sizes[1])];
    add(`${name}, ${small} attempts`, metric, "ms", few);
    add(`${name}, ${large} attempts`, metric, "ms", many);
    add(`${name}, ${large} attempts`, `${metric} against ${small}`, "×", many / few);
    const both = `${few.toFixed(2)} ms and ${many.toFixed(2)} ms`;
    bench.log(`${name}: ${metric} ${both}, ${(many / few).toFixed(2)} ×`);
  }
}
