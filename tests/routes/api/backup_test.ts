import assert from "node:assert/strict";
import { checkedApi } from "../../support/checked.ts";
import { ADMIN, startDaemon, VIEWER } from "../../support/daemon.ts";
import { embeddedDatabase, serverDatabase } from "../../support/databases.ts";
import { until } from "../../support/wait.ts";

Deno.test("GET /api/backup is for admins, one at a time, and logged", async () => {
  await using database = await embeddedDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const ask = (token: string, method = "GET") =>
    fetch(`${daemon.url}/api/backup`, { method, headers: { authorization: `Bearer ${token}` } });
  const entries = async () => {
    const { body } = await daemon.api("audit?action=database.backup_begun");
    return body.data.map(({ actor, object }: { actor: string; object: string }) => [actor, object]);
  };
  for (
    const [token, method] of [[VIEWER, "GET"], [VIEWER, "HEAD"]] as const
  ) {
    const refused = await ask(token, method);
    assert.equal(refused.status, 403);
    await refused.body?.cancel();
  }
  assert.deepEqual(await entries(), []);

  const first = await ask(ADMIN);
  assert.equal(first.status, 200);
  assert.equal(first.headers.get("content-type"), "application/x-tar");
  const second = await daemon.api("backup");
  assert.equal(second.status, 409);
  assert.match(second.body.detail, /A backup is under way; wait until it has ended/);
  assert.deepEqual(await entries(), [["ops", "database"]]);

  // A client that leaves ends it, and the next one may begin.
  await first.body?.cancel();
  await until(
    "the first one has broken off",
    () => daemon.log.some(({ message }) => message === "Backup broke off"),
  );
  const third = await ask(ADMIN);
  assert.equal(third.status, 200);
  const bytes = new Uint8Array(await third.arrayBuffer());
  assert.match(new TextDecoder().decode(bytes.subarray(-2048, -1536)), /^digest\.sha256\0/);
  assert.equal((await entries()).length, 2);
});

Deno.test("a backup does not hold up a daemon that stops, and has no end", async () => {
  await using database = await embeddedDatabase();
  const daemon = await startDaemon({ database: database.section });
  const response = await fetch(`${daemon.url}/api/backup`, {
    headers: { authorization: `Bearer ${ADMIN}` },
  });
  assert.equal(response.status, 200);
  // Nobody reads it.
  await daemon[Symbol.asyncDispose]();
  await assert.rejects(response.arrayBuffer());
  assert.ok(daemon.log.some(({ message }) => message === "Backup broke off"));
  await using db = await database.open();
  await db.check(10_000);
});

Deno.test("GET /api/backup of a database server names its own means", async () => {
  await using database = await serverDatabase();
  await using daemon = await startDaemon({ database: database.section });
  const api = await checkedApi(daemon);
  const { body } = await api.expect(409, "GET", "backup");
  assert.match(body.detail, /on a server.*pg_basebackup and WAL archiving \(docs\/operations\.md/);
});
