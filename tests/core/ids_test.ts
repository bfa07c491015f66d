import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import fc from "fast-check";
import {
  attemptId,
  auditId,
  deliveryId,
  deliveryUuid,
  eventId,
  firstUuidAt,
  makeEventIds,
  parseAttemptId,
  parseAuditId,
  parseDeliveryId,
  parseEventId,
  parseEventOf,
} from "../../lib/core/ids.ts";

const V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const LAST_MS = 2 ** 48 - 1;

const random = () => randomInt(2 ** 32);
const time = fc.integer({ min: 0, max: LAST_MS });
const bits = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const uuid = fc.tuple(time, bits).map(([now_ms, chance]) =>
  makeEventIds(() => chance).next(now_ms)
);

Deno.test("makeEventIds() makes UUIDs of version 7 that carry the time and end in 32 zeros", () => {
  fc.assert(fc.property(time, bits, (now_ms, chance) => {
    const id = makeEventIds(() => chance).next(now_ms + 0.75);
    assert.match(id, V7);
    assert.equal(parseInt(id.replaceAll("-", "").slice(0, 12), 16), now_ms);
    assert.equal(id.slice(-8), "00000000");
  }));
});

const NOW_MS = 1_761_924_600_000;
const timeOf = (id: string) => parseInt(id.replaceAll("-", "").slice(0, 12), 16);
/** Ids of an event, one of its deliveries and one of the attempts, as shown. */
const shownOf = (id: string) => [
  eventId(id),
  deliveryId(deliveryUuid(id, 7)),
  attemptId(deliveryUuid(id, 7), 1),
];

function assertIncreasing(ids: readonly string[]): void {
  for (const [nth, id] of ids.entries()) {
    const before = ids[nth - 1];
    if (before === undefined) continue;
    assert.ok(before < id, `${before} < ${id}`);
    const [events, deliveries, attempts] = shownOf(before);
    const [event, delivery, attempt] = shownOf(id);
    assert.ok(events! < event! && deliveries! < delivery! && attempts! < attempt!);
  }
}

Deno.test("makeEventIds() increases whatever the clock and chance are", () => {
  const steps = fc.array(fc.integer({ min: -5_000, max: 3 }), { maxLength: 300 });
  fc.assert(fc.property(steps, fc.array(bits, { minLength: 1 }), (moves, chances) => {
    let now_ms = NOW_MS;
    let nth = 0;
    const ids = makeEventIds(() => chances[nth++ % chances.length]!);
    assertIncreasing(moves.map((move) => ids.next(now_ms += move / 2)));
  }));
});

Deno.test("makeEventIds() sorts a batch of one millisecond in its order", () => {
  const ids = makeEventIds(random);
  const batch = Array.from({ length: 10_000 }, () => ids.next(NOW_MS));
  assertIncreasing(batch);
  assert.equal(timeOf(batch.at(-1)!), NOW_MS);
});

Deno.test("makeEventIds() uses the next millisecond if one is full", () => {
  // The worst chance: beginning as high, and growing as fast, as possible.
  const ids = makeEventIds(() => 0xffffffff);
  const many = Array.from({ length: 70_000 }, () => ids.next(NOW_MS));
  assertIncreasing(many);
  const full = many.findIndex((id) => timeOf(id) > NOW_MS);
  assert.equal(full, 32_769);
  assert.equal(timeOf(many.at(-1)!), NOW_MS + 2);
  const behind = ids.next(NOW_MS + 1);
  assert.ok(behind > many.at(-1)!);
  assert.equal(timeOf(behind), NOW_MS + 2);
  assert.equal(timeOf(ids.next(NOW_MS + 3)), NOW_MS + 3);
});

Deno.test("makeEventIds() goes on from its last id while the clock is behind", () => {
  const ids = makeEventIds(random);
  const hour_ms = 3_600_000;
  const clock = [NOW_MS, NOW_MS - hour_ms, NOW_MS - hour_ms + 1, NOW_MS - 1, NOW_MS, NOW_MS + 1];
  const made = clock.map((now_ms) => ids.next(now_ms));
  assertIncreasing(made);
  assert.deepEqual(made.map(timeOf), [...Array(5).fill(NOW_MS), NOW_MS + 1]);
});

