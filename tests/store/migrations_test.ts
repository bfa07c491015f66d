import assert from "node:assert/strict";
import { AppError } from "../../lib/core/errors.ts";
import { spawnDaemon } from "../support/daemon.ts";
import { onBoth, onServer, openUrl, server, serverDatabase } from "../support/databases.ts";
import { freshDatabase } from "../support/postgres.ts";

const refused = (pattern: RegExp) => (error: unknown) =>
  error instanceof AppError && error.code === "conflict" && pattern.test(error.message);

Deno.test("openDatabase() migrates a new database, and an old one not again", async () => {
  await using database = await serverDatabase();
  const first = await database.open();
  assert.ok(first.migrated.length > 0);
  assert.equal(first.migrated[0], "0001_init");
  const rows = await first.admin<{ name: string }[]>`select name from migrations order by version`;
  assert.deepEqual(rows.map(({ name }) => name), first.migrated);
  await first.close();
  const second = await database.open();
  assert.deepEqual(second.migrated, []);
  await second.close();
});

onBoth("openDatabase() refuses a schema that is newer than the program", async (database) => {
  const first = await database.open();
  await first.admin`insert into migrations (version, name) values (999, '0999_later')`;
  await first.close();
  await assert.rejects(() => database.open(), refused(/version 999.*start the newer program/));
});

onServer("openDatabase() may be called by many at once", async (database) => {
  const opened = await Promise.all(Array.from({ length: 6 }, () => database.open()));
  const migrated = opened.flatMap((db) => db.migrated);
  assert.equal(migrated.length, new Set(migrated).size, "each was applied by one of them");
  assert.ok(migrated.includes("0001_init"));
  await Promise.all(opened.map((db) => db.close()));
});

onServer("two processes start on one new database at once", async (database) => {
  const sections = { database: database.section };
  const daemons = await Promise.all([spawnDaemon(sections), spawnDaemon(sections)]);
  for (const daemon of daemons) {
    const { body } = await daemon.post({
      event: "booking.created",
      timestamp: "2025-10-31T15:30:00Z",
      data: { appointment: { id: "apt_1" } },
    });
    assert.equal(body.deliveries, 0);
    await daemon[Symbol.asyncDispose]();
  }
});

Deno.test("openDatabase() refuses a database that is not UTF-8", async () => {
  const fresh = await freshDatabase(server, "encoding 'LATIN1'");
  await assert.rejects(() => openUrl(fresh.url), refused(/encoding LATIN1.*createdb -E UTF8/));
  await fresh.drop();
});

Deno.test("openDatabase() says what is wrong with the server's URL", async () => {
  const wrong = server.url("no_such_database");
  await assert.rejects(() => openUrl(wrong), (error: Error) => {
    assert.match(error.message, /The database cannot be used: 127\.0\.0\.1:\d+ answers FATAL: /);
    assert.match(error.message, /create it: createdb -E UTF8 -T template0 no_such_database$/);
    return true;
  });
});
