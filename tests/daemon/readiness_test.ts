import assert from "node:assert/strict";
import { booking, endpoint, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { connectTo, freshDatabase, startPostgres } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** The answer of `/readyz`, and what it says of the database. */
async function readyz({ url }: TestDaemon): Promise<{ status: number; database: string }> {
  const response = await fetch(`${url}/readyz`);
  const { checks } = await response.json();
  return { status: response.status, database: checks.database };
}

async function becomesReady(daemon: TestDaemon): Promise<void> {
  await until("it is ready", async () => (await readyz(daemon)).status === 200);
}

/** A daemon whose role is not the superuser, and a superuser's connection. */
async function startApp() {
  await using stack = new AsyncDisposableStack();
  const own = stack.use(await startPostgres());
  const { url } = await freshDatabase(own);
  const sql = stack.use(connectTo(url));
  const role = new URL(url);
  role.username = "app";
  const name = role.pathname.slice(1);
  await sql.unsafe(`create role app login; alter database ${name} owner to app`).simple();
  const receiver = stack.use(await startReceiver());
  const daemon = stack.use(
    await startDaemon({
      database: { url: role.href },
      endpoints: [endpoint("all", receiver.url)],
    }),
  );
  await becomesReady(daemon);
  const all = stack.move();
  return { daemon, sql, name, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

Deno.test("statements that fail show in /readyz, in posts, and in the API with the same reason", async () => {
  await using app = await startApp();
  const { daemon, sql } = app;
  await sql`revoke select on events from app`;
  const refused = await until("the API refuses", async () => {
    const answer = await daemon.api("events");
    return answer.status === 503 ? answer : undefined;
  });
  assert.equal(refused.body.code, "unavailable");
  assert.match(refused.body.detail, /permission denied for table events/);
  assert.match(refused.headers.get("retry-after") ?? "", /^\d+$/);
  assert.deepEqual(await readyz(daemon), {
    status: 503,
    database: "permission denied for table events",
  });
  await sql`grant select on events to app`;
  await becomesReady(daemon);
  assert.equal((await daemon.api("events")).status, 200);
});

Deno.test("posts that cannot be stored make a daemon not ready, until one is stored", async () => {
  await using app = await startApp();
  const { daemon, sql } = app;
  await sql.unsafe(`
    create function refuse() returns trigger language plpgsql as $$ begin
      raise exception 'no room' using errcode = '53100'; end $$`);
  // PostgreSQL locks partitions and their table in another order than a statement does, and may give up.
  const change = (statement: string) =>
    until(statement, () => sql.unsafe(statement).then(() => true, () => false));
  await change(
    "create or replace trigger refuse before insert on events for each row execute function refuse()",
  );
  assert.equal((await daemon.post(booking("apt_1"))).status, 503);
  assert.deepEqual(await readyz(daemon), { status: 503, database: "no room" });
  await change("drop trigger if exists refuse on events");
  assert.equal((await daemon.post(booking("apt_1"))).status, 202);
  await becomesReady(daemon);
});

Deno.test("a missing table makes a daemon not ready without any request", async () => {
  await using app = await startApp();
  const { daemon, sql } = app;
  await sql`alter table pending_deliveries rename to moved`;
  await until("it is not ready", async () => {
    const { status, database } = await readyz(daemon);
    return status === 503 && /relation "pending_deliveries" does not exist/.test(database);
  });
  await sql`alter table moved rename to pending_deliveries`;
  await becomesReady(daemon);
});

Deno.test("a pool that gets no connection makes a daemon not ready, as the API says", async () => {
  await using app = await startApp();
  const { daemon, sql } = app;
  // The heart keeps its connection; all others are cut, and no further ones are allowed.
  await sql`alter role app connection limit 0`;
  await sql`select pg_terminate_backend(pid) from pg_stat_activity
    where usename = 'app' and query !~ 'transaction_read_only'`;
  await until("the API has no connection", async () => (await daemon.api("events")).status === 503);
  await until("it is not ready", async () => {
    const { status, database } = await readyz(daemon);
    return status === 503 && /too many connections for role "app"/.test(database);
  });
  const { body } = await daemon.api("events");
  assert.match(body.detail, /too many connections for role "app"/);
  await sql`alter role app connection limit -1`;
  await becomesReady(daemon);
});

Deno.test("a pool whose connections are all taken makes a daemon not ready; its API answers", async () => {
  await using app = await startApp();
  const { daemon, sql } = app;
  const locked = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const holding = sql.begin(async (tx) => {
    await tx`lock table audit in access exclusive mode`;
    locked.resolve();
    await release.promise;
  });
  await locked.promise;
  const asked = Array.from({ length: 6 }, () => daemon.api("audit"));
  await until("it is not ready", async () => {
    const { status, database } = await readyz(daemon);
    return status === 503 && /No connection for admin became free/.test(database);
  });
  for (const { status } of await Promise.all(asked)) assert.equal(status, 503);
  release.resolve();
  await holding;
  await becomesReady(daemon);
});
