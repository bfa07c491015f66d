import assert from "node:assert/strict";
import type { Buffer } from "node:buffer";
import { connect } from "node:net";
import type { Sql } from "postgres";
import { openDatabase } from "../../../lib/store/database.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { serverConfig } from "../../support/config.ts";
import { connectTo, startPostgres } from "../../support/postgres.ts";
import { startReceiver } from "../../support/receiver.ts";
import { until } from "../../support/wait.ts";
import { startPeer } from "./peers.ts";
import { startPooler } from "./pooler.ts";

/** Values that would break the program, one way or another, if they were in force. */
const HOSTILE: Readonly<Record<string, string>> = {
  datestyle: "German, DMY",
  intervalstyle: "sql_standard",
  timezone: "Asia/Kathmandu",
  bytea_output: "escape",
  extra_float_digits: "-15",
  search_path: "pg_temp",
  client_encoding: "LATIN1",
  client_min_messages: "debug5",
  standard_conforming_strings: "off",
  backslash_quote: "off",
  array_nulls: "off",
  transform_null_equals: "on",
  exit_on_error: "on",
  row_security: "off",
  default_transaction_isolation: "serializable",
  default_transaction_read_only: "on",
  default_transaction_deferrable: "on",
  statement_timeout: "250ms",
  lock_timeout: "1ms",
  idle_in_transaction_session_timeout: "250ms",
  idle_session_timeout: "250ms",
  transaction_timeout: "250ms",
  synchronous_commit: "off",
  session_replication_role: "replica",
  jit: "on",
  jit_above_cost: "0",
  plan_cache_mode: "force_custom_plan",
  enable_indexscan: "off",
  enable_indexonlyscan: "off",
  lc_numeric: "C",
};

for (const at of ["database", "role", "server"] as const) {
  Deno.test(`hostile settings of the ${at} change nothing from post to statistics`, async () => {
    await using own = await startPostgres();
    const url = own.url("hostile");
    {
      await using sql = connectTo(own.url("postgres"));
      await sql.unsafe("create database hostile template template0 encoding 'UTF8'");
      const known = await sql<{ name: string }[]>`select lower(name) as name from pg_settings`;
      const names = new Set(known.map(({ name }) => name));
      for (const [name, value] of Object.entries(HOSTILE)) {
        if (!names.has(name)) continue; // of a later version of PostgreSQL
        // `server` is what postgresql.conf says, which is read by new sessions.
        const target =
          { database: "database hostile", role: "role postgres", server: "system" }[at];
        await sql.unsafe(
          `alter ${target} set ${name} = ${name === "search_path" ? value : `'${value}'`}`,
        );
      }
      await sql`select pg_reload_conf()`;
    }
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: { url },
      endpoints: [endpoint("all", receiver.url)],
    });
    const posted = [];
    for (let nth = 1; nth <= 5; nth++) {
      const { status, body } = await daemon.post(booking(`apt_${nth}`));
      assert.equal(status, 202, JSON.stringify(body));
      posted.push(body.id);
    }
    const delivery = await daemon.delivery(await daemon.deliveryId(posted[0]));
    assert.equal(delivery.status, "delivered");
    assert.match(delivery.created_at, /^20\d\d-\d\d-\d\dT[\d:.]+Z$/);
    assert.ok(
      Math.abs(Date.parse(delivery.created_at) - Date.now()) < 600_000,
      delivery.created_at,
    );
    const paged: string[] = [];
    for (let cursor = ""; paged.length < 9;) {
      const { status, body } = await daemon.api(`events?limit=2${cursor}`);
      assert.equal(status, 200, JSON.stringify(body));
      paged.push(...body.data.map(({ id }: { id: string }) => id));
      if (body.next_cursor === null) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    assert.deepEqual(paged, posted.toReversed());
    const since = new Date(Date.now() - 3_600_000).toISOString();
    for (
      const path of [
        "stats?window=1h",
        `deliveries?since=${since}`,
        "endpoints",
        "audit",
        "event-types",
        `events/${posted[0]}`,
      ]
    ) {
      const { status, body } = await daemon.api(path);
      assert.equal(status, 200, `${path}: ${JSON.stringify(body)}`);
    }
    const paused = await daemon.api("endpoints/all/pause", undefined, "POST");
    assert.equal(paused.status, 200, JSON.stringify(paused.body));
    const ready = await fetch(`${daemon.url}/readyz`);
    assert.equal(ready.status, 200, await ready.text());
  });
}

