import assert from "node:assert/strict";
import fc from "fast-check";
import { AppError } from "../../lib/core/errors.ts";
import { makeEventIds } from "../../lib/core/ids.ts";
import {
  conflictOf,
  heirs,
  makeRequest,
  type Offer,
  planBatch,
  type Request,
  takeBatch,
} from "../../lib/delivery/batch.ts";
import type { StoredKey } from "../../lib/store/events.ts";
import type { Endpoint, Fleet } from "../../lib/delivery/fleet.ts";
import { makeMatcher } from "../../lib/core/matching.ts";

const offer = (key: string | null, payload = "{}", business: string | null = null): Offer => ({
  event: {
    payload,
    type: "booking.created",
    business,
    subject: "apt_1",
    subject_key: "appointment:apt_1",
    confirmation: null,
  },
  key,
});

function fleetOf(...endpoints: Partial<Endpoint>[]): Omit<Fleet, "policy"> {
  const all = endpoints.map((endpoint, index) => ({
    no: index + 1,
    events: ["*"],
    businesses: null,
    retry_ms: [0, 60_000],
    ...endpoint,
  })) as Endpoint[];
  return {
    revision: "7",
    endpoints: new Map(all.map((endpoint) => [endpoint.no, endpoint])),
    match: makeMatcher(all),
    max_timeout_ms: 30_000,
  };
}

function uuids() {
  const ids = makeEventIds(() => 1);
  return () => ids.next(1_700_000_000_000);
}

const plan = (requests: readonly Request[], fleet = fleetOf({})) =>
  planBatch(requests, new Map(), fleet, new Map(), uuids());

Deno.test("makeRequest() refuses one key with two contents, and names the event", () => {
  assert.throws(
    () => makeRequest([offer("id:a", "1"), offer("id:a", "2")]),
    (error) =>
      error instanceof AppError && error.code === "conflict" && /event 1/.test(error.message),
  );
  assert.equal(makeRequest([offer("id:a", "1"), offer("id:a", "1")]).offers.length, 2);
});

Deno.test("takeBatch() leaves a request whose key is in the batch for the next one", () => {
  const waiting = [["id:a"], ["id:b"], ["id:a"], ["id:c"]].map((keys) =>
    makeRequest(keys.map((key) => offer(key)))
  );
  assert.equal(takeBatch(waiting, 1).length, 2);
  assert.equal(takeBatch(waiting, 1).length, 2);
  assert.equal(waiting.length, 0);
});

Deno.test("takeBatch() takes at most 50,000 deliveries, but always one request", () => {
  const request = () => makeRequest(Array.from({ length: 1_000 }, () => offer(null)));
  assert.equal(takeBatch([request(), request()], 60).length, 1);
  const small = () => makeRequest([offer(null)]);
  assert.equal(takeBatch(Array.from({ length: 30 }, small), 5_000).length, 10);
});

Deno.test("planBatch() owes an event to every endpoint that selects it, after its first wait", () => {
  const fleet = fleetOf({}, { events: ["payment.*"] }, {
    retry_ms: [5_000],
    businesses: ["bus_1"],
  });
  const request = makeRequest([offer(null, "{}", "bus_1"), offer(null, "{}", "bus_2")]);
  const { events, owed, accepted, revision } = plan([request], fleet);
  assert.equal(revision, "7");
  assert.equal(events.length, 2);
  assert.deepEqual(
    owed.map(({ event, endpoint_no, wait_ms }) => [event.business, endpoint_no, wait_ms]),
    [["bus_1", 1, 0], ["bus_1", 3, 5_000], ["bus_2", 1, 0]],
  );
  assert.deepEqual(request.offers.map((one) => accepted.get(one)?.deliveries), [2, 1]);
});

