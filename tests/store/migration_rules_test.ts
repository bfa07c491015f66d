/** Migrations keep what was released, and are additive first; `docs/upgrade.md` has a section for each version. */

import assert from "node:assert/strict";
import project from "../../deno.json" with { type: "json" };
import released from "../../migrations/released.json" with { type: "json" };
import {
  additiveMistakes,
  changedMistakes,
  digestOf,
  type Migration,
  numberMistakes,
  type Released,
  statementsOf,
} from "./migration_rules.ts";
import { onServer } from "../support/databases.ts";

const ROOT = new URL("../../", import.meta.url);
const RELEASED: Released = released;

/** The files of `migrations/`, in their order. */
function migrations(): readonly Migration[] {
  const folder = new URL("migrations/", ROOT);
  return [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".sql"))
    .map(({ name }) => ({
      name: name.replace(/\.sql$/, ""),
      sql: Deno.readTextFileSync(new URL(name, folder)),
    }))
    .toSorted((one, other) => one.name < other.name ? -1 : 1);
}

Deno.test("migrations are as they were released, in order and additive", () => {
  assert.deepEqual(changedMistakes(migrations(), RELEASED), []);
  assert.deepEqual(numberMistakes(migrations()), []);
  assert.deepEqual(additiveMistakes(migrations(), RELEASED), []);
});

onServer("the program runs the files of migrations/, and no others", async (database) => {
  await using db = await database.open();
  const rows = await db.admin<{ name: string; digest: string }[]>`
    select name, digest from migrations order by version`;
  assert.deepEqual(
    rows.map((row) => ({ ...row })),
    migrations().map(({ name, sql }) => ({ name, digest: digestOf(sql) })),
  );
});

// --- releases ---------------------------------------------------------------------------------------

