import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { firstUuidAt } from "../../lib/core/ids.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
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

function keyOf(payload: string): string {
  return `key of ${AWKWARD.indexOf(payload)}`;
}

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
  for (const payload of AWKWARD) {
    assert.equal((await daemon.post(payload, { "idempotency-key": keyOf(payload) })).status, 202);
  }
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
    const entries = await sql`
      select actor, object, after from audit where action = 'database.transferred'`;
    assert.deepEqual(entries.map(({ actor, object }) => [actor, object]), [[
      "transfer",
      "database",
    ]]);
    assert.doesNotMatch(JSON.stringify(entries), /postgres:\/\/|password/);
    assert.deepEqual(await serverRows(sql), before);
    assert.deepEqual(
      (await sql`select payload from events order by id`).map(({ payload }) => payload),
      AWKWARD,
    );

    const again = await runHere(args, { env });
    assert.equal(again.code, 1);
    assert.match(again.err, /was transferred to 127\.0\.0\.1:\d+\/\w+ already; set database\.url/);
    await assert.rejects(startDaemon(sections), /was transferred to .*; set database\.url/);
    const doctor = await runHere(["doctor", "--config", path]);
    assert.equal(doctor.code, 1);
    assert.match(doctor.out, /^✗ database: .* was transferred to .*; set database\.url to that/m);
    assert.doesNotMatch(doctor.out, /^✓ (database|schema)/m);

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
    for (const payload of AWKWARD) {
      const known = await daemon.post(payload, { "idempotency-key": keyOf(payload) });
      assert.deepEqual([known.status, known.body.deliveries, known.body.duplicate], [200, 2, true]);
    }
  } finally {
    remove();
  }
});

// deno-lint-ignore no-explicit-any
async function pendingId(daemon: { api(path: string): Promise<{ body: any }> }): Promise<string> {
  const { body } = await daemon.api("deliveries?status=pending&endpoint=bad");
  return body.data[0].id;
}