Deno.test("planBatch() lets events inherit, in their order, and says what they rely on", () => {
  const heir = offer(null);
  const named = (business: string) => offer(null, "{}", business);
  const subject = heir.event.subject_key!;
  const planned = (
    offers: Offer[],
    stored: string | null,
    known = new Map<string, StoredKey>(),
  ) => {
    const { events, owed, subjects: { inherited, named } } = planBatch(
      [makeRequest(offers)],
      known,
      fleetOf({ businesses: ["bus_1"] }),
      new Map([[subject, stored]]),
      uuids(),
    );
    return {
      businesses: events.map(({ business }) => business),
      owed: owed.length,
      inherited: inherited.size === 0 ? "nothing" : inherited.get(subject),
      named: named.get(subject),
    };
  };
  const nobody = { businesses: [null], owed: 0, inherited: null, named: undefined };
  assert.deepEqual(planned([heir], null), nobody);
  assert.deepEqual(planned([heir], "bus_1"), {
    businesses: ["bus_1"],
    owed: 1,
    inherited: "bus_1",
    named: "bus_1",
  });
  assert.deepEqual(planned([named("bus_1"), heir], "bus_2"), {
    businesses: ["bus_1", "bus_1"],
    owed: 2,
    inherited: "nothing",
    named: "bus_1",
  });
  assert.deepEqual(planned([heir, named("bus_1"), heir, named("bus_3")], "bus_2"), {
    businesses: ["bus_2", "bus_1", "bus_1", "bus_3"],
    owed: 2,
    inherited: "bus_2",
    named: "bus_3",
  });
  const repeated = { ...named("bus_1"), key: "id:a" };
  const first = { event_uuid: "0193b0a0-0000-7000-8000-000000000001", digest: "", deliveries: 1 };
  assert.deepEqual(
    planned([repeated, heir], null, new Map([["id:a", { ...first, key: "id:a" }]])),
    nobody,
    "a repetition names nothing",
  );
  const test = { test_endpoint_no: 1 };
  assert.deepEqual(planned([{ ...named("bus_9"), ...test }, { ...heir, ...test }, heir], "bus_1"), {
    businesses: ["bus_9", null, "bus_1"],
    owed: 3,
    inherited: "bus_1",
    named: "bus_1",
  });
});

Deno.test("heirs() are the subjects of real events only", () => {
  const of = (more: Partial<Offer>) => [...heirs([makeRequest([{ ...offer(null), ...more }])])];
  assert.deepEqual(of({}), ["appointment:apt_1"]);
  assert.deepEqual(of({ test_endpoint_no: 1 }), []);
});

Deno.test("planBatch() owes a test event to its endpoint alone, and to nobody once that is gone", () => {
  const at = (test_endpoint_no: number) => makeRequest([{ ...offer(null), test_endpoint_no }]);
  const fleet = fleetOf({ events: ["payment.*"] }, {});
  const { events, owed } = plan([at(1), at(9)], fleet);
  assert.deepEqual(owed.map(({ endpoint_no }) => endpoint_no), [1]);
  assert.deepEqual(events.map(({ test }) => test), [true, true]);
});

Deno.test("planBatch() answers a known key with the first event, as a duplicate", () => {
  const known = {
    event_uuid: "0193b0a0-0000-7000-8000-000000000001",
    key: "id:a",
    digest: "",
    deliveries: 3,
  };
  const request = makeRequest([offer("id:a")]);
  const { events, accepted } = planBatch(
    [request],
    new Map([["id:a", known]]),
    fleetOf({}),
    new Map(),
    uuids(),
  );
  assert.equal(events.length, 0);
  const { duplicate, deliveries, uuid } = accepted.get(request.offers[0]!)!;
  assert.deepEqual([duplicate, deliveries, uuid], [true, 3, known.event_uuid]);
});

Deno.test("conflictOf() refuses other bytes under a known key, and only those", () => {
  const request = makeRequest([offer("id:a"), offer("id:b")]);
  const known = (key: string, digest: string) =>
    new Map([[key, { event_uuid: "u", key, digest, deliveries: 0 }]]);
  assert.equal(conflictOf(request, known("id:b", request.digests[1]!)), undefined);
  assert.match(conflictOf(request, known("id:b", "other"))?.message ?? "", /"b".*event 1/);
});

Deno.test("planBatch() gives every offer one answer, and stores each key once", () => {
  const keys = fc.option(fc.constantFrom("id:a", "id:b", "id:c"), { nil: null });
  fc.assert(fc.property(fc.array(fc.array(keys, { minLength: 1, maxLength: 6 })), (lists) => {
    const waiting = lists.map((list) => makeRequest(list.map((key) => offer(key))));
    while (waiting.length > 0) {
      const batch = takeBatch(waiting, 2);
      assert.ok(batch.length > 0);
      const { events, owed, keys: stored, accepted } = plan(batch, fleetOf({}, {}));
      const offers = batch.flatMap((request) => request.offers);
      assert.ok(offers.every((one) => accepted.has(one)));
      const new_ones = offers.filter((one) => accepted.get(one)?.duplicate === false);
      assert.equal(events.length, new_ones.length);
      assert.equal(owed.length, 2 * events.length);
      assert.equal(new Set(stored.map(({ key }) => key)).size, stored.length);
      assert.deepEqual(
        stored.map(({ event_uuid, key, deliveries }) => [event_uuid, key, deliveries]),
        new_ones.filter(({ key }) => key !== null)
          .map((one) => [accepted.get(one)?.uuid, one.key, 2]),
      );
      assert.equal(new Set(events.map(({ uuid }) => uuid)).size, events.length);
    }
  }));
});
