/**
 * Upgrades, by real daemons of two versions on one database: of each release to this program, and of this
 * program to one with another migration, which adds a column to every table.
 */

import assert from "node:assert/strict";
import project from "../../deno.json" with { type: "json" };
import released from "../../migrations/released.json" with { type: "json" };
import { OPERATIONS } from "../../routes/api/routes.ts";
import {
  ADMIN,
  booking,
  type DaemonProcess,
  endpoint,
  type Sections,
  spawnDaemon,
  writeConfig,
} from "../support/daemon.ts";
import { embeddedDatabase, serverDatabase, type TestDatabase } from "../support/databases.ts";
import { runCli } from "../support/cli.ts";
import { connectTo } from "../support/postgres.ts";
import { type Received, type Receiver, startReceiver, statuses } from "../support/receiver.ts";
import { sleep, until, within } from "../support/wait.ts";
import {
  isClone,
  nextProgram,
  presentProgram,
  type Program,
  programAt,
} from "../support/versions.ts";

const ROOT = new URL("../../", import.meta.url);

/** A migration as a later release may have it: everything gets a column, and there is a new table. */
function nextMigration(): string {
  const folder = new URL("migrations/", ROOT);
  const texts = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".sql"))
    .map(({ name }) => Deno.readTextFileSync(new URL(name, folder)));
  const tables = texts.flatMap((text) =>
    [...text.matchAll(/^create table (\w+)/gm)].map(([, table]) => table)
  );
  return [
    ...tables.map((table) =>
      `alter table ${table} add column added_later integer not null default 7;`
    ),
    "create table made_later (id integer primary key);",
    "create index pending_deliveries_later on pending_deliveries (added_later);",
  ].join("\n");
}

/** Each pair of programs that an upgrade leads from and to. */
const UPGRADES: readonly {
  readonly name: string;
  readonly older: () => Program;
  readonly newer: () => Program;
}[] = [
  ...Object.keys(released).map((version) => ({
    name: `from ${version} to this program`,
    older: () => programAt(`v${version}`),
    newer: presentProgram,
  })),
  {
    name: "from this program to one with another migration",
    older: presentProgram,
    newer: () => nextProgram(nextMigration()),
  },
];

for (const { name, older, newer } of UPGRADES) {
  Deno.test(`an upgrade ${name}, while the older daemon delivers, loses and doubles nothing`, async () => {
    using programs = { older: older(), newer: newer(), [Symbol.dispose]: dispose };
    await using database = await serverDatabase();
    await rolling(database, programs);
  });
  Deno.test(`an upgrade ${name}, of an embedded database, loses and doubles nothing`, async () => {
    using programs = { older: older(), newer: newer(), [Symbol.dispose]: dispose };
    await using database = await embeddedDatabase();
    await oneAfterTheOther(database, programs);
  });
}

interface Programs {
  readonly older: Program;
  readonly newer: Program;
}

function dispose(this: Programs): void {
  this.older[Symbol.dispose]();
  this.newer[Symbol.dispose]();
}

/** The older daemon, which gets posts and delivers them to two receivers. */
async function startOlder(database: TestDatabase, { older }: Programs) {
  await using stack = new AsyncDisposableStack();
  const good = stack.use(await startReceiver());
  const late = stack.use(await startReceiver(statuses(500)));
  const sections = sectionsOf(database, good, late);
  const before = stack.use(await spawnDaemon(sections, undefined, {}, older.main));
  const posts = stack.use(post([before]));
  await good.received(100);
  return Object.assign(stack.move(), { good, late, sections, before, posts });
}

