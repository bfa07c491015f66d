import assert from "node:assert/strict";
import { checkpoints } from "../../lib/maintenance/checkpoints.ts";
import { maintenanceJobs } from "../../lib/maintenance/jobs.ts";
import { checkpointIfDue } from "../../lib/store/checkpoint.ts";
import { embeddedDatabase } from "../support/databases.ts";

Deno.test("checkpoints keep the embedded database's log small", async () => {
  await using database = await embeddedDatabase();
  await using db = await database.open();
  const sql = db.admin;
  const redo = async () => (await sql`select redo_lsn::text from pg_control_checkpoint()`)[0];
  const log_mib = async () => {
    const [row] = await sql<{ mib: number }[]>`
      select sum(size)::int / 1048576 as mib from pg_ls_waldir()`;
    return row?.mib ?? NaN;
  };

  const first = await redo();
  await checkpointIfDue(sql, false);
  assert.deepEqual(await redo(), first, "there is nothing to give up");
  for (let round = 0; round < 4; round++) {
    for (let n = 0; n < 13; n++) {
      await sql`select pg_logical_emit_message(true, 'test', repeat('x', 5000000))`;
    }
    await checkpointIfDue(sql, false);
  }
  assert.ok(await log_mib() < 130, `${await log_mib()} MiB of the 250 that were written`);
  assert.notDeepEqual(await redo(), first);
});

Deno.test("checkpoints leave a backup under way the log that it needs", async () => {
  await using database = await embeddedDatabase();
  await using db = await database.open();
  const files = async () =>
    (await db.admin<{ name: string }[]>`select name from pg_ls_waldir()`).map(({ name }) => name);
  const archive = await db.backups?.take(() => Promise.resolve()) ?? assert.fail();
  await archive.next();
  const [{ first } = { first: "" }] = await db.admin<{ first: string }[]>`
    select pg_walfile_name(pg_current_wal_insert_lsn()) as first`;
  for (let n = 0; n < 20; n++) {
    await db.admin`select pg_logical_emit_message(true, 'test', repeat('x', 5000000))`;
    await checkpoints.run({ db } as never, new AbortController().signal);
  }
  assert.ok((await files()).includes(first));
  await archive.return(undefined);
  await checkpoints.run({ db } as never, new AbortController().signal);
  assert.ok(!(await files()).includes(first), "and no longer than it needs it");
});

Deno.test("only an embedded database needs checkpoints from us", () => {
  const jobsOn = (kind: "embedded" | "server") =>
    maintenanceJobs({ kind }, {
      interrupted: () => {},
      probe: () => {},
      policy: () => assert.fail(),
      unsendable: () => [],
      fleet: () => assert.fail(),
      examine: () => assert.fail(),
      announced: () => assert.fail(),
    }, []);
  assert.ok(jobsOn("embedded").includes(checkpoints));
  assert.ok(!jobsOn("server").includes(checkpoints));
});
