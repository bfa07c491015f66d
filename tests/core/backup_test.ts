import assert from "node:assert/strict";
import { countMistakes, FORMAT, type Manifest, parseManifest } from "../../lib/core/backup.ts";

const MANIFEST: Manifest = {
  format: FORMAT,
  program: "1.0.0",
  schema_version: 1,
  postgres: "18.6",
  database: "7713528339936739370",
  began_at: "2026-11-29T09:00:00Z",
  taken_at: "2026-11-29T09:00:10Z",
  tables: { events: { at_least: 5, at_most: 7 }, fleet: { at_least: 1, at_most: 1 } },
};

Deno.test("parseManifest() reads its own form and refuses any other", () => {
  assert.deepEqual(parseManifest(JSON.stringify(MANIFEST)), MANIFEST);
  for (const name of Object.keys(MANIFEST)) {
    const { [name]: _, ...without } = { ...MANIFEST } as Record<string, unknown>;
    assert.throws(() => parseManifest(JSON.stringify(without)), /is damaged/, name);
  }
  for (const text of ["", "[]", "null", '{"format":1}']) {
    assert.throws(() => parseManifest(text), /is damaged/);
  }
  const newer = JSON.stringify({ ...MANIFEST, format: FORMAT + 1 });
  assert.throws(() => parseManifest(newer), /restore it with the newer program/);
});

Deno.test("countMistakes() names tables with too few rows, too many, or none", () => {
  assert.deepEqual(countMistakes(MANIFEST, { events: 5, fleet: 1 }), []);
  assert.deepEqual(countMistakes(MANIFEST, { events: 7, fleet: 1 }), []);
  assert.deepEqual(countMistakes(MANIFEST, { events: 8, more: 1 }), [
    "events has 8 rows instead of 5 to 7",
    "fleet has no rows instead of 1",
    "more has 1 rows instead of 0",
  ]);
  assert.deepEqual(countMistakes(MANIFEST, { events: 4, fleet: 1 }), [
    "events has 4 rows instead of 5 to 7",
  ]);
});
