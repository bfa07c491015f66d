import assert from "node:assert/strict";
import { firstExpiry, moveOverlap, overlapAt, rotate, signingAt } from "../../lib/core/rotation.ts";

const HOUR = 3_600_000;
const one = (secret: string, activates_at: number, expires_at: number | null = null) => ({
  secret,
  activates_at,
  expires_at,
});
const names = (secrets: readonly { secret: string }[]) => secrets.map(({ secret }) => secret);

Deno.test("rotate() and signingAt() hand over from one secret to the next", () => {
  const now = 1_000 * HOUR;
  const rotated = rotate([one("old", 0)], "new", now + HOUR, 24 * HOUR, now);
  const at = (time: number) => names(signingAt(rotated, time));
  assert.deepEqual(at(now), ["old", "new"]);
  assert.deepEqual(at(now + HOUR - 1), ["old", "new"]);
  assert.deepEqual(at(now + HOUR), ["new", "old"]);
  assert.deepEqual(at(now + 25 * HOUR - 1), ["new", "old"]);
  assert.deepEqual(at(now + 25 * HOUR), ["new"]);
  assert.equal(firstExpiry(rotated), now + 25 * HOUR);
  assert.equal(firstExpiry([one("only", 0)]), null);
});

Deno.test("rotate() without an overlap hands over at once", () => {
  const rotated = rotate([one("old", 0)], "new", 10, 0, 10);
  assert.deepEqual(names(rotated), ["new"]);
});

Deno.test("rotate() again drops a secret not yet active; overlaps never grow; at most five sign", () => {
  const first = rotate([one("a", 0)], "b", 100, 50, 10);
  assert.deepEqual(names(rotate(first, "c", 20, 50, 20)), ["a", "c"], "b had not signed");
  const second = rotate(first, "c", 120, 1000, 110);
  assert.deepEqual(second, [one("a", 0, 150), one("b", 100, 1120), one("c", 120)]);
  let many = [one("s0", 0)] as ReturnType<typeof rotate>;
  for (let i = 1; i < 5; i++) many = rotate(many, `s${i}`, i, 1000, i);
  assert.throws(() => rotate(many, "s5", 5, 1000, 5), { code: "conflict" });
  assert.deepEqual(names(rotate(many, "s5", 5, 0, 5)), ["s5"]);
  assert.throws(() => rotate([one("a", 0)], "a", 5, 0, 5), { code: "invalid" });
});

Deno.test("signingAt() is empty for an unsigned endpoint", () => {
  assert.deepEqual(signingAt([], 5), []);
});

Deno.test("rotate() gives the secret in force back the time that a dropped rotation took", () => {
  const first = [{ secret: "s1", activates_at: 0, expires_at: null }];
  const planned = rotate(first, "s2", 5_000, 0, 1_000);
  assert.deepEqual(planned.map(({ expires_at }) => expires_at), [5_000, null]);
  const again = rotate(planned, "s3", HOUR, 24 * HOUR, 2_000);
  assert.deepEqual(again, [
    { secret: "s1", activates_at: 0, expires_at: 25 * HOUR },
    { secret: "s3", activates_at: HOUR, expires_at: null },
  ]);
  // One that was replaced before keeps its end, unless this one comes before it.
  const third = rotate(rotate(first, "s2", 1_000, HOUR, 1_000), "s3", 2_000, 2 * HOUR, 2_000);
  assert.deepEqual(third.map(({ expires_at }) => expires_at), [
    1_000 + HOUR,
    2_000 + 2 * HOUR,
    null,
  ]);
});

Deno.test("moveOverlap() ends the overlap at once, earlier or later", () => {
  const rotated = rotate([one("old", 0)], "new", HOUR, 24 * HOUR, HOUR);
  assert.deepEqual(overlapAt(rotated, 2 * HOUR), { activates_at: HOUR, ends_at: 25 * HOUR });
  const ends = (ends_at: number) => overlapAt(moveOverlap(rotated, ends_at, 2 * HOUR), 2 * HOUR);
  assert.equal(ends(3 * HOUR)?.ends_at, 3 * HOUR);
  assert.equal(ends(99 * HOUR)?.ends_at, 99 * HOUR);
  assert.deepEqual(names(moveOverlap(rotated, 2 * HOUR, 2 * HOUR)), ["new"], "the old one is gone");
  for (const secrets of [[], [one("only", 0)], moveOverlap(rotated, 2 * HOUR, 2 * HOUR)]) {
    assert.equal(overlapAt(secrets, 2 * HOUR), null);
    assert.throws(() => moveOverlap(secrets, 9 * HOUR, 2 * HOUR), { code: "conflict" });
  }
  // Secrets that have expired do not come back, even before the sweep.
  assert.throws(() => moveOverlap(rotated, 99 * HOUR, 25 * HOUR), { code: "conflict" });
});

Deno.test("moveOverlap() leaves the old secret signing until the new one does", () => {
  const planned = rotate([one("old", 0)], "new", 10 * HOUR, 24 * HOUR, HOUR);
  assert.throws(() => moveOverlap(planned, HOUR, HOUR), { code: "conflict" });
  assert.throws(() => moveOverlap(planned, 10 * HOUR - 1, HOUR), { code: "conflict" });
  const moved = moveOverlap(planned, 10 * HOUR, HOUR);
  assert.deepEqual(names(signingAt(moved, 10 * HOUR - 1)), ["old", "new"]);
  assert.deepEqual(names(signingAt(moved, 10 * HOUR)), ["new"]);
});

Deno.test("moveOverlap() prolongs the last of several overlaps only", () => {
  const first = rotate([one("a", 0)], "b", 100, 50, 100);
  const second = rotate(first, "c", 120, 1000, 120);
  const until = (ends_at: number) =>
    moveOverlap(second, ends_at, 130).map(({ expires_at }) => expires_at);
  assert.deepEqual(until(5000), [150, 5000, null]);
  assert.deepEqual(until(140), [140, 140, null]);
  assert.deepEqual(until(130), [null]);
});
