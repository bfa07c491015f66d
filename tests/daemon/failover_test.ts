import assert from "node:assert/strict";
import { booking, endpoint, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { connectTo, type PostgresServer, startPostgres } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** A primary with a synchronous standby, and the address of both. */
async function startPair() {
  const primary = await startPostgres();
  {
    await using sql = connectTo(primary.url("postgres"));
    await sql.unsafe("create database app template template0 encoding 'UTF8'");
  }
  const standby = await primary.standby("s1");
  await using sql = connectTo(primary.url("postgres"));
  await sql.unsafe("alter system set synchronous_standby_names = 's1'");
  await sql`select pg_reload_conf()`;
  await until("the standby is synchronous", async () => {
    const [row] = await sql`select sync_state from pg_stat_replication`;
    return row?.sync_state === "sync";
  });
  const ports = [primary, standby].map((server) => new URL(server.url("app")).port);
  return {
    primary,
    standby,
    url: `postgres://postgres@127.0.0.1:${ports[0]},127.0.0.1:${
      ports[1]
    }/app?target_session_attrs=read-write`,
    async [Symbol.asyncDispose]() {
      await standby.close();
      await primary.close();
    },
  };
}

async function promote(standby: PostgresServer): Promise<void> {
  await using sql = connectTo(standby.url("postgres"));
  await sql`select pg_promote()`;
}

async function isReady(daemon: TestDaemon): Promise<boolean> {
  const response = await fetch(`${daemon.url}/readyz`);
  await response.body?.cancel();
  return response.status === 200;
}

Deno.test("a promoted standby is found, and nothing that was acknowledged is lost", async () => {
  await using pair = await startPair();
  await using receiver = await startReceiver();
  const sections = {
    database: { url: pair.url },
    endpoints: [endpoint("all", receiver.url)],
  };
  await using a = await startDaemon(sections);
  await using b = await startDaemon(sections);
  const acknowledged: string[] = [];
  let posting = true;
  let refused = 0;
  const post = async (daemon: TestDaemon) => {
    while (posting) {
      const { status, body } = await daemon.post(booking(`apt_${crypto.randomUUID()}`));
      if (status === 202) acknowledged.push(body.id);
      else {
        assert.equal(status, 503);
        refused++;
        await new Promise((go_on) => setTimeout(go_on, 20));
      }
    }
  };
  const posts = [post(a), post(b)];
  await until("events are accepted", () => acknowledged.length > 50);
  await pair.primary.kill();
  await until("posts are refused", () => refused > 0);
  const before = acknowledged.length;
  await promote(pair.standby);
  await until("both daemons are ready", async () => await isReady(a) && await isReady(b));
  await until("events are accepted again", () => acknowledged.length > before + 50);
  posting = false;
  await Promise.all(posts);

  await using sql = connectTo(pair.standby.url("app"));
  const rows = await sql<{ id: string }[]>`select id::text as id from events`;
  const stored = new Set(rows.map(({ id }) => id.replaceAll("-", "")));
  assert.ok(rows.length >= acknowledged.length);
  const missing = [];
  for (const id of acknowledged) {
    const { status } = await a.api(`events/${id}`);
    if (status !== 200) missing.push(id);
  }
  assert.deepEqual(missing, []);
  assert.ok(stored.size >= acknowledged.length);
  await until("all is delivered", async () => {
    const [row] = await sql<
      { left: number }[]
    >`select count(*)::int as left from pending_deliveries`;
    return row?.left === 0;
  });
});

Deno.test("a daemon that starts while the first host is a standby uses the second", async () => {
  await using pair = await startPair();
  const turned = pair.url.replace(/(127[^,]*),(127[^/]*)/, "$2,$1");
  await using daemon = await startDaemon({ database: { url: turned } });
  assert.equal((await daemon.post(booking("apt_1"))).status, 202);
});

Deno.test("a switchover is followed: the host that was primary is left", async () => {
  await using pair = await startPair();
  await using daemon = await startDaemon({ database: { url: pair.url } });
  assert.equal((await daemon.post(booking("apt_1"))).status, 202);
  await pair.primary.stop();
  await promote(pair.standby);
  await using sql = connectTo(pair.standby.url("app"));
  await until("an event is stored by the new primary", async () => {
    await daemon.post(booking("apt_2"));
    const rows = await sql`select from events where subject = 'apt_2'`;
    return rows.length > 0;
  });
});

Deno.test("a standby alone accepts nothing, and readyz and API say so", async () => {
  await using pair = await startPair();
  await using daemon = await startDaemon({ database: { url: pair.url } });
  await pair.primary.stop();
  const reason = /is a standby, which accepts no writes/;
  await until("it says that there is only a standby", async () => {
    const response = await fetch(`${daemon.url}/readyz`);
    const { checks } = await response.json();
    return response.status === 503 && reason.test(checks.database);
  });
  assert.equal((await daemon.post(booking("apt_1"))).status, 503);
  assert.equal((await daemon.api("events")).status, 503);
});
