import assert from "node:assert/strict";
import { runCli, runHere } from "../support/cli.ts";
import { endpoint } from "../support/daemon.ts";
import { embeddedDatabase, serverDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

Deno.test("healthcheck exits with 0 while /readyz answers 200", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({ database: database.section });
  const ready = { code: 0, out: `${daemon.url} is ready\n`, err: "" };
  assert.deepEqual(await daemon.cli(["healthcheck"]), ready);
  assert.deepEqual(await runHere(["healthcheck", "--url", daemon.url]), ready);
  // In its own process, as a container runs it.
  assert.deepEqual(await runCli(["healthcheck", "-c", daemon.path]), ready);
});

Deno.test("healthcheck needs no token, nor anything else of the file", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  });
  const text = await Deno.readTextFile(daemon.path);
  const unread = text.replace(/token: .*/, "token: env:NOT_SET_ANYWHERE");
  assert.notEqual(unread, text);
  await Deno.writeTextFile(daemon.path, unread);
  assert.equal((await daemon.cli(["healthcheck"])).code, 0);
  assert.equal((await daemon.cli(["stats"])).code, 2);
});

Deno.test("healthcheck prints the failing checks and exits with 1", async () => {
  await using database = await embeddedDatabase();
  await using daemon = await startOperated({
    database: { ...database.section, min_free: "999999999GiB" },
  });
  const { out, err } = await until("the disk is low", async () => {
    const ended = await daemon.cli(["healthcheck"]);
    return ended.code === 1 ? ended : undefined;
  });
  assert.equal(out, "");
  assert.match(err, /^disk: .+\n$/);
});

Deno.test("healthcheck exits with 1 if no daemon answers", async () => {
  const port = await freePort();
  const gone = await runHere(["healthcheck", "--url", `http://127.0.0.1:${port}`]);
  assert.deepEqual([gone.code, gone.out], [1, ""]);
  assert.match(gone.err, new RegExp(`^No answer from http://127\\.0\\.0\\.1:${port}: `));
  for (const status of [404, 503]) {
    await using other = await startReceiver(() => ({ status }));
    const { code, err } = await runHere(["healthcheck", "--url", other.url]);
    assert.equal(code, 1);
    assert.match(err, new RegExp(`answered ${status} without any checks; is it a bookme-webhooks`));
  }
});

Deno.test("healthcheck refuses an address that is not a daemon's", async () => {
  const { code, err } = await runHere(["healthcheck", "--url", "ftp://x"]);
  assert.equal(code, 2);
  assert.match(err, /^--url must be the address of the daemon/);
});