Deno.test("makeEventIds() leaves 26 bits of the next id to chance, and 41 in another millisecond", () => {
  const spread = (now_ms: number, chance: number) => {
    const chances = [0, 0, chance, chance];
    const ids = makeEventIds(() => chances.shift()!);
    ids.next(NOW_MS);
    const tail = ids.next(now_ms).replaceAll("-", "");
    return BigInt(`0x${tail.slice(13, 16)}`) << 30n |
      BigInt(`0x${tail.slice(16, 24)}`) & 0x3fffffffn;
  };
  assert.equal(spread(NOW_MS, 0xffffffff) - spread(NOW_MS, 0), 2n ** 26n - 1n);
  assert.equal(spread(NOW_MS + 1, 0xffffffff) - spread(NOW_MS + 1, 0), 2n ** 41n - 1n);
});

Deno.test("makeEventIds() of two processes do not meet", () => {
  const seen = new Set<string>();
  for (let process = 0; process < 2; process++) {
    const ids = makeEventIds(random);
    for (let count = 0; count < 1000; count++) seen.add(ids.next(1_761_924_600_000));
  }
  // One meeting has a probability of about 1 in 2 million.
  assert.equal(seen.size, 2000);
});

Deno.test("makeEventIds() and eventId() sort by time", () => {
  fc.assert(fc.property(time, time, bits, bits, (a_ms, b_ms, a, b) => {
    fc.pre(a_ms < b_ms);
    const earlier = makeEventIds(() => a).next(a_ms);
    const later = makeEventIds(() => b).next(b_ms);
    assert.ok(earlier < later);
    assert.ok(eventId(earlier) < eventId(later));
    assert.ok(deliveryId(deliveryUuid(earlier, 7)) < deliveryId(deliveryUuid(later, 1)));
  }));
});

Deno.test("attemptId() is another for each delivery and number", () => {
  const deliveries = [
    "0193fa00-0000-7000-8000-000000000001",
    "0193fa00-0000-7000-8000-000000000002",
  ];
  const ids = deliveries.flatMap((delivery) =>
    [1, 2, 31, 32, 33, 1024].map((n) => attemptId(delivery, n))
  );
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^att_[0-9a-hjkmnp-tv-z]{29}$/);
});

Deno.test("deliveryUuid() is its event with the endpoint in the last 32 bits", () => {
  fc.assert(fc.property(uuid, bits, bits, (event, a, b) => {
    assert.equal(deliveryUuid(event, a).slice(0, 28) + "00000000", event);
    assert.equal(deliveryUuid(event, a) === deliveryUuid(event, b), a === b);
    assert.ok(deliveryUuid(event, a) >= event);
    assert.ok(deliveryUuid(event, a) <= event.slice(0, 28) + "ffffffff");
  }));
});

Deno.test("eventId() and parseEventId() round trip", () => {
  fc.assert(fc.property(uuid, (event) => {
    const id = eventId(event);
    assert.match(id, /^evt_[0-9a-hjkmnp-tv-z]{20}$/);
    assert.equal(parseEventId(id), event);
  }));
});

Deno.test("deliveryId() and parseDeliveryId() round trip", () => {
  fc.assert(fc.property(uuid, bits, (event, endpoint_no) => {
    const delivery = deliveryUuid(event, endpoint_no);
    const id = deliveryId(delivery);
    assert.match(id, /^dlv_[0-9a-hjkmnp-tv-z]{26}$/);
    assert.equal(parseDeliveryId(id), delivery);
  }));
});

Deno.test("parseEventId() and parseDeliveryId() never read an altered id as the same", () => {
  const unit = fc.oneof(
    fc.constantFrom(..."0123456789abcdefghijklmnopqrstuvwxyz_- "),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  );
  fc.assert(fc.property(uuid, bits, fc.nat(), unit, (event, endpoint_no, place, char) => {
    const delivery = deliveryUuid(event, endpoint_no);
    const alter = (id: string) => {
      const at = place % id.length;
      return id.slice(0, at) + char + id.slice(at + 1);
    };
    const id = alter(eventId(event));
    if (id !== eventId(event)) assert.notEqual(parseEventId(id), event);
    const other = alter(deliveryId(delivery));
    if (other !== deliveryId(delivery)) assert.notEqual(parseDeliveryId(other), delivery);
  }));
});

