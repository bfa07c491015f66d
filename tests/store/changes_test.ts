import assert from "node:assert/strict";
import {
  announceDue,
  announceFleet,
  CHANNEL,
  logged,
  MAX_ANNOUNCED,
} from "../../lib/store/changes.ts";
import type { Database } from "../../lib/store/database.ts";
import { onServer } from "../support/databases.ts";
import { until } from "../support/wait.ts";

/** Collects notifications; `settle` resolves when all sent so far have come. */
async function listen(db: Database) {
  const heard: string[] = [];
  await db.listen((payload) => void heard.push(payload), () => {});
  return {
    heard,
    async settle() {
      await db.engine`select pg_notify(${CHANNEL}, 'end')`;
      await until("the end is heard", () => heard.at(-1) === "end");
      heard.pop();
    },
  };
}

onServer(
  "announceFleet() raises the revision and notifies if anything changed",
  async (database) => {
    await using db = await database.open();
    const { heard, settle } = await listen(db);
    const change = async (rows: number) => {
      await db.admin`
      with paused as (select n::text as id from generate_series(1, ${rows}::int) n),
      ${db.admin.unsafe(announceFleet("paused"))}
      select from (select) one left join announced on true`;
      const [row] = await db.admin<{ revision: string }[]>`select revision from fleet`;
      return Number(row?.revision);
    };
    const before = await change(0);
    assert.equal(await change(0), before);
    assert.equal(await change(3), before + 1);
    await settle();
    assert.deepEqual(heard, ["fleet"]);
  },
);

onServer("announceDue() names endpoints once each, and all if they are many", async (database) => {
  await using db = await database.open();
  const { heard, settle } = await listen(db);
  const announce = (first: number, last: number) =>
    db.admin`
      with owed as (
        select n as endpoint_no from generate_series(${first}::int, ${last}::int) n, generate_series(1, 2)
      ), ${db.admin.unsafe(announceDue("owed"))}
      select from owed left join announced on true`;
  await announce(1, 0);
  await announce(7, 7);
  await announce(1, MAX_ANNOUNCED);
  await announce(1, MAX_ANNOUNCED + 1);
  await settle();
  const numbers = heard.map((payload) => payload.split(",").sort((a, b) => Number(a) - Number(b)));
  assert.deepEqual(numbers, [
    ["7"],
    Array.from({ length: MAX_ANNOUNCED }, (_, i) => String(i + 1)),
    ["all"],
  ]);
});

onServer("logged() writes one entry if anything changed, and none otherwise", async (database) => {
  await using db = await database.open();
  const change = (rows: number) =>
    db.admin`
      with changed as (select generate_series(1, ${rows}::int)), ${
      logged(db.admin, {
        actor: { name: "ops", address: "127.0.0.1" },
        action: "endpoint.updated",
        object: "crm",
        after: { url: 'https://x/?"' },
      })
    } select from changed`;
  await change(0);
  await change(2);
  const entries = await db.admin`
    select actor, address, action, object, before, after from audit`;
  assert.deepEqual(entries.map((entry) => ({ ...entry })), [{
    actor: "ops",
    address: "127.0.0.1",
    action: "endpoint.updated",
    object: "crm",
    before: null,
    after: { url: 'https://x/?"' },
  }]);
});