/** Versions with a heading of their own in the changelog, newest first. */
function released_versions(): readonly string[] {
  const text = Deno.readTextFileSync(new URL("CHANGELOG.md", ROOT));
  return [...text.matchAll(/^## (\d+\.\d+\.\d+)\b/gm)].map(([, version = ""]) => version);
}

Deno.test("each release of the changelog has the digests of its migrations", () => {
  assert.deepEqual(
    released_versions().toReversed(),
    Object.keys(RELEASED),
    "add the version to migrations/released.json, as CONTRIBUTING.md says",
  );
  // Each release has all that the one before had.
  const releases = Object.values(RELEASED).map(Object.keys);
  releases.slice(1).forEach((names, index) => {
    const before = releases[index] ?? [];
    assert.deepEqual(names.slice(0, before.length), before);
  });
});

const ROWS = ["What changes", "Who must act", "Time per 10 million rows", "Locks", "Way back"];

Deno.test("docs/upgrade.md has a section in one form for each version", () => {
  const text = Deno.readTextFileSync(new URL("docs/upgrade.md", ROOT));
  const sections = text.split(/^### (?=\d+\.\d+\.\d+$)/m).slice(1);
  const versions = sections.map((section) => section.split("\n")[0]);
  const wanted = new Set([project.version, ...released_versions()]);
  assert.deepEqual(versions, [...wanted]);
  for (const section of sections) {
    const rows = [...section.matchAll(/^\| \*\*(.+?)\*\* +\| (.*?) *\|$/gm)];
    assert.deepEqual(rows.map(([, name]) => name), ROWS, section);
    for (const [row, , says = ""] of rows) assert.ok(says.length > 3, row);
  }
});

// --- the rules themselves, on made-up migrations ------------------------------------------------------

const FIRST: Migration = { name: "0001_init", sql: "create table a (id integer);\n" };
const SECOND: Migration = { name: "0002_more", sql: "alter table a add column b text;\n" };
const MADE_UP: Released = {
  "0.1.0": { "0001_init": digestOf(FIRST.sql) },
  "0.2.0": { "0001_init": digestOf(FIRST.sql), "0002_more": digestOf(SECOND.sql) },
};

Deno.test("changedMistakes() finds a released migration that changed, moved or is gone", () => {
  assert.deepEqual(changedMistakes([FIRST, SECOND], MADE_UP), []);
  const changed = { ...SECOND, sql: `${SECOND.sql}\n` };
  assert.deepEqual(changedMistakes([FIRST, changed], MADE_UP), [
    "0002_more was released with 0.2.0 and has changed; add a new migration instead",
  ]);
  assert.deepEqual(changedMistakes([FIRST], MADE_UP), [
    "0002_more is number 2 of release 0.2.0, and not of this program",
  ]);
  const between = { name: "0002_before", sql: "" };
  assert.equal(changedMistakes([FIRST, between, SECOND], MADE_UP).length, 1);
});

Deno.test("numberMistakes() finds gaps and repetitions", () => {
  assert.deepEqual(numberMistakes([FIRST, SECOND]), []);
  assert.deepEqual(numberMistakes([FIRST, { name: "0003_late", sql: "" }]), [
    "0003_late must begin with 0002_",
  ]);
});

/** Whether the rules refuse a second migration with that text. */
function isRefused(sql: string, of = MADE_UP): boolean {
  return additiveMistakes([FIRST, { name: "0002_x", sql }], { "0.1.0": of["0.1.0"] ?? {} }).length >
    0;
}

Deno.test("additiveMistakes() refuses what an older daemon may not survive", () => {
  const harmful = [
    "drop table a",
    "DROP INDEX a_id",
    "drop function f",
    "delete from a",
    "truncate a",
    "alter table a drop column b",
    "alter table a rename column b to c",
    "alter table a rename to b",
    "alter view v rename to w",
    "alter table a alter column b type bigint",
    "alter table a alter b set data type bigint",
    "alter table a add column b text, alter column c set not null",
    "alter table a alter column b drop default",
    "alter table a add column b integer not null",
    "alter table a add column b integer default 0, add c integer not null",
    "alter table a add constraint positive check (b > 0) not valid",
    "alter table only a\n  add check (b > 0)",
    "create unique index on a (b)",
    "alter table a set schema other",
    "lock table a",
    "create index a_b on a (b)",
    "alter table a add column b integer not null generated always as (id + 1) stored",
    "-- Holds up writers\nalter table a drop column b",
    "vacuum full a",
    "create table b (id integer);\n-- harmless; really\ndrop table a",
    "-- Unread since 0.1.0\nselect 1;\ndrop table a",
    "-- Unread since 0.9.0\ndrop table a",
  ];
  assert.deepEqual(harmful.filter((sql) => !isRefused(sql)), []);
});

Deno.test("additiveMistakes() allows what adds", () => {
  const harmless = [
    "create table b (id integer not null, drop_at timestamptz)",
    "create table b (id integer); alter table b add check (id > 0); create unique index on b (id)",
    "alter table a add column b integer",
    "alter table a add column b integer not null default 0, add column c text default 'drop table a;'",
    "create table b (id integer); create index on b (id)",
    "-- Holds up writers: 8 s at 10 million rows\ncreate index a_b on a (b)",
    "create or replace view v as select id from a",
    "create function f() returns void language plpgsql as $$ begin delete from a; drop table a; end $$",
    "update a set b = 0 where b is null",
    "/* drop table a; */ comment on table a is 'renamed; drop it'",
    "-- Unread since 0.1.0: see the release notes\nalter table a drop column b",
  ];
  assert.deepEqual(harmless.filter((sql) => isRefused(sql)), []);
});

Deno.test("statementsOf() reads every statement of the first migration", () => {
  const sql = migrations()[0]?.sql ?? "";
  const texts = statementsOf(sql).map(({ text }) => text);
  assert.equal(
    texts.filter((text) => text.startsWith("create table ")).length,
    [...sql.matchAll(/^create table /gm)].length,
  );
  assert.deepEqual(
    texts.filter((text) => !/^(?:create|insert|comment|alter) /.test(text)),
    [],
  );
});
