import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { inTemporary, runCli, runHere, startCli } from "../support/cli.ts";
import { booking, endpoint, startDaemon, writeConfig } from "../support/daemon.ts";
import { embeddedDatabase, openUrl, server } from "../support/databases.ts";
import { connectTo, freshDatabase } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** Payloads whose bytes a careless copy would change. */
const AWKWARD = [
  '{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z","data":{"appointment":{"id":"a","z":1e2,"z":1.0}}}',
  '{ "event": "booking.created",\t"timestamp":"2025-10-31T15:30:00Z",\r\n"data":{"appointment":{"id":"b","note":"\\u0000\\ud83d\\ude00é\u009b\u202e\\\\ \\" \' $1"}}}',
];

/** An embedded database with deliveries of every kind in it, and no daemon. */
async function filled(more_events = 0) {
  const database = await embeddedDatabase();
  await using good = await startReceiver(() => ({
    status: 200,
    body: new Uint8Array([0, 255, 10]),
  }));
  await using bad = await startReceiver(statuses(500));
  const endpoints = [endpoint("good", good.url), endpoint("bad", bad.url)];
  const sections = {
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints,
  };
  await using daemon = await startDaemon(sections);
  for (const payload of AWKWARD) assert.equal((await daemon.post(payload)).status, 202);
  for (let at = 0; at < more_events; at += 500) {
    const events = Array.from({ length: 500 }, (_, index) => booking(`apt_${at + index}`));
    assert.equal((await daemon.post(events)).status, 202);
  }
  const count = 2 + more_events;
  await until("all are delivered or failed once", async () => {
    const { body } = await daemon.api("stats");
    return body.totals.attempts === 2 * count;
  });
  return { database, sections, count };
}

/** An empty database on the server of this file. */
async function emptyDatabase() {
  const { url, drop } = await freshDatabase(server);
  return { url, [Symbol.asyncDispose]: drop };
}

function targetArgs(path: string) {
  return ["transfer", "--config", path, "--to", "env:TARGET"];
}

Deno.test("transfer moves everything to a server, once, and no daemon uses the source again", async () => {
  const { database, sections, count } = await filled();
  await using _ = database;
  await using target = await emptyDatabase();
  await using sql = connectTo(target.url);
  const { path, remove } = writeConfig(sections);
  try {
    const before = await embeddedRows(database);
    const args = targetArgs(path);
    const env = { TARGET: target.url };
    const { code, out, err } = await runHere(args, { env });
    assert.deepEqual([code, err], [0, ""], out + err);
    assert.match(out, new RegExp(`✓ events: ${count} rows\\n`));
    assert.match(out, /database: \{ url: env:TARGET \}/);
    assert.match(out, /encryption_key: "file:.*\/encryption\.key"/);
    assert.deepEqual(await serverRows(sql), before);
    assert.deepEqual(
      (await sql`select payload from events order by id`).map(({ payload }) => payload),
      AWKWARD,
    );

    const again = await runHere(args, { env });
    assert.equal(again.code, 1);
    assert.match(again.err, /was transferred to 127\.0\.0\.1:\d+\/\w+ already; set database\.url/);
    await assert.rejects(startDaemon(sections), /was transferred to .*; set database\.url/);

    await using good = await startReceiver();
    const moved = {
      ...sections,
      database: { url: target.url },
      endpoints: [endpoint("bad", good.url)],
    };
    await using daemon = await startDaemon(moved);
    await daemon.api(`deliveries/${await pendingId(daemon)}/retry`, undefined, "POST");
    await good.received(1);
    const { status, body } = await daemon.post(booking("apt_new"));
    assert.deepEqual([status, body.deliveries], [202, 1]);
  } finally {
    remove();
  }
});

// deno-lint-ignore no-explicit-any
async function pendingId(daemon: { api(path: string): Promise<{ body: any }> }): Promise<string> {
  const { body } = await daemon.api("deliveries?status=pending&endpoint=bad");
  return body.data[0].id;
}

