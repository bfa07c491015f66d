import assert from "node:assert/strict";
import { changeEndpoint, createEndpoint } from "../../lib/admin/endpoints.ts";
import { makePace, type Paced } from "../../lib/admin/pace.ts";
import { testEndpoint } from "../../lib/admin/test_event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { administer, asker } from "../support/admin.ts";
import { onServer } from "../support/databases.ts";

const ops = asker("ops", "everything");
const ana = asker("ana", { business: "bus_a" });
const bob = asker("bob", { business: "bus_b" });

Deno.test("makePace() limits each business by what it does, and no operator", () => {
  let now = 0;
  const pace = makePace(() => now);
  const left = (by: typeof ops, what: Paced) => {
    for (let done = 0; done < 1_000; done++) {
      try {
        pace(by, what);
      } catch (error) {
        assert.ok(error instanceof AppError);
        assert.equal(error.code, "too_many_requests");
        return { done, retry_after_s: error.detail.retry_after_s };
      }
    }
    return "no limit";
  };
  assert.deepEqual(left(ana, "test"), { done: 10, retry_after_s: 6 });
  assert.deepEqual(left(ana, "check"), { done: 10, retry_after_s: 6 });
  assert.deepEqual(left(ana, "signature check"), { done: 10, retry_after_s: 6 });
  assert.deepEqual(left(ana, "change"), { done: 100, retry_after_s: 1 });
  assert.deepEqual(left(bob, "test"), { done: 10, retry_after_s: 6 });
  assert.equal(left(ops, "test"), "no limit");
  now = 6_000;
  assert.deepEqual(left(ana, "test"), { done: 1, retry_after_s: 6 });
});

onServer("a business is limited in tests and changes of its endpoints", async (database) => {
  await using db = await database.open();
  // Time stands still.
  const ctx = {
    ...await administer(db, { database: database.section }),
    pace: makePace(() => 0),
  };
  const { id } = await createEndpoint(ctx, ana, { url: "https://example.com/", events: ["*"] });
  const test = (by: typeof ana) =>
    testEndpoint(ctx, by, id, { event: "booking.created" }, () => true);
  for (let nth = 0; nth < 10; nth++) await test(ana);
  await assert.rejects(test(ana), { code: "too_many_requests", message: /Too many tests at once/ });
  await test(ops);
  await assert.rejects(test(bob), { code: "not_found" });
  const change = (by: typeof ana) => changeEndpoint(ctx, by, id, { description: "again" });
  await assert.rejects(changeEndpoint(ctx, ana, id, { url: "ftp://x" }), { code: "invalid" });
  for (let nth = 1; nth < 100; nth++) await change(ana);
  await assert.rejects(change(ana), { code: "too_many_requests", message: /wait 1 s/ });
  await change(ops);
  const [{ tests } = { tests: 0 }] = await db.admin<{ tests: number }[]>`
    select count(*)::int as tests from audit where action = 'endpoint.tested'`;
  assert.equal(tests, 11);
});