/** Everything in a database, as text, without the target's own entry in the audit log. */
// deno-lint-ignore no-explicit-any
async function serverRows(sql: any): Promise<Record<string, unknown>> {
  const tables = await sql`
    select relname::text as name from pg_class
    where relkind in ('r', 'p') and not relispartition and relnamespace = 'public'::regnamespace
      and relname <> 'migrations'
    order by relname`;
  const rows: Record<string, unknown> = {};
  for (const { name } of tables) {
    const [row] = await sql.unsafe(
      `select coalesce(json_agg(t.*::text order by t.*::text collate "C"), '[]')::text as all from ${name} t
        ${name === "audit" ? "where action <> 'database.transferred'" : ""}`,
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

Deno.test("transfer moves several weeks, also one whose drop was cut off", async () => {
  await using database = await embeddedDatabase();
  await using target = await emptyDatabase();
  const ids = [1_583_000_000_000, 1_584_000_000_000].map(firstUuidAt);
  {
    await using db = await database.open();
    await makePartitions(db.admin, ids);
    for (const id of ids) {
      await db.admin`
        insert into events (id, type, received_at, payload)
        values (${id}::uuid, 'booking.created', now(), '{}')`;
    }
    const [first] = await db.admin<{ leaf: string }[]>`
      select l.leaf from partitions p, partitions_at(p.first_id) l
      where l.parent = 'events' order by p.first_id limit 1`;
    await db.admin.unsafe(`alter table events detach partition ${first?.leaf} concurrently`)
      .simple();
  }
  const { path, remove } = writeConfig({ database: database.section });
  const { code, out, err } = await runHere(targetArgs(path), { env: { TARGET: target.url } });
  remove();
  assert.deepEqual([code, err], [0, ""], out + err);
  await using sql = connectTo(target.url);
  assert.deepEqual((await sql`select id from events order by id`).map(({ id }) => id), ids);
  const [left] = await sql`
    select count(*)::int as weeks, (select count(*)::int from partitions p,
      partitions_at(p.first_id) l where l.is_attached) as attached from partitions`;
  assert.deepEqual({ ...left }, { weeks: 4, attached: 12 });
});

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
    assert.match(out, new RegExp(`✓ attempts: ${count} rows\\n`));
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

/** The target's name as messages show it, and the same database by another spelling. */
function spellings(url: string) {
  const { host, pathname } = new URL(url);
  const other = new URL(url);
  other.hostname = "localhost";
  return { name: `${host}${pathname}`, other: other.href };
}

/** Makes the copying into a target fail in the middle, until it is disposed of. */
async function brokenTarget(url: string): Promise<AsyncDisposable> {
  const db = await openUrl(url);
  await db.admin.unsafe(`
    create function fail() returns trigger language plpgsql as $$ begin
      raise exception 'broken by the test'; end $$;
    create trigger fail before insert on events for each row execute function fail()`).simple();
  await db.close();
  return {
    async [Symbol.asyncDispose]() {
      await using sql = connectTo(url);
      await sql.unsafe("drop trigger fail on events").simple();
    },
  };
}

Deno.test("transfer has one target: another is refused until --abandon", async () => {
  const { database, sections, count } = await filled();
  await using _ = database;
  await using target = await emptyDatabase();
  await using second = await emptyDatabase();
  const { name, other } = spellings(target.url);
  const { path, remove } = writeConfig(sections);
  const env = { TARGET: target.url, SPELLED: other, SECOND: second.url };
  const transfer = (args: readonly string[], more: { stdin?: string; answer?: string } = {}) =>
    runHere(["transfer", "--config", path, ...args], { env, ...more });
  try {
    {
      await using _broken = await brokenTarget(target.url);
      assert.equal((await transfer(["--to", "env:TARGET"])).code, 1);
    }
    const another = await transfer(["--to", "env:SECOND"]);
    assert.equal(another.code, 1);
    assert.match(another.err, new RegExp(`is being transferred to ${name}, not to .*--abandon`));
    await using untouched = connectTo(second.url);
    const made = await untouched`select from pg_class where relname = 'migrations'`;
    assert.equal(made.length, 0);
    const done = await transfer(["--to", "env:SPELLED", "--json"]);
    assert.equal(done.code, 0, done.err);
    const { resumed, target: shown, tables } = JSON.parse(done.out);
    assert.deepEqual([resumed, shown], [true, name.replace("127.0.0.1", "localhost")]);
    assert.equal(tables.find(({ table }: { table: string }) => table === "events").rows, count);

    for (const to of ["TARGET", "SPELLED", "SECOND"]) {
      const again = await transfer(["--to", `env:${to}`]);
      assert.equal(again.code, 1);
      assert.match(again.err, /was transferred to localhost:\d+\/\w+ already; set database\.url/);
    }
    await (await startDaemon({ database: { url: target.url } }))[Symbol.asyncDispose]();

    for (const stdin of ["", "yes\n", `${shown}x\n`]) {
      const refused = await transfer(["--abandon"], { stdin });
      assert.equal(refused.code, 1);
      assert.match(refused.err, /is complete: two daemons would deliver .* type the target's name/);
    }
    assert.equal((await transfer(["--abandon"], { answer: "y" })).code, 1);
    await assert.rejects(startDaemon(sections), /was transferred to .*; set database\.url/);
    const abandoned = await transfer(["--abandon", "--json"], { stdin: `${shown}\n` });
    assert.deepEqual(JSON.parse(abandoned.out), { abandoned: true, target: shown, complete: true });
    await (await startDaemon(sections))[Symbol.asyncDispose]();
    assert.match((await transfer(["--to", "env:TARGET"])).err, /is not empty/);
    assert.equal((await transfer(["--to", "env:SECOND"])).code, 0);
    const typed = await transfer(["--abandon"], { answer: spellings(second.url).name });
    assert.match(typed.out, /is complete and delivers as well/);
  } finally {
    remove();
  }
});

Deno.test("transfer leaves one database to use, wherever kill -9 stops it", async () => {
  const { database, sections } = await filled();
  await using _ = database;
  await using target = await emptyDatabase();
  await using second = await emptyDatabase();
  await using old = await emptyDatabase();
  await using admin = connectTo(server.url("postgres"));
  await using stack = new AsyncDisposableStack();
  const { name } = spellings(target.url);
  const { path, remove } = writeConfig(sections);
  const env = { TARGET: target.url, SECOND: second.url, OLD: old.url };
  const run = (to: string) => runHere(["transfer", "--config", path, "--to", `env:${to}`], { env });
  const pidOf = async (waiting: string) => {
    const [found] = await admin<{ pid: number }[]>`
      select pid from pg_stat_activity
      where application_name = 'bookme-webhooks transfer' and wait_event_type = 'Lock'
        and query ilike ${`%${waiting}%`}`;
    return found?.pid;
  };
  /** Kills the transfer where it waits for a lock, and its backend, which would go on. */
  const killed = async (waiting: string) => {
    const running = startCli(targetArgs(path), { env });
    const pid = await until(`it waits to ${waiting}`, () => pidOf(waiting));
    running.kill("SIGKILL");
    await running.ended;
    await admin`select pg_terminate_backend(${pid})`;
    await until("its backend has ended", async () => (await pidOf(waiting)) === undefined);
  };
  try {
    await (await openUrl(target.url)).close();
    // The source has its target, which has no mark yet.
    const holder = connectTo(target.url);
    stack.defer(() => holder.end({ timeout: 1 }));
    await holder.unsafe("begin; lock table migrations in share mode").simple();
    await killed("insert into migrations");
    await holder.unsafe("rollback").simple();
    await assert.rejects(startDaemon(sections), new RegExp(`is being transferred to ${name}`));
    assert.match((await run("SECOND")).err, new RegExp(`is being transferred to ${name}, not to`));

    // While it copies.
    await holder.unsafe("begin; lock table endpoints in share mode").simple();
    await killed("insert into");
    await holder.unsafe("rollback").simple();
    await assert.rejects(openUrl(target.url), /A transfer into this database is under way/);
    await holder.end();
    const [from = "", to = ""] = [target.url, old.url].map((url) => new URL(url).pathname.slice(1));
    await admin`drop database ${admin(to)}`;
    await admin`create database ${admin(to)} template ${admin(from)}`;

    // Everything is copied, the source knows it, and the target has its mark still.
    await using other = connectTo(target.url);
    await other.unsafe(`
      create function wait() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock(42); return old; end $$;
      create trigger wait before delete on migrations for each row execute function wait()`)
      .simple();
    await using locker = connectTo(target.url);
    await locker`select pg_advisory_lock(42)`;
    await killed("delete from migrations");
    await locker`select pg_advisory_unlock(42)`;
    await assert.rejects(startDaemon(sections), new RegExp(`was transferred to ${name}; set`));
    await assert.rejects(openUrl(target.url), /A transfer into this database is under way/);
    for (const to of ["SECOND", "OLD"]) {
      assert.match((await run(to)).err, new RegExp(`was transferred to ${name} already`));
    }
    await assert.rejects(openUrl(old.url), /A transfer into this database is under way/);

    const { code, out } = await run("TARGET");
    assert.equal(code, 0);
    assert.match(out, /^Finished an earlier transfer\n/);
    await (await openUrl(target.url)).close();
    assert.match((await run("TARGET")).err, /already/);
  } finally {
    remove();
  }
});

Deno.test("transfer from two directories into one database is completed by one of them", async () => {
  const { database, sections } = await filled(500);
  await using _ = database;
  await using target = await emptyDatabase();
  await using sql = connectTo(target.url);
  await inTemporary(async (directory) => {
    const env = { TARGET: target.url };
    const first = writeConfig(sections);
    const second = writeConfig({ ...sections, database: { directory: `${directory}/copy` } });
    const stranger = await filled();
    await using _stranger = stranger.database;
    const third = writeConfig(stranger.sections);
    try {
      const before = await embeddedRows(database);
      {
        await using _broken = await brokenTarget(target.url);
        assert.equal((await runHere(targetArgs(first.path), { env })).code, 1);
      }
      const { directory: source } = database.section as { directory: string };
      await copyTree(source, `${directory}/copy`);
      assert.match(
        (await runHere(targetArgs(third.path), { env })).err,
        /holds the beginning of a transfer from another embedded database/,
      );
      const ended = await Promise.all(
        [first, second].map(({ path }) => runCli(targetArgs(path), { env })),
      );
      const codes = ended.map(({ code }) => code);
      assert.ok(codes.includes(0), Deno.inspect(ended));
      assert.deepEqual(await serverRows(sql), before);
      for (const { path } of [first, second]) {
        assert.equal((await runHere(targetArgs(path), { env })).code, 1);
        const config = await runHere(["migrate", "--config", path]);
        assert.match(config.err, /^This database (was|is being) transferred to /);
      }
      assert.match((await runHere(targetArgs(third.path), { env })).err, /is not empty/);
      assert.equal((await runHere(["migrate", "--config", third.path])).code, 0);
    } finally {
      for (const { remove } of [first, second, third]) remove();
    }
  });
});

async function copyTree(from: string, to: string): Promise<void> {
  const { success } = await new Deno.Command("cp", { args: ["-a", from, to] }).output();
  assert.ok(success);
}

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
      /can be used again\nThe rows copied so far stay in 127\.0\.0\.1:\d+\/\w+, which no daemon opens/,
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
