/*
 * Measures whether the time of an answer tells a business that something exists: asks, in turns, about what
 * belongs to another business, to the operator, and to nobody. Run it on a quiet machine:
 *
 *   deno run -A tests/security/isolation_times.ts [requests of each kind]
 */

import { serverDatabase } from "../support/databases.ts";
import { buildHouse, type Names, neverWas } from "../support/house.ts";

const ROUNDS = Number(Deno.args[0] ?? 2_000);

const ROUTES: readonly ((of: Names) => string)[] = [
  ({ endpoint }) => `endpoints/${endpoint}`,
  ({ event }) => `events/${event}`,
  ({ delivery }) => `deliveries/${delivery}`,
  ({ replay }) => `replays/${replay}`,
  ({ endpoint }) => `deliveries?endpoint=${endpoint}`,
  ({ endpoint }) => `stats?endpoint=${endpoint}`,
  ({ event }) => `events?q=${event}`,
  ({ confirmation }) => `events?q=${confirmation}`,
  ({ endpoint }) => `audit?object=${endpoint}`,
  ({ delivery }) => `deliveries?cursor=${delivery}`,
];

/** The value that this share of the times lies below, in microseconds. */
function quantile(times_ms: readonly number[], share: number): number {
  return Math.round(
    (times_ms.toSorted((a, b) => a - b)[Math.floor(times_ms.length * share)] ?? 0) * 1000,
  );
}

/** Low, because what else the machine does only adds to a time. */
const SHARE = 0.2;

/** The difference of two kinds of times in microseconds. */
function difference(times: readonly number[], never: readonly number[]): number {
  return quantile(times, SHARE) - quantile(never, SHARE);
}

/** How much that is for two halves of the same kind, at most, over many ways to halve them. */
function noiseOf(times: readonly number[]): number {
  const found = Array.from({ length: 50 }, () => {
    const mixed = times.toSorted(() => Math.random() - 0.5);
    const half = mixed.length / 2;
    return Math.abs(difference(mixed.slice(0, half), mixed.slice(half)));
  });
  return Math.max(...found);
}

await using database = await serverDatabase();
await using db = await database.open();
await using house = await buildHouse(database, db.admin);
const [own, other] = house.businesses;

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function time(path: string): Promise<number> {
  const from = performance.now();
  const response = await fetch(`${house.daemon.url}/api/${path}`, {
    headers: { authorization: `Bearer ${own.writer}` },
  });
  await response.body?.cancel();
  return performance.now() - from;
}

for (const route of ROUTES) {
  const kinds = {
    another: route(other),
    operator: route(house.operator),
    never: route(neverWas(other)),
  };
  const times = { another: [] as number[], operator: [] as number[], never: [] as number[] };
  for (let round = -100; round < ROUNDS; round++) {
    // In another order each time: what comes first may be slower.
    const turn = (["another", "operator", "never"] as const)
      .toSorted(() => Math.random() - 0.5);
    for (const kind of turn) {
      const took_ms = await time(kinds[kind]);
      if (round >= 0) times[kind].push(took_ms);
    }
  }
  const name = kinds.never.replace(/(_)[0-9a-z]{6,}|nobody-.*/, "…");
  const { another, operator, never } = times;
  print(
    `${name.padEnd(28)} never was ${quantile(never, SHARE)} µs; another's ` +
      `${difference(another, never)}, operator's ${difference(operator, never)}; noise ${
        noiseOf(never)
      }`,
  );
}
