import assert from "node:assert/strict";
import { booking, endpoint, startDaemon } from "../support/daemon.ts";
import { emptyDatabase } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";
import { startProxy, type Statement } from "./proxy.ts";

Deno.test("the proxy of the torture knows each of the program's statements that matter", async () => {
  await using database = await emptyDatabase();
  const url = new URL("url" in database.section ? database.section.url : "");
  const server_port = Number(url.port);
  const proxy = await startProxy(() => server_port);
  await using _ = { [Symbol.asyncDispose]: () => proxy.close() };
  const seen = new Set<Statement>();
  proxy.watch = (statement) => {
    seen.add(statement);
    return "pass";
  };
  url.port = String(proxy.port);
  url.searchParams.set("sslmode", "disable");
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: { url: url.href },
    endpoints: [endpoint("crm", receiver.url)],
  });
  assert.equal((await daemon.post(booking("apt_1"))).status, 202);
  await receiver.received(1);
  await until("all of them were seen", () => seen.size === 5);
  assert.deepEqual([...seen].sort(), ["claim", "ingest", "migration", "other", "record"]);
});
