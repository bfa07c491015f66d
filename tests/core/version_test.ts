import assert from "node:assert/strict";
import { denoMistake } from "../../lib/core/version.ts";

Deno.test("denoMistake() refuses a Deno older than 2.9, naming it and the remedy", () => {
  for (const version of ["2.9.0", "2.9.6", "2.10.0", "2.9.0-rc.1", "3.0.0", "10.1.0"]) {
    assert.equal(denoMistake(version), undefined, version);
  }
  for (const version of ["1.46.3", "2.0.0", "2.6.8", "2.8.9", ""]) {
    const mistake = denoMistake(version) ?? "";
    assert.ok(mistake.startsWith(`Deno ${version} is too old`), version);
    assert.match(mistake, /stops accepting connections.*; use Deno 2\.9 or later$/);
  }
});
