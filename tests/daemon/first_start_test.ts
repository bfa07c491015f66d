import assert from "node:assert/strict";
import { checkedApi } from "../support/checked.ts";
import { booking, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { embeddedDatabase } from "../support/databases.ts";
import { startReceiver } from "../support/receiver.ts";

Deno.test("a daemon on an embedded database makes a key once, for its owner only", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  const path = `${database.section.directory}/encryption.key`;
  await using receiver = await startReceiver();
  {
    await using daemon = await startDaemon({ database: database.section });
    assert.equal((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
    const api = await checkedApi(daemon);
    await api.expect(201, "POST", "endpoints", { url: receiver.url, events: ["*"] });
  }
  const key = Deno.readTextFileSync(path);
  await using daemon = await startDaemon({ database: database.section });
  assert.equal(Deno.readTextFileSync(path), key);
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  assert.ok(!JSON.stringify(daemon.log).includes(key.trim()));
});

Deno.test("the log of a first start begins by announcing the slow step", async () => {
  const parent = Deno.makeTempDirSync({ prefix: "bookme-first-" });
  const directory = `${parent}/data`;
  {
    await using daemon = await spawnDaemon({ database: { directory } });
    const said = daemon.log.map(({ message }) => message);
    assert.equal(said[0], "Creating the embedded database, which takes some seconds");
    assert.equal(daemon.log[0]?.["directory"], directory);
    assert.equal(said[1], "Embedded database created");
    daemon.kill("SIGTERM");
    await daemon.status;
  }
  Deno.removeSync(parent, { recursive: true });
});
