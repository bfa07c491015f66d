import assert from "node:assert/strict";
import { about } from "../../lib/cli/about.ts";
import { denoMistake, VERSION } from "../../lib/core/version.ts";
import { POSTGRES_VERSION } from "../../lib/store/cluster.ts";
import { runCli, runHere } from "../support/cli.ts";
import { embeddedDatabase } from "../support/databases.ts";

const MIGRATIONS = new URL("../../migrations/", import.meta.url);

Deno.test("--version --json prints version, commit, runtime, PostgreSQL and schema", async () => {
  const { code, out, err } = await runCli(["--version", "--json"]);
  assert.deepEqual([code, err], [0, ""]);
  const migrations = [...Deno.readDirSync(MIGRATIONS)].filter(({ name }) => name.endsWith(".sql"));
  assert.deepEqual(JSON.parse(out), {
    version: VERSION,
    commit: null, // a checkout: nothing was compiled
    runtime: {
      deno: Deno.version.deno,
      v8: Deno.version.v8,
      typescript: Deno.version.typescript,
    },
    postgres: POSTGRES_VERSION,
    schema: migrations.length,
  });
});

Deno.test("--json changes nothing unless --version asks for it, in any order", async () => {
  const json = JSON.stringify(about()) + "\n";
  for (const args of [["--version", "--json"], ["--json", "--version"], ["-V", "--json"]]) {
    assert.equal((await runHere(args)).out, json, args.join(" "));
  }
  assert.equal((await runHere(["--version"])).out, `bookme-webhooks ${VERSION}\n`);
  assert.equal(denoMistake(about().runtime.deno), undefined);
  assert.match((await runHere(["--help"])).out, /--version prints the version, and with\n--json /);
});

Deno.test("POSTGRES_VERSION is that of the embedded database", async () => {
  await using database = await embeddedDatabase();
  await using db = await database.open();
  const [row] = await db.admin<{ version: string }[]>`
    select current_setting('server_version') as version`;
  assert.equal(row?.version, POSTGRES_VERSION);
});
