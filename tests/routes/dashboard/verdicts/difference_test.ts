import assert from "node:assert/strict";
import { differences } from "../../../../routes/dashboard/verdicts/difference.ts";

Deno.test("differences() names members that changed, came and went", () => {
  assert.deepEqual(
    differences(
      {
        url: "https://a.example",
        events: ["a.b", "c.d"],
        settings: { timeout_ms: 5_000, gone: 1 },
      },
      { url: "https://b.example", events: ["a.b"], settings: { timeout_ms: 10_000 }, more: "" },
    ),
    [
      { field: "url", before: "https://a.example", after: "https://b.example" },
      { field: "events", before: "a.b, c.d", after: "a.b" },
      { field: "timeout_ms", before: "5000 (5s)", after: "10000 (10s)" },
      { field: "gone", before: "1", after: null },
      { field: "more", before: null, after: "empty" },
    ],
  );
});

Deno.test("differences() reads nothing as nothing", () => {
  assert.deepEqual(differences(null, null), []);
  assert.deepEqual(differences({ a: [1] }, { a: [1] }), []);
  assert.deepEqual(differences(null, { status: "failed" }), [
    { field: "status", before: null, after: "failed" },
  ]);
  assert.deepEqual(differences("one", null), [{ field: "value", before: "one", after: null }]);
});
