import assert from "node:assert/strict";
import { booking, endpoint, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { connectTo, freePort, freshDatabase, startPostgres } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";
import { startProxy, type Statement } from "../torture/proxy.ts";

// Each lease lasts for a minute and a half, and the tests do not wait that long for anything.
const LIMITS: Readonly<Record<string, readonly [Statement, Record<string, unknown>]>> = {
  "a claim under a concurrency": ["claim", { concurrency: 2 }],
  "a claim under a rate limit": ["claim", { rate_limit: "20/s" }],
  "the storing of a post": ["ingest", {}],
};
for (const [name, [lost, limits]] of Object.entries(LIMITS)) {
  Deno.test(`leases of ${name} whose answer an outage lost return with the database`, async () => {
    await using own = await startPostgres();
    const { url } = await freshDatabase(own);
    await using stack = new AsyncDisposableStack();
    const proxy = await startProxy(() => Number(new URL(url).port));
    stack.defer(() => proxy.close());
    const through = new URL(url);
    through.port = String(proxy.port);
    through.searchParams.set("sslmode", "disable"); // the proxy reads along
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: { url: through.href },
      endpoints: [endpoint("crm", receiver.url, limits)],
    });
    const countOf = async (rows: string) => {
      await using sql = connectTo(url);
      const [found] = await sql.unsafe(`select count(*)::int as count from ${rows}`);
      return found?.count ?? 0;
    };
    let is_lost = false;
    proxy.watch = (statement, moment) => {
      if (is_lost || statement !== lost || moment !== "answered") return "pass";
      is_lost = true;
      proxy.play = (client) => client.destroy();
      setTimeout(proxy.cut);
      return "reset";
    };
    // Not every such statement leases something.
    await until("leases are lost", async () => {
      await daemon.post(Array.from({ length: 4 }, () => booking("apt_1")));
      if (!is_lost) return false;
      if (await countOf("pending_deliveries where leased_until is not null") > 0) return true;
      proxy.play = undefined;
      is_lost = false;
      return false;
    });
    await own.stop();
    await own.start();
    const posts = await countOf("events");
    proxy.play = undefined;
    await receiver.received(posts);
    await until("all are recorded", async () => {
      const { body } = await daemon.api("deliveries?status=pending");
      return body.data?.length === 0;
    });
    assert.equal(receiver.requests.length, posts, "nothing is sent twice");
    const attempts = [
      await countOf("attempts_all"),
      await countOf("attempts_all where status = 200"),
    ];
    assert.deepEqual(attempts, [posts, posts], "nothing counts as interrupted");
  });
}

onServer("a daemon that was killed finds its leases again at once", async (database) => {
  let hangs = true;
  await using receiver = await startReceiver(() => hangs ? "hang" : { status: 200 });
  const sections = {
    server: { listen: `127.0.0.1:${await freePort()}` },
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { concurrency: 2 })],
  };
  {
    await using daemon = await spawnDaemon(sections);
    await daemon.post(Array.from({ length: 4 }, () => booking("apt_1")));
    await receiver.received(2);
    daemon.kill("SIGKILL");
    await daemon.status;
  }
  hangs = false;
  await using daemon = await spawnDaemon(sections);
  await receiver.received(6);
  await until("all are delivered", async () => {
    const { body } = await daemon.api("deliveries?status=delivered");
    return body.data.length === 4;
  });
  const { body } = await daemon.api("deliveries");
  const outcomes = await Promise.all(body.data.map(async ({ id }: { id: string }) => {
    const { attempts } = await daemon.delivery(id);
    return attempts.map(({ outcome }: { outcome: string }) => outcome).join(", ");
  }));
  assert.deepEqual(outcomes.toSorted(), [
    ...["delivered", "delivered", "interrupted, delivered", "interrupted, delivered"],
  ]);
});