Deno.test("parseEventId() refuses what is no event id", () => {
  const id = eventId("019a3b1c-0000-7abc-8def-012300000000");
  const refused = [
    "",
    "evt_",
    id.slice(0, -1),
    id + "0",
    ` ${id}`,
    `${id}\n`,
    id.slice(4),
    id.replace("evt_", "dlv_"),
    id.replace("evt_", "EVT_"),
    `evt_${"i".repeat(20)}`,
    `evt_${"u".repeat(20)}`,
    `evt_${"0".repeat(19)}-`,
    `evt_${"0".repeat(18)}😀`,
    // The last character stands for one bit of identifier and four of padding.
    `evt_${"0".repeat(19)}1`,
    // Kelvin and dotted capital I become letters in lower case.
    `evt_${"0".repeat(18)}\u212a0`,
    `evt_${"0".repeat(19)}\u0130`,
    deliveryId("019a3b1c-0000-7abc-8def-012300000001"),
  ];
  for (const text of refused) assert.equal(parseEventId(text), undefined, JSON.stringify(text));
});

Deno.test("parseDeliveryId() refuses what is no delivery id", () => {
  const id = deliveryId("019a3b1c-0000-7abc-8def-012300000001");
  const refused = [
    "",
    "dlv_",
    id.slice(0, -1),
    `${id}0`,
    id.replace("dlv_", "evt_"),
    id.replace("dlv_", "att_"),
    // Two bits of padding.
    `dlv_${"0".repeat(25)}1`,
    `dlv_${"0".repeat(25)}2`,
    `dlv_${"0".repeat(25)}3`,
  ];
  for (const text of refused) assert.equal(parseDeliveryId(text), undefined, JSON.stringify(text));
  assert.equal(parseDeliveryId(`dlv_${"0".repeat(25)}4`), "00000000-0000-0000-0000-000000000001");
});

Deno.test("parseEventId() takes capitals, as Crockford's base32 has it", () => {
  const event = "019a3b1c-0000-7abc-8def-012300000000";
  assert.equal(parseEventId(`evt_${eventId(event).slice(4).toUpperCase()}`), event);
});

Deno.test("parseEventOf() finds the event of any id, in capitals too", () => {
  const event = "019a3b1c-0000-7abc-8def-012300000000";
  const delivery = "019a3b1c-0000-7abc-8def-012300000001";
  for (const id of [eventId(event), deliveryId(delivery), attemptId(delivery, 2)]) {
    assert.equal(parseEventOf(id), event, id);
    assert.equal(parseEventOf(id.toUpperCase()), event, id);
  }
  for (const text of ["", "EVT_", "BK7X9M2P", attemptId(delivery, 2).slice(0, -1)]) {
    assert.equal(parseEventOf(text), undefined, text);
  }
});

Deno.test("firstUuidAt() bounds the ids of a moment from below", () => {
  fc.assert(fc.property(time, bits, (now_ms, chance) => {
    const id = makeEventIds(() => chance).next(now_ms);
    assert.ok(firstUuidAt(now_ms) < id);
    assert.ok(now_ms === LAST_MS || id < firstUuidAt(now_ms + 1));
  }));
  assert.equal(firstUuidAt(-5), "00000000-0000-0000-0000-000000000000");
});

Deno.test("auditId() is read again, and nothing else is", () => {
  const uuid = "000649b9-5b3a-0000-9c3e-5f0123456789";
  assert.equal(auditId(uuid), "aud_0034keav7800171ybw0j6hb7h4");
  assert.equal(parseAuditId("aud_0034KEAV7800171ybw0j6hb7h4"), uuid);
  for (const text of ["42", "aud_", "dlv_0034keav7800171ybw0j6hb7h4", `${auditId(uuid)}0`]) {
    assert.equal(parseAuditId(text), undefined, text);
  }
});

Deno.test("parseAttemptId() reads what attemptId() makes", () => {
  const uuid = "01940000-0000-7000-8000-00000000002a";
  for (const number of [1, 31, 32, 7, 32_767]) {
    assert.deepEqual(parseAttemptId(attemptId(uuid, number)), {
      delivery_id: deliveryId(uuid),
      number,
    });
  }
  for (const id of [deliveryId(uuid), attemptId(uuid, 1).slice(0, -1), `${deliveryId(uuid)}001`]) {
    assert.equal(parseAttemptId(id), undefined);
  }
});
