import assert from "node:assert/strict";
import { AppError } from "../../lib/core/errors.ts";
import { openSession } from "../../lib/store/connect.ts";
import { openDatabase } from "../../lib/store/database.ts";
import { openEmbedded } from "../../lib/store/embedded.ts";
import { runHere } from "../support/cli.ts";
import { serverConfig } from "../support/config.ts";
import { spawnDaemon, writeConfig } from "../support/daemon.ts";
import {
  embeddedDatabase,
  emptyDatabase,
  onBoth,
  onServer,
  openUrl,
  server,
  serverDatabase,
  type TestDatabase,
} from "../support/databases.ts";
import { connectTo, freshDatabase } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

const refused = (pattern: RegExp) => (error: unknown) =>
  error instanceof AppError && error.code === "conflict" && pattern.test(error.message);

Deno.test("openDatabase() migrates a new database, and an old one not again", async () => {
  await using database = await emptyDatabase();
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

/** The beginning of 0001_init.sql before migrations had digests, and the table of migrations of that time. */
const BEFORE_DIGESTS = `
  drop schema public cascade;
  create schema public;
  create table migrations (
    version integer primary key, name text not null, applied_at timestamptz not null default now());
  create table fleet (
    singleton boolean primary key default true check (singleton), revision bigint not null);
  insert into fleet (revision) values (1);
  create table events (
    id uuid primary key, type text not null, business text, subject text, confirmation text,
    test boolean not null default false, key text,
    digest text check ((digest is null) = (key is null)),
    received_at timestamptz not null, payload text not null);
  insert into events (id, type, received_at, payload)
  values ('01900000-0000-7000-8000-000000000000', 'booking.created', now(), '{}');
  insert into migrations (version, name) values (1, '0001_init')`;

/** Runs statements in a database as they are, and returns the answer to the last one. */
async function within({ section }: TestDatabase, statements: string): Promise<unknown[]> {
  if ("url" in section) {
    await using sql = connectTo(section.url);
    return [...await sql.unsafe(statements).simple()];
  }
  const session = openSession(await openEmbedded(section.directory, {}));
  const rows = await session.sql.unsafe(statements).simple();
  await session.close();
  return [...rows];
}

const STRANGE =
  /A development version made this database: its migration 0001_init .*; use an empty/;

onBoth(
  "a database of an older development version is refused and stays as it is",
  async (database) => {
    await within(database, BEFORE_DIGESTS);
    const { path, remove } = writeConfig({ database: database.section });
    await assert.rejects(() => database.open(), refused(STRANGE));
    for (const name of ["migrate", "serve", "doctor"]) {
      const { code, out, err } = await runHere([name, "--config", path]);
      assert.equal(code, 1, name);
      assert.match(out + err, STRANGE, name);
    }
    remove();
    // Nothing was added, and the older program would still find everything.
    assert.deepEqual(
      await within(
        database,
        `select string_agg(relname, ' ' order by relname) as tables from pg_class
       where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')`,
      ),
      [{ tables: "events fleet migrations" }],
    );
  },
);

Deno.test("transfer refuses an older development version on either side", async () => {
  await using old = await embeddedDatabase();
  await using good = await embeddedDatabase();
  await using target = await serverDatabase();
  const { url } = target.section as { url: string };
  const transfer = async (source: TestDatabase) => {
    const { path, remove } = writeConfig({ database: source.section });
    const ended = await runHere(["transfer", "--config", path, "--to", "env:TARGET"], {
      env: { TARGET: url },
    });
    remove();
    return ended;
  };
  await within(old, BEFORE_DIGESTS);
  const from = await transfer(old);
  assert.deepEqual([from.code, STRANGE.test(from.err)], [1, true], from.err);
  await within(target, BEFORE_DIGESTS);
  const to = await transfer(good);
  assert.deepEqual([to.code, STRANGE.test(to.err)], [1, true], to.err);
  // The source has no mark: it goes on being used.
  await (await good.open()).close();
});

onBoth(
  "a migration whose text has changed is refused, and the right one is not",
  async (database) => {
    await (await database.open()).close();
    await (await database.open()).close();
    await within(database, "update migrations set digest = repeat('0', 64) where version = 1");
    await assert.rejects(() => database.open(), refused(STRANGE));
  },
);

onServer("openDatabase() may be called by many at once", async (database) => {
  const opened = await Promise.all(Array.from({ length: 6 }, () => database.open()));
  const migrated = opened.flatMap((db) => db.migrated);
  assert.equal(migrated.length, new Set(migrated).size, "each was applied by one of them");
  assert.ok(migrated.includes("0001_init"));
  await Promise.all(opened.map((db) => db.close()));
}, emptyDatabase);

onServer(
  "a migration waits for others again and again, until a signal ends that",
  async (database) => {
    assert.ok("url" in database.section);
    const { url } = database.section;
    await using holder = connectTo(url);
    await using watcher = connectTo(url);
    await holder.unsafe("begin; create table migrations (version integer)").simple();
    const waits = new Set<string>();
    const waitedAgain = (times: number) =>
      until(`it has waited ${times} times`, async () => {
        const rows = await watcher<{ began: string }[]>`
        select xact_start::text as began from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`;
        for (const { began } of rows) waits.add(began);
        return waits.size >= times;
      });

    const stopping = new AbortController();
    const ended = openDatabase({ database: serverConfig(url) }, undefined, stopping.signal);
    ended.catch(() => {});
    await waitedAgain(2);
    stopping.abort(new Error("stopped"));
    await assert.rejects(ended, /stopped/);

    const opening = database.open();
    await waitedAgain(4);
    await holder.unsafe("rollback").simple();
    await using db = await opening;
    assert.equal(db.migrated[0], "0001_init");
  },
  emptyDatabase,
);

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
}, emptyDatabase);

Deno.test("openDatabase() refuses a database that is not UTF-8", async () => {
  const fresh = await freshDatabase(server, "template0 locale 'C' encoding 'LATIN1'");
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
