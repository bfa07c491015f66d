import assert from "node:assert/strict";
import fc from "fast-check";
import { type LaneSlots, makeSlots, newLaneSlots, setLimit } from "../../lib/delivery/slots.ts";

Deno.test("Slots.take() and end() count a lane's slots and the shared ones", () => {
  const slots = makeSlots();
  const lane = newLaneSlots(32);
  slots.take(lane);
  slots.take(lane);
  assert.deepEqual([lane.in_flight, lane.shared, slots.shared, slots.doubtful], [2, 2, 2, 2]);
  slots.end(lane, false, true);
  assert.deepEqual([lane.in_flight, lane.shared, slots.shared, slots.doubtful], [1, 1, 1, 0]);
  slots.end(lane, false, false);
  assert.deepEqual([lane.in_flight, lane.shared, slots.shared, slots.doubtful], [0, 0, 0, 0]);
});

Deno.test("Slots.slowDown() leaves the shared concurrency and halves the cap, end() restores it", () => {
  const slots = makeSlots();
  const lane = newLaneSlots(32);
  for (let i = 0; i < 3; i++) slots.take(lane);
  slots.end(lane, false, true);
  assert.equal(lane.cap, 9, "an answer in time raises it by one");
  assert.ok(slots.slowDown(lane));
  assert.deepEqual([lane.cap, lane.answered, slots.shared, slots.slow], [4, false, 1, 1]);
  slots.end(lane, true, true);
  assert.deepEqual([lane.cap, lane.answered, slots.shared, slots.slow], [8, true, 1, 0]);
});

Deno.test("Slots.hold() takes no share of the concurrency before share()", () => {
  const slots = makeSlots();
  const lane = newLaneSlots(32);
  slots.hold(lane);
  assert.deepEqual([lane.in_flight, slots.shared], [1, 0]);
  slots.share(lane);
  assert.deepEqual([lane.in_flight, slots.shared], [1, 1]);
});

Deno.test("Slots.hasRoom() keeps a quarter for lanes whose last attempt was answered", () => {
  const slots = makeSlots();
  const hanging = newLaneSlots(32);
  const healthy = { ...newLaneSlots(32), answered: true };
  for (let i = 0; i < 6; i++) slots.take(hanging);
  assert.equal(slots.hasRoom(hanging, 8), false);
  assert.equal(slots.hasRoom(healthy, 8), true);
  slots.take(healthy);
  slots.take(healthy);
  assert.equal(slots.hasRoom(healthy, 8), false);
});

Deno.test("setLimit() lowers a cap at once, and raises only how far it may grow", () => {
  const lane = newLaneSlots(32);
  setLimit(lane, 2);
  assert.deepEqual([lane.cap, lane.limit], [2, 2]);
  setLimit(lane, 50);
  assert.deepEqual([lane.cap, lane.limit], [2, 50]);
});

Deno.test("Slots.slowDown() refuses more than 1,024 slow attempts", () => {
  const slots = makeSlots();
  const lane = newLaneSlots(2_000);
  for (let i = 0; i < 1_025; i++) slots.take(lane);
  for (let i = 0; i < 1_024; i++) assert.ok(slots.slowDown(lane));
  assert.equal(slots.slowDown(lane), false);
  assert.deepEqual([slots.slow, slots.shared], [1_024, 1]);
});

/** An attempt of the naive account: every number is counted from these. */
interface Live {
  readonly lane: LaneSlots;
  state: "held" | "taken" | "slow";
}

Deno.test("Slots agrees with a recount of all live attempts after any sequence", () => {
  const step = fc.record({
    what: fc.constantFrom("take", "hold", "share", "vacate", "slow", "end", "limit"),
    lane: fc.nat(3),
    pick: fc.nat(100),
    answered: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const slots = makeSlots();
    const lanes = [1, 4, 32, 100].map(newLaneSlots);
    const live: Live[] = [];
    for (const { what, lane: at, pick, answered } of steps) {
      const lane = lanes[at]!;
      const mine = live.filter((one) => one.lane === lane);
      const find = (...states: Live["state"][]) => {
        const found = mine.filter(({ state }) => states.includes(state));
        return found[pick % Math.max(1, found.length)];
      };
      const remove = (one: Live) => live.splice(live.indexOf(one), 1);
      const [held, taken, any] = [find("held"), find("taken"), find("taken", "slow")];
      if (what === "take") {
        slots.take(lane);
        live.push({ lane, state: "taken" });
      } else if (what === "hold") {
        slots.hold(lane);
        live.push({ lane, state: "held" });
      } else if (what === "limit") setLimit(lane, 1 + pick);
      else if (what === "share" && held !== undefined) {
        slots.share(lane);
        held.state = "taken";
      } else if (what === "vacate" && taken !== undefined) {
        slots.vacate(lane);
        remove(taken);
      } else if (what === "slow" && taken !== undefined) {
        assert.ok(slots.slowDown(lane));
        taken.state = "slow";
      } else if (what === "end" && any !== undefined) {
        slots.end(lane, any.state === "slow", answered);
        assert.equal(lane.answered, answered);
        remove(any);
      }
      const count = (...states: Live["state"][]) =>
        live.filter(({ state }) => states.includes(state)).length;
      assert.equal(slots.shared, count("taken"));
      assert.equal(slots.slow, count("slow"));
      assert.equal(
        slots.doubtful,
        live.filter((one) => one.state === "taken" && !one.lane.answered).length,
      );
      for (const each of lanes) {
        const own = live.filter((one) => one.lane === each);
        assert.equal(each.in_flight, own.length);
        assert.equal(each.shared, own.filter(({ state }) => state === "taken").length);
        assert.ok(each.cap >= 1 && each.cap <= each.limit);
      }
    }
  }));
});
