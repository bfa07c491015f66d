import assert from "node:assert/strict";
import type { Sql } from "postgres";
import { openDatabase } from "../../../lib/store/database.ts";
import { OPERATIONS } from "../../../routes/api/routes.ts";
import { dashboardRoutes } from "../../../routes/dashboard/routes.ts";
import { ADMIN } from "../../support/daemon.ts";
import { buildHouse, type Names } from "../../support/house.ts";
import { connectTo, freshDatabase, startPostgres } from "../../support/postgres.ts";
import { openLink, signIn } from "../../support/visitor.ts";
import { until } from "../../support/wait.ts";

/*
 * docs/scaling.md says which reads a replica could serve. No option has them read there: the test puts a
 * hot standby in the place of the connections that pages and the API use.
 */

/** Paths that no table is read for, or that only look like a page. */
const APART =
  /^\/(?:dashboard|portal)\/(?:assets|login|logout|open|stream)\b|^\/api\/(?:stream|backup)\b/;

/** What the part of a path after this one names. */
function filled(path: string, names: Names): string {
  const named: Readonly<Record<string, string>> = {
    endpoints: names.endpoint,
    deliveries: names.delivery,
    events: names.event,
    replays: names.replay,
    alerts: names.alert,
    "event-types": "booking.created",
  };
  const parts = path.split("/");
  return parts.map((part, at) => /^[:{]/.test(part) ? named[parts[at - 1] ?? ""] ?? "none" : part)
    .join("/");
}

/** Every page below this path, about these names. */
function pagesBelow(base: string, names: Names): string[] {
  const paths = dashboardRoutes({ log: {} } as never).routes
    .filter(({ method, path }) => method === "GET" && `${path}/`.startsWith(`${base}/`))
    .map(({ path }) => path);
  return [...new Set(paths)].filter((path) => !APART.test(path) && !path.includes("*"))
    .map((path) => filled(path, names));
}

/** Uses `other` as soon as `isOther`. */
function either(own: Sql, other: Sql, isOther: () => boolean): Sql {
  return new Proxy(own, {
    apply: (_own, self, args) => Reflect.apply(isOther() ? other : own, self, args),
    get: (_own, key) => Reflect.get(isOther() ? other : own, key),
  });
}

Deno.test("every page, GET of the API and scrape reads from a hot standby", async () => {
  await using primary = await startPostgres();
  const { url } = await freshDatabase(primary);
  await using standby = await primary.standby("reads");
  await using sql = connectTo(url);
  await using replica = connectTo(standby.url(new URL(url).pathname.slice(1)));
  let reads_there = false;
  await using house = await buildHouse({ section: { url } }, sql, async (...args) => {
    const db = await openDatabase(...args);
    return { ...db, admin: either(db.admin, replica, () => reads_there) };
  });
  const { daemon: { url: at }, operator, businesses: [business] } = house;
  const people = [
    { visitor: await signIn(at), paths: pagesBelow("/dashboard", operator) },
    { visitor: await openLink(at, business.writer), paths: pagesBelow("/portal", business) },
  ];
  const ask = (path: string, body?: string) =>
    fetch(at + path, {
      method: body === undefined ? "GET" : "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body }),
    }).then(async (response) => ({ status: response.status, text: await response.text() }));
  const api = OPERATIONS.filter(({ method, path }) => method === "get" && !APART.test(path))
    .map(({ path }) => filled(path, operator));
  // Writes down what the daemon has counted: these statistics do so before they read.
  assert.equal((await ask("/api/stats")).status, 200);
  const [{ position = "" } = {}] = await sql<{ position: string }[]>`
    select pg_current_wal_lsn()::text as position`;
  await until("the standby has all of it", async () => {
    const [row] = await replica<{ is_there: boolean }[]>`
      select pg_is_in_recovery() and pg_last_wal_replay_lsn() >= ${position}::text::pg_lsn as is_there`;
    return row?.is_there;
  });
  reads_there = true;
  try {
    const failed: string[] = [];
    let asked = 0;
    const look = async (path: string, answer: Promise<{ status: number; text: string }>) => {
      const { status, text } = await answer;
      asked++;
      if (status >= 500) failed.push(`${path}: ${status} ${text}`);
    };
    for (const { visitor, paths } of people) {
      for (const path of paths) await look(path, visitor.get(path));
    }
    for (const path of [...api, "/metrics"]) await look(path, ask(path));
    assert.deepEqual(failed, []);
    assert.ok(asked > 50, `only ${asked} paths`);
    // It is the standby: counting what an erasure would find is stored, which no standby does.
    const counted = await ask("/api/erasures", JSON.stringify({ subject: "apt_1", dry_run: true }));
    assert.equal(counted.status, 503, counted.text);
  } finally {
    reads_there = false;
  }
});