/** The older daemon runs before, during and after the migration, and is refused once it has stopped. */
async function rolling(database: TestDatabase, programs: Programs): Promise<void> {
  const { older, newer } = programs;
  await using present = await startOlder(database, programs);
  const { good, late, sections, before, posts } = present;

  // A report holds tables meanwhile: the migration waits for it, and neither it nor the posts for the migration.
  await using report = await readingEverything(database);
  await assert.rejects(() =>
    spawnDaemon(
      sections,
      async (kill) => {
        await report.heldUp(1);
        kill("SIGKILL"); // in the middle of the migration, which leaves nothing
      },
      {},
      newer.main,
    )
  );
  const starting = spawnDaemon(sections, undefined, {}, newer.main);
  starting.catch(() => {}); // it is awaited below
  await report.heldUp(4);
  await good.received(good.requests.length + 100);
  assert.notEqual(
    await newestOf(database),
    newer.newest,
    "the migration does not get past the report",
  );
  await report.end();
  await using after = await starting;
  assert.equal(await newestOf(database), newer.newest);

  // Both go on, the older one on the newer schema.
  posts.to([before, after]);
  const since = good.requests.length;
  for (const { version } of [older, newer]) {
    await until(
      `${version} delivers after the migration`,
      () => madeBy(good.requests.slice(since), version) > 50,
    );
  }
  assert.deepEqual(await versionsOf(after), [older.version, newer.version].toSorted());

  await everyListIsAnswered(before);

  // The older one stops, with work under way, and is not let in again.
  posts.to([after]);
  before.kill("SIGTERM");
  assert.equal((await within("the older daemon ends", before.status)).code, 0);
  await assert.rejects(
    () => spawnDaemon(sections, undefined, {}, older.main),
    /The database has schema version \d+, and this program knows versions up to \d+; start the newer program/,
  );
  await posts.end();
  await allArrived(after, posts.accepted, { good, late });
}

/** The older daemon stops before the newer one starts. */
async function oneAfterTheOther(database: TestDatabase, programs: Programs): Promise<void> {
  const { older, newer } = programs;
  await using present = await startOlder(database, programs);
  const { good, late, sections, before, posts } = present;
  await assert.rejects(
    () => spawnDaemon(sections, undefined, {}, newer.main),
    new RegExp(`in use.*${before.pid}`, "s"),
  );
  await using backup = await backedUp(before, older);
  before.kill("SIGTERM");
  assert.equal((await within("the older daemon ends", before.status)).code, 0);

  await using after = await spawnDaemon(sections, undefined, {}, newer.main);
  posts.to([after]);
  const since = good.requests.length;
  await until(
    "the newer one delivers",
    () => madeBy(good.requests.slice(since), newer.version) > 50,
  );
  await posts.end();
  await allArrived(after, posts.accepted, { good, late });
  after.kill("SIGTERM");
  await within("the newer daemon ends", after.status);
  await assert.rejects(
    () => spawnDaemon(sections, undefined, {}, older.main),
    /start the newer program that made it, or restore a backup from before the upgrade/,
  );

  // The way back, and the way forward from an old backup: both versions read what the older one backed up.
  await backup.restore(newer, sections);
  const restored = await backup.restore(older, sections);
  await using again = await spawnDaemon(restored, undefined, {}, older.main);
  const { body } = await again.api("endpoints/late");
  assert.equal(body.state, "paused");
  assert.ok(body.pending > 0);
}

