import assert from "node:assert/strict";
import fc from "fast-check";
import {
  headerMistakes,
  LIMITS,
  overlaps,
  patternMistake,
  repetitions,
} from "../../lib/core/endpoint_rules.ts";
import { matchesType } from "../../lib/core/matching.ts";

const TYPES = ["booking.created", "booking.cancelled", "service.created"];

Deno.test("patternMistake() accepts what selects a known type", () => {
  for (const pattern of ["*", "booking.*", "booking.created", "service.*"]) {
    assert.equal(patternMistake(pattern, TYPES), undefined, pattern);
  }
});

Deno.test("patternMistake() tells what is no pattern from what selects nothing", () => {
  for (
    const pattern of ["", "booking", "book*", "*.created", "booking.", ".*", "a..b", "Booking.*"]
  ) {
    assert.match(
      patternMistake(pattern, TYPES) ?? "",
      /^Must be an event type, a pattern/,
      pattern,
    );
  }
  for (const pattern of ["booking.moved", "bookings.*", "business.*"]) {
    assert.equal(
      patternMistake(pattern, TYPES),
      `No event type matches "${pattern}"; known types are booking.created, booking.cancelled, ` +
        "service.created",
    );
  }
  assert.match(patternMistake("whsec_x", TYPES) ?? "", /not a secret$/);
});

Deno.test("overlaps() names the entry that selects nothing more", () => {
  assert.deepEqual(overlaps(["booking.created", "service.*"]), []);
  assert.deepEqual(overlaps(["booking.created", "booking.*", 5, "booking.*"]), [
    {
      index: 0,
      message: '"booking.created" is selected by "booking.*" already; remove one of them',
    },
    { index: 3, message: '"booking.*" is listed twice' },
  ]);
});

Deno.test("overlaps() leaves entries that select each type once", () => {
  const pattern = fc.constantFrom("*", "booking.*", "service.*", ...TYPES);
  fc.assert(fc.property(fc.array(pattern, { maxLength: 6 }), (patterns) => {
    const superfluous = new Set(overlaps(patterns).map(({ index }) => index));
    const rest = patterns.filter((_, index) => !superfluous.has(index));
    for (const type of TYPES) {
      assert.equal(matchesType(rest, type), matchesType(patterns, type));
      assert.ok(rest.filter((one) => matchesType([one], type)).length <= 1);
    }
  }));
});

Deno.test("overlaps() compares the first entries only, however many there are", () => {
  const patterns = [...Array(LIMITS.patterns).keys()].map((n) => `a.b${n}`);
  assert.deepEqual(overlaps([...patterns, "a.b0"]), []);
});

Deno.test("repetitions() names each entry that is there already", () => {
  assert.deepEqual(repetitions(["a", "b", "a", null, null, "a"]), [
    { index: 2, message: '"a" is listed twice' },
    { index: 5, message: '"a" is listed twice' },
  ]);
});

const namesOf = (headers: Record<string, unknown>) =>
  headerMistakes(headers).map(({ name, message }) => `${name}: ${message}`);

Deno.test("headerMistakes() accepts headers that a receiver may want", () => {
  assert.deepEqual(namesOf({ "X-Tenant": "bella", Authorization: "Bearer a\tb", "x.y~z": "" }), []);
});

Deno.test("headerMistakes() refuses the sender's own and hop-by-hop headers", () => {
  for (const name of ["Host", "content-length", "X-BookMe-Event", "Webhook-Id", "sec-x", "TE"]) {
    assert.match(namesOf({ [name]: "x" })[0] ?? "", /: Reserved /, name);
  }
});

Deno.test("headerMistakes() never shows a value", () => {
  for (const value of ["hunter2\r\nX-A: b", "hunter2 ", "hünter2", "hunter2".repeat(1000), 5]) {
    const [mistake = assert.fail()] = namesOf({ "X-Key": value });
    assert.match(mistake, /^X-Key: Must /);
    assert.doesNotMatch(mistake, /nter2/);
  }
});

Deno.test("headerMistakes() compares names without their case, and counts them", () => {
  assert.deepEqual(namesOf({ "X-A": "1", "x-a": "2" }), [
    'x-a: Same header as "X-A"; upper and lower case do not differ',
  ]);
  const many = [...Array(LIMITS.headers + 1).keys()].map((n) => [`X-${n}`, "x"]);
  assert.deepEqual(namesOf(Object.fromEntries(many)), ["X-50: Must have at most 50 headers"]);
});
