import assert from "node:assert/strict";
import { announce, type Occasion, readCompany, withdraw } from "../../lib/store/daemons.ts";
import { syncFile } from "../../lib/store/endpoints.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { PLAIN_POLICY, PLAIN_SETTINGS } from "../support/file.ts";
import { connectTo } from "../support/postgres.ts";
import { until } from "../support/wait.ts";

/** A file with these endpoints, under its own digest. */
function fileOf(digest: string, ...ids: string[]) {
  return {
    digest,
    policy: PLAIN_POLICY,
    endpoints: ids.map((id) => ({
      id,
      url: "http://127.0.0.1:9/",
      events: ["*"],
      businesses: null,
      settings: PLAIN_SETTINGS,
      credentials: null,
    })),
  };
}

async function openFiles(database: TestDatabase) {
  const db = await database.open();
  const sql = db.admin;
  return {
    sql,
    say: (id: string, file: string, occasion: Occasion = "beat") =>
      announce(
        sql,
        { id, machine: "m", listeners: [], version: "1", file, troubles: [] },
        { sections: { of: file }, endpoints: {} },
        occasion,
        false,
      ),
    newest: async () => (await readCompany(sql)).newest,
    age: (id: string, minutes: number) =>
      sql`update daemons set seen_at = seen_at - ${minutes}::int * interval '1 minute'
        where id = ${id}`,
    [Symbol.asyncDispose]: () => db.close(),
  };
}

onServer(
  "the file seen last among those of living daemons should be in force",
  async (database) => {
    await using files = await openFiles(database);
    const { sql, say, newest, age } = files;
    assert.equal(await newest(), null);
    assert.equal(await say("a", "one", "start"), null, "it was never seen");
    await say("b", "two", "start");
    assert.equal(await newest(), "two");
    await say("a", "one");
    assert.equal(await newest(), "two", "seen before");
    await say("a", "one", "reload");
    assert.equal(await newest(), "one", "an operator's word");
    await say("b", "two", "reload");
    await age("b", 2);
    assert.equal(await newest(), "one", "b is gone");
    assert.ok(Number(await say("b", "two")) > 119_000, "how long it was away");
    assert.equal(await newest(), "two");
    // Both times lie ahead of a clock that was set back: only a file seen later counts as newer.
    await sql`update files set seen_at = seen_at + interval '1 day'`;
    await say("c", "three", "start");
    assert.equal(await newest(), "three");
    await age("c", -60);
    assert.equal(await newest(), "two", "c was seen by the clock as it was");
  },
);

onServer(
  "the file of a daemon that stopped counts for a minute, unless one starts alone",
  async (database) => {
    await using files = await openFiles(database);
    const { sql, say, newest, age } = files;
    await say("a", "one", "start");
    await say("b", "two", "start");
    await withdraw(sql, "b");
    await say("a", "one");
    assert.equal(await newest(), "two", "b may be restarting");
    await say("c", "one", "start");
    assert.equal(await newest(), "two", "a lives");
    await age("b", 2);
    assert.equal(await newest(), "one");
    await say("b", "two");
    await withdraw(sql, "b");
    await withdraw(sql, "a");
    await withdraw(sql, "c");
    await say("d", "one", "start");
    assert.equal(await newest(), "one", "nobody else lives");
    const { daemons } = await readCompany(sql);
    assert.deepEqual(daemons.map(({ id }) => id), ["d"]);
  },
);

onServer(
  "digests of a file's parts are dropped when no daemon has it any more",
  async (database) => {
    await using files = await openFiles(database);
    const { sql, say, age } = files;
    const kept = async () => (await readCompany(sql)).files.map(({ digest }) => digest).sort();
    await say("a", "one", "start");
    await say("b", "two", "start");
    assert.deepEqual(await kept(), ["one", "two"]);
    await age("a", 61);
    await say("b", "two");
    await say("c", "three", "start");
    assert.deepEqual(await kept(), ["three", "two"]);
    const [row] = await sql`select sections, endpoints from files where digest = 'one'`;
    assert.deepEqual([row?.sections, row?.endpoints], [null, null]);
    await say("a", "one");
    assert.deepEqual(await kept(), ["one", "three", "two"]);
  },
);

onServer("syncFile() decides about the newest file behind its lock", async (database) => {
  await using files = await openFiles(database);
  const { sql, say } = files;
  const url = "url" in database.section ? database.section.url : "";
  await using other = connectTo(url);
  await using watcher = connectTo(url);
  const stored = async () =>
    (await sql`select id from endpoints where retired_at is null order by id`).map(({ id }) => id);
  /** Syncs a file while `meanwhile` holds the lock, and commits only when the sync waits for it. */
  const behind = async (
    file: ReturnType<typeof fileOf>,
    meanwhile: (tx: typeof sql) => unknown,
  ) => {
    let syncing: ReturnType<typeof syncFile> | undefined;
    await other.begin(async (tx) => {
      await tx`select from file_in_force for update`;
      syncing = syncFile(sql, file);
      await until("it waits", async () => {
        const [row] = await watcher`select from pg_stat_activity where wait_event_type = 'Lock'
          and datname = current_database()`;
        return row !== undefined;
      });
      await meanwhile(tx as unknown as typeof sql);
    });
    return await syncing;
  };

  await say("a", "one", "start");
  await syncFile(sql, fileOf("one", "x"));
  await say("b", "two", "start");
  const two = fileOf("two", "x", "y");
  // One that stored another file's endpoint in between, and is gone since.
  const synced = await behind(two, (tx) =>
    tx.unsafe(`
      insert into endpoints (id, source, url, events, settings)
      select 'z', 'file', url, events, settings from endpoints;
      update file_in_force set revision = revision + 1`));
  assert.ok(synced !== undefined && synced !== "outdated");
  assert.deepEqual(synced.map(({ id, what }) => `${id} ${what}`), ["y added", "z retired"]);
  assert.deepEqual(await stored(), ["x", "y"]);

  assert.equal(await behind(two, () => say("c", "three", "start")), "outdated");
  assert.deepEqual(await stored(), ["x", "y"]);
  assert.equal(await syncFile(sql, fileOf("four", "x")), "outdated", "nobody has it");
});
