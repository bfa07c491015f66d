import assert from "node:assert/strict";
import fc from "fast-check";
import { explainMatch, makeMatcher, matchesType } from "../../lib/core/matching.ts";

Deno.test("matchesType() takes exact names, families and everything", () => {
  const table: [string, string, boolean][] = [
    ["booking.created", "booking.created", true],
    ["booking.created", "booking.created.late", false],
    ["booking.created", "booking.create", false],
    ["booking.created", "Booking.created", false],
    ["booking.*", "booking.created", true],
    ["booking.*", "booking.a.b", true],
    ["booking.*", "bookings.created", false],
    ["booking.*", "booking", false],
    ["booking.*", "booking.", false],
    ["booking.*", "rebooking.created", false],
    ["booking.a.*", "booking.a.b", true],
    ["booking.a.*", "booking.b.a", false],
    ["*", "booking.created", true],
    ["*", "x", true],
    ["*", "webhooks.alert.began", false],
    ["webhooks.*", "webhooks.alert.began", true],
    ["booking*", "booking.created", false],
    ["*.created", "booking.created", false],
    [".*", "booking.created", false],
    ["", "booking.created", false],
  ];
  for (const [pattern, type, expected] of table) {
    assert.equal(matchesType([pattern], type), expected, `${pattern} on ${type}`);
  }
  assert.equal(matchesType([], "booking.created"), false);
  assert.equal(matchesType(["service.*", "booking.created"], "booking.created"), true);
});

const ENDPOINTS = [
  { no: 1, events: ["*"], businesses: null },
  { no: 2, events: ["booking.*"], businesses: ["bus_1", "bus_2"] },
  { no: 3, events: ["service.created", "booking.created"], businesses: null },
  { no: 4, events: [], businesses: null },
  { no: 5, events: ["*"], businesses: [] },
];

Deno.test("makeMatcher() answers the endpoints that are owed an event, in their order", () => {
  const match = makeMatcher(ENDPOINTS);
  const numbers = (type: string, business: string | null) =>
    match(type, business).map((endpoint) => endpoint.no);
  // Twice: the second time the selection is remembered.
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(numbers("booking.created", "bus_1"), [1, 2, 3]);
    assert.deepEqual(numbers("booking.created", "bus_3"), [1, 3]);
    assert.deepEqual(numbers("booking.created", null), [1, 3]);
    assert.deepEqual(numbers("booking.moved", "bus_2"), [1, 2]);
    assert.deepEqual(numbers("business.created", "bus_1"), [1]);
  }
  assert.equal(match("booking.created", null)[0], ENDPOINTS[0]);
  assert.deepEqual(makeMatcher([])("booking.created", null), []);
});

Deno.test("explainMatch() says which of the two rules left an endpoint out", () => {
  const picky = { events: ["booking.*"], businesses: ["bus_1"] };
  assert.equal(explainMatch(picky, "booking.created", "bus_1"), "matched");
  assert.equal(explainMatch(picky, "booking.created", "bus_2"), "other business");
  assert.equal(explainMatch(picky, "booking.created", null), "other business");
  assert.equal(explainMatch(picky, "service.created", "bus_2"), "type not selected");
  assert.equal(explainMatch({ ...picky, businesses: null }, "booking.x", null), "matched");
});

Deno.test("explainMatch() and makeMatcher() agree on everything", () => {
  const part = fc.constantFrom("booking", "bookings", "service", "a", "created");
  const type = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("."));
  const pattern = fc.oneof(type, type.map((name) => `${name}.*`), fc.constant("*"));
  const business = fc.constantFrom("bus_1", "bus_2", "bus_3");
  const endpoint = fc.record({
    events: fc.array(pattern, { maxLength: 3 }),
    businesses: fc.option(fc.array(business, { maxLength: 2 })),
  });
  fc.assert(fc.property(
    fc.array(endpoint, { maxLength: 6 }),
    fc.array(fc.tuple(type, fc.option(business)), { minLength: 1, maxLength: 6 }),
    (endpoints, events) => {
      const match = makeMatcher(endpoints);
      for (const [name, of] of events) {
        assert.deepEqual(
          match(name, of),
          endpoints.filter((endpoint) => explainMatch(endpoint, name, of) === "matched"),
        );
      }
    },
  ));
});