Deno.test("every session of the program has its settings, and those the address adds", async () => {
  await using own = await startPostgres();
  const url = own.url("postgres");
  const options = "options=-c%20work_mem%3D7MB%20-c%20search_path%3Dpublic";
  const db = await openDatabase({
    database: serverConfig(`${url}?${options}&application_name=mine`),
  });
  try {
    for (const sql of [db.ingest, db.engine, db.admin]) {
      const [row] = await sql`select ${
        sql.unsafe(
          [
            "DateStyle",
            "TimeZone",
            "synchronous_commit",
            "default_transaction_isolation",
            "lock_timeout",
            "work_mem",
            "search_path",
            "application_name",
            "client_encoding",
            "jit",
          ]
            .map((name) => `current_setting('${name}') as "${name}"`).join(", "),
        )
      }`;
      assert.deepEqual({ ...row }, {
        DateStyle: "ISO, MDY",
        TimeZone: "UTC",
        synchronous_commit: "on",
        default_transaction_isolation: "read committed",
        lock_timeout: "0",
        work_mem: "7MB",
        search_path: "public",
        application_name: "mine",
        client_encoding: "UTF8",
        jit: "off",
      });
    }
  } finally {
    await db.close();
  }
});

Deno.test("sessions of ingest and engine keep their memory, others do not ask for it", async () => {
  await using own = await startPostgres();
  const to = new URL(own.url("postgres"));
  const port = Number(to.port);
  let [busy, warmed] = [0, 0];
  await using proxy = await startPeer((client) => {
    const server = connect(port, "127.0.0.1");
    client.on("data", (bytes: Buffer) => {
      // Each session's settings are one write.
      const said = bytes.toString("latin1");
      if (said.includes("force_generic_plan")) busy++;
      if (said.includes("repeat('x'")) warmed++;
    });
    client.pipe(server).pipe(client);
    server.on("error", () => client.destroy());
    client.on("close", () => server.destroy());
  });
  to.port = String(proxy.port);
  const db = await openDatabase({ database: serverConfig(to.href) });
  try {
    await db.check(30_000);
    const session = await db.engine.reserve();
    const faults = await faultsOf(session);
    for (let nth = 0; nth < 20; nth++) {
      await session`select count(*) from (
        select md5(n::text) || repeat('y', 600) as t from generate_series(1, 500) n order by t) x`;
    }
    const more = await faultsOf(session) - faults;
    session.release();
    assert.ok(more < 20 * 10, `${more} page faults; 40 in each statement without`);
  } finally {
    await db.close();
  }
  assert.ok(warmed >= 2 && warmed < proxy.accepted, `${warmed} of ${proxy.accepted}`);
  assert.equal(warmed, busy);
});

/** Page faults of a session's backend. */
async function faultsOf(sql: Sql): Promise<number> {
  const [row] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const [, fields = ""] = (await Deno.readTextFile(`/proc/${row?.pid}/stat`)).split(") ");
  return Number(fields.split(" ")[7]);
}

Deno.test("a session that cannot be warmed up is as good as another", async () => {
  await using own = await startPostgres();
  await using sql = connectTo(own.url("postgres"));
  await sql`create role plain login`;
  await sql`create database plain owner plain`;
  const url = new URL(own.url("plain"));
  await using inside = connectTo(url.href);
  await inside`revoke execute on function pg_catalog.repeat(text, integer) from public`;
  url.username = "plain";
  const db = await openDatabase({ database: serverConfig(url.href) });
  try {
    await assert.rejects(Promise.resolve(db.engine`select repeat('x', 2)`), /permission denied/);
    await db.check(30_000);
  } finally {
    await db.close();
  }
});

Deno.test("remote_apply, which is stricter than on, stays", async () => {
  await using own = await startPostgres({ synchronous_commit: "remote_apply" });
  const db = await openDatabase({ database: serverConfig(own.url("postgres")) });
  const [row] = await db.engine`select current_setting('synchronous_commit') as found`;
  await db.close();
  assert.equal(row?.found, "remote_apply");
});

Deno.test("a pooler that shares sessions between transactions is refused with the reason", async () => {
  await using own = await startPostgres();
  await using pooler = await startPooler(own.url("postgres"), "transaction");
  await assert.rejects(
    openDatabase({ database: serverConfig(pooler.url) }),
    /The database cannot be used: .* is a pooler that shares sessions .*; set its pool_mode to session/,
  );
});

Deno.test("a pooler in session mode is as good as a server", async () => {
  await using own = await startPostgres();
  await using pooler = await startPooler(own.url("postgres"), "session");
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: { url: pooler.url },
    endpoints: [endpoint("all", receiver.url)],
  });
  const { body } = await daemon.post(booking("apt_1"));
  const delivery = await daemon.delivery(await daemon.deliveryId(body.id));
  assert.equal(delivery.status, "delivered");
});

Deno.test("listen() resumes after its session was cut", async () => {
  await using own = await startPostgres();
  await using sql = connectTo(own.url("postgres"));
  const db = await openDatabase({ database: serverConfig(own.url("postgres")) });
  try {
    const heard: string[] = [];
    let fresh = 0;
    db.listen((payload) => void heard.push(payload), () => void fresh++);
    assert.equal(fresh, 1);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where application_name = 'bookme-webhooks'`;
    await until("it hears that payloads may be lost", () => fresh === 2);
    await sql`select pg_notify('bookme_webhooks', 'again')`;
    await until("it hears", () => heard.includes("again"));
  } finally {
    await db.close();
  }
});