/** A backup of an embedded database, made by that version while its daemon runs. */
async function backedUp(daemon: DaemonProcess, { main }: Program) {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-upgrade-" });
  const file = `${directory}/backup.tar`;
  const args = ["backup", "--to", file, "--url", daemon.url, "--token", "env:ADMIN"];
  const { code, err } = await runCli(args, { main, env: { ADMIN } });
  assert.equal(code, 0, err);
  return {
    /** Restores it by a version of the program, which may migrate it. Returns the configuration for it. */
    async restore(by: Program, sections: Sections): Promise<Sections> {
      const target = { ...sections, database: { directory: `${directory}/${by.version}` } };
      const { path, remove } = writeConfig(target);
      const { code, err } = await runCli(["restore", file, "--config", path], { main: by.main });
      remove();
      assert.equal(code, 0, err);
      return target;
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

function sectionsOf(database: TestDatabase, good: Receiver, late: Receiver): Sections {
  return {
    database: database.section,
    // Fails at first and waits, so that much is pending all through the upgrade.
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("good", good.url), endpoint("late", late.url)],
  };
}

/** Posts events one after the other, to the daemons in turn, until it is ended. */
function post(first: readonly DaemonProcess[]) {
  const accepted = new Set<string>();
  let daemons = first;
  let over = false;
  let failure: unknown;
  const posting = (async () => {
    for (let nth = 0; !over; nth++) {
      const key = `upgrade-${nth}`;
      await until(`event ${nth} is accepted`, async () => {
        if (over) return true;
        const daemon = daemons[nth % daemons.length];
        // While no daemon runs, and while one stops, it is posted again: under its key that is harmless.
        const answer = await daemon?.post(booking(`apt_${nth}`), { "idempotency-key": key })
          .catch(() => undefined);
        if (answer === undefined || answer.status === 503) return false;
        assert.ok([200, 202].includes(answer.status), Deno.inspect(answer.body));
        accepted.add(answer.body.id);
        return true;
      });
      await sleep(10); // leaves the processors to the daemons
    }
  })().catch((error) => failure = error);
  const end = async () => {
    over = true;
    await posting;
    if (failure !== undefined) throw failure;
  };
  return {
    accepted,
    end,
    to: (next: readonly DaemonProcess[]) => void (daemons = next),
    [Symbol.asyncDispose]: () => end().catch(() => {}),
  };
}

/** A transaction that reads tables, as `pg_dump` does, and stays open until it is ended. */
async function readingEverything({ section }: TestDatabase) {
  assert.ok("url" in section);
  const sql = connectTo(section.url);
  // In its transaction it would always see the same activity.
  const watcher = connectTo(section.url);
  await sql.unsafe("begin; lock table events, pending_deliveries in access share mode").simple();
  const seen = new Set<string>();
  let ended: Promise<void> | undefined;
  const end = () => ended ??= Promise.all([sql.end(), watcher.end()]).then(() => {});
  return {
    /** Waits until a migration has waited for it that often. */
    heldUp: (times: number) =>
      until(`a migration has waited ${times} times`, async () => {
        const rows = await watcher<{ began: string }[]>`
          select distinct xact_start::text as began from pg_locks l join pg_stat_activity using (pid)
          where mode = 'AccessExclusiveLock' and not granted and datname = current_database()`;
        for (const { began } of rows) seen.add(began);
        return seen.size >= times;
      }),
    end,
    [Symbol.asyncDispose]: end,
  };
}

/** The digest of the newest migration of a database on a server. */
async function newestOf({ section }: TestDatabase): Promise<string | undefined> {
  assert.ok("url" in section);
  await using sql = connectTo(section.url);
  const [row] = await sql<{ digest: string }[]>`
    select digest from migrations order by version desc limit 1`;
  return row?.digest;
}

function madeBy(requests: readonly Received[], version: string): number {
  return requests.filter(({ headers }) => headers["user-agent"] === `BookMe-Webhooks/${version}`)
    .length;
}

/** Each route that shows something, without an id, answers on the newer schema. */
async function everyListIsAnswered({ url }: DaemonProcess): Promise<void> {
  const paths = OPERATIONS.filter(({ method, path }) => method === "get" && !path.includes("{"))
    .map(({ path }) => path).filter((path) => !/\/(?:stream|backup)$/.test(path));
  assert.ok(paths.length > 8, paths.join());
  for (const path of paths) {
    const response = await fetch(url + path, { headers: { authorization: `Bearer ${ADMIN}` } });
    const text = await response.text();
    // An older release may not have it yet.
    assert.ok([200, 404].includes(response.status), `${path}: ${text}`);
  }
}

async function versionsOf(daemon: DaemonProcess): Promise<string[]> {
  const { body } = await daemon.api("daemons");
  const versions: string[] = body.data.map(({ version }: { version: string }) => version);
  return versions.toSorted();
}

/** Each accepted event arrives at both, successfully once; at the late one by its second attempt. */
async function allArrived(
  daemon: DaemonProcess,
  accepted: ReadonlySet<string>,
  { good, late }: { readonly good: Receiver; readonly late: Receiver },
): Promise<void> {
  const wanted = [...accepted].toSorted();
  assert.ok(wanted.length > 200, `only ${wanted.length} events`);
  await until("all has arrived", () => good.requests.length >= wanted.length);
  assert.deepEqual(good.requests.map(eventOf).toSorted(), wanted);

  await until("all has been tried", () => late.requests.length >= wanted.length);
  const recovered: string[] = [];
  late.answer((request) => {
    recovered.push(eventOf(request));
    return { status: 200 };
  });
  const made = await fetch(`${daemon.url}/api/replays`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ endpoint: "late", status: "pending", since: "2020-01-01T00:00:00Z" }),
  });
  assert.equal(made.status, 201, await made.text());
  await until("all has arrived late", () => recovered.length >= wanted.length);
  assert.deepEqual(recovered.toSorted(), wanted);
}

function eventOf({ headers }: Received): string {
  return headers["x-bookme-event-id"] ?? "";
}

Deno.test({
  name: `programAt() has the sources of a commit${isClone() ? "" : " (ignored: no clone)"}`,
  ignore: !isClone(),
  fn() {
    using program = programAt("HEAD");
    assert.equal(program.version, project.version);
    assert.throws(() => programAt("v0.0.0"), /does not have v0\.0\.0; .*git fetch --tags/);
  },
});