/** Everything in a database, as text. */
// deno-lint-ignore no-explicit-any
async function serverRows(sql: any): Promise<Record<string, unknown>> {
  const tables = await sql`
    select relname::text as name from pg_class
    where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'migrations'
    order by relname`;
  const rows: Record<string, unknown> = {};
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select coalesce(json_agg(t.*::text order by t.*::text collate "C"), '[]')::text as all from ${name} t`,
    );
    rows[name] = row.all.replaceAll(/\+00(?=")/g, "");
  }
  const [{ last }] = await sql.unsafe("select last_value::int as last from endpoints_no_seq");
  return { ...rows, next_endpoint: last };
}

async function embeddedRows(database: Awaited<ReturnType<typeof embeddedDatabase>>) {
  const db = await database.open();
  try {
    return await serverRows(db.admin);
  } finally {
    await db.close();
  }
}

Deno.test("transfer goes on after kill -9 at any moment, and loses nothing", async () => {
  const { database, sections, count } = await filled(2_000);
  await using _ = database;
  await using target = await emptyDatabase();
  await using sql = connectTo(target.url);
  const { path, remove } = writeConfig(sections);
  try {
    const before = await embeddedRows(database);
    const args = targetArgs(path);
    const env = { TARGET: target.url };
    let cut = 0;
    for (const table of ["attempts", "events"]) {
      const running = startCli(args, { env });
      await until(`something of ${table} is there`, async () => {
        const [found] = await sql`
          select to_regclass(${table}) is not null as made`;
        if (!found?.made) return false;
        return (await sql`select from ${sql(table)} limit 1`).length > 0;
      });
      running.kill("SIGKILL");
      const { code } = await running.ended;
      if (code !== 0) cut++;
      // Neither side can be used in between.
      await assert.rejects(openUrl(target.url), /A transfer into this database is under way/);
      await assert.rejects(startDaemon(sections), /is being transferred to 127/);
    }
    assert.equal(cut, 2);
    const { code, out } = await runCli(args, { env });
    assert.equal(code, 0, out);
    assert.match(out, /^Finished an earlier transfer\n/);
    assert.match(out, new RegExp(`✓ attempts: ${2 * count} rows\\n`));
    assert.deepEqual(await serverRows(sql), before);
  } finally {
    remove();
  }
});

Deno.test("transfer refuses a non-empty target, a running daemon, and anything but a target", async () => {
  const { database, sections } = await filled();
  await using _ = database;
  await using target = await emptyDatabase();
  const { path, remove } = writeConfig(sections);
  const transfer = (...more: string[]) =>
    runHere(["transfer", "--config", path, ...more], { env: { TARGET: target.url } });
  try {
    const secret = "postgres://bookme:hunter2@127.0.0.1/bookme";
    const table: [string[], number, RegExp][] = [
      [[], 2, /^--to is missing/],
      [["--to", secret], 2, /^--to takes no URL with a password: every user/],
      [["--to", "postgres://127.0.0.1/x?password=hunter2"], 2, /takes no URL with a password/],
      [["--to", "hunter2"], 2, /^--to: Must be a URL such as/],
      [["--to", "env:NOT_SET"], 2, /NOT_SET is not set/],
      [["--abandon", "--to", "env:TARGET"], 2, /--abandon takes no --to/],
      [["--to", "postgres://127.0.0.1:1/x"], 1, /ECONNREFUSED/],
    ];
    for (const [args, code, expected] of table) {
      const ended = await transfer(...args);
      assert.deepEqual([ended.code, ended.out], [code, ""], ended.err);
      assert.match(ended.err, expected);
      assert.ok(!ended.err.includes("hunter2"), ended.err);
    }
    {
      await using _daemon = await startDaemon(sections);
      const { code, err } = await transfer("--to", "env:TARGET");
      assert.equal(code, 1);
      assert.match(err, /is in use by process \d+; stop that one first/);
    }
    {
      await using _daemon = await startDaemon({ database: { url: target.url } });
      const { code, err } = await transfer("--to", "env:TARGET");
      assert.equal(code, 1);
      assert.match(err, /A daemon is using the target database; stop it first/);
    }
    const full = { database: { url: target.url }, endpoints: sections.endpoints };
    await (await startDaemon(full))[Symbol.asyncDispose]();
    const { code, err } = await transfer("--to", "env:TARGET");
    assert.equal(code, 1);
    assert.match(err, /is not empty: there is something in its table audit/);
    // Nothing was begun: the daemon may go on.
    await (await startDaemon(sections))[Symbol.asyncDispose]();
  } finally {
    remove();
  }
});

Deno.test("transfer notices that the target was changed, and --abandon gives the source back", async () => {
  const { database, sections } = await filled();
  await using _ = database;
  await using target = await emptyDatabase();
  await using other = await emptyDatabase();
  await using sql = connectTo(target.url);
  const { path, remove } = writeConfig(sections);
  const env = { TARGET: target.url, OTHER: other.url };
  const transfer = (...more: string[]) => runHere(["transfer", "--config", path, ...more], { env });
  try {
    assert.match((await transfer("--abandon")).out, /No transfer to abandon/);
    // Somebody writes to the target as soon as its table is there.
    const db = await openUrl(target.url);
    await db.admin.unsafe(`
      create function meddle() returns trigger language plpgsql as $$ begin
        new.payload := upper(new.payload); return new; end $$;
      create trigger meddle before insert on events for each row execute function meddle()`)
      .simple();
    await db.close();
    const { code, err } = await transfer("--to", "env:TARGET");
    assert.equal(code, 1);
    assert.match(err, /^The table events has 2 rows with the checksum \d+ .* empty the target/);
    await assert.rejects(startDaemon(sections), /transfer --abandon to go on with this one/);
    assert.match(
      (await transfer("--abandon")).out,
      /can be used again; drop the tables of the target/,
    );
    await (await startDaemon(sections))[Symbol.asyncDispose]();
    // What it left is of no transfer that could be gone on with.
    assert.match(
      (await transfer("--to", "env:TARGET")).err,
      /holds the beginning of a transfer from another/,
    );
    assert.equal((await transfer("--to", "env:OTHER")).code, 0);
    assert.equal((await sql`select from events`).length, 2);
  } finally {
    remove();
  }
});

Deno.test("rekey seals the secrets of the API's endpoints under the first key", async () => {
  await inTemporary(async (directory) => {
    const keys = ["old", "new"].map((name, at) => {
      const path = `${directory}/${name}.key`;
      Deno.writeTextFileSync(path, Buffer.alloc(32, at + 1).toString("base64"));
      return `file:${path}`;
    });
    const [old = "", next = ""] = keys;
    await using target = await emptyDatabase();
    const database = { url: target.url };
    {
      await using daemon = await startDaemon({ database, encryption_key: old });
      const made = await fetch(`${daemon.url}/api/endpoints`, {
        method: "POST",
        headers: {
          authorization: "Bearer admin-token-of-the-tests-0123",
          "content-type": "application/json",
        },
        body: JSON.stringify({ url: "http://127.0.0.1:9/", events: ["*"] }),
      });
      assert.equal(made.status, 201, await made.text());
    }
    const rekeyWith = async (encryption_key: unknown) => {
      const { path, remove } = writeConfig({ database, encryption_key });
      try {
        return await runHere(["rekey", "--config", path]);
      } finally {
        remove();
      }
    };
    const lost = await rekeyWith([next]);
    assert.equal(lost.code, 1);
    assert.match(lost.err, /^ep_\w+ is sealed under an unknown key/);
    assert.equal((await rekeyWith([next, old])).out, "Sealed: 1 endpoint\n");
    assert.equal((await rekeyWith([next, old])).out, "Nothing to seal\n");
    assert.deepEqual((await rekeyWith([next])).err, "");
  });
});
