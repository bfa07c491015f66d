import assert from "node:assert/strict";
import fc from "fast-check";
import { foreignTexts, literal, texts, uuidLiteral } from "../../lib/store/arrays.ts";
import { onServer } from "../support/databases.ts";

onServer("columns reach the database unchanged", async (database) => {
  await using db = await database.open();
  const row = fc.record({
    n: fc.option(fc.maxSafeInteger()),
    b: fc.boolean(),
    u: fc.uuid(),
    t: fc.option(fc.constantFrom("a", "ü", "null", "{}", '"', "\\", "a,b", "NULL")),
    f: fc.option(fc.string({ unit: "binary", minLength: 1, maxLength: 10 })),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 20 }), async (rows) => {
      const got = await db.engine<Record<string, unknown>[]>`
        select n::float8 as n, b, u, t, f from unnest(
          ${literal(rows.map((r) => r.n))}::bigint[],
          ${literal(rows.map((r) => r.b))}::boolean[],
          ${uuidLiteral(rows.map((r) => r.u))}::uuid[],
          string_to_array(${texts(rows.map((r) => r.t))}, chr(30), ''),
          string_to_array(${foreignTexts(rows.map((r) => r.f))}, chr(30), '')
        ) as r (n, b, u, t, f)`;
      assert.deepEqual(
        got.map((r) => ({ ...r })),
        // deno-lint-ignore no-control-regex
        rows.map((r) => ({ ...r, f: r.f?.replace(/[\x00\x1e]/g, "\ufffd") ?? null })),
      );
    }),
    { numRuns: 100 },
  );
});

Deno.test("a column of nothing but nulls is an empty array", () => {
  assert.deepEqual([literal([null, null]), texts([null, null]), foreignTexts([null])], [
    "{}",
    "",
    "",
  ]);
  assert.deepEqual([literal([null, 1]), texts([null, "a"])], ["{null,1}", "\x1ea"]);
});
