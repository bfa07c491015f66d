import assert from "node:assert/strict";
import { canSend, makeLanes } from "../../lib/delivery/lanes.ts";
import type { Endpoint, Fleet } from "../../lib/delivery/fleet.ts";
import { makeSlots } from "../../lib/delivery/slots.ts";

function fleetOf(...endpoints: (Partial<Endpoint> & { no: number })[]): Omit<Fleet, "policy"> {
  const all = endpoints.map((endpoint) => ({
    id: `ep_${endpoint.no}`,
    sendable: true,
    paused: false,
    retry_ms: [0],
    concurrency: null,
    rate_limit_per_s: null,
    ...endpoint,
  })) as Endpoint[];
  const by_no = new Map(all.map((endpoint) => [endpoint.no, endpoint]));
  return { revision: "1", endpoints: by_no, match: () => [], max_timeout_ms: 1 };
}

function lanesOf(...endpoints: (Partial<Endpoint> & { no: number })[]) {
  const lanes = makeLanes(() => 1_700_000_000_000);
  lanes.use(fleetOf(...endpoints));
  for (const { no } of endpoints) lanes.get(no)!.answered = true;
  return lanes;
}

const roomsOf = (lanes: ReturnType<typeof makeLanes>, free: number, doubtful = free) =>
  lanes.rooms(free, doubtful).map(({ endpoint_no, room }) => [endpoint_no, room]);

Deno.test("Lanes.rooms() never gives out more than is free, nor more than a lane's cap", () => {
  const lanes = lanesOf({ no: 1 }, { no: 2 }, { no: 3 });
  const rooms = roomsOf(lanes, 20);
  assert.equal(rooms.reduce((sum, [, room]) => sum + room!, 0), 20);
  assert.ok(rooms.every(([, room]) => room! <= 8));
});

Deno.test("Lanes.rooms() lets lanes take turns", () => {
  const lanes = lanesOf({ no: 1 }, { no: 2 }, { no: 3 });
  const firsts = [1, 2, 3].map(() => roomsOf(lanes, 8)[0]?.[0]);
  assert.deepEqual(new Set(firsts), new Set([1, 2, 3]));
});

Deno.test("Lanes.rooms() asks for nothing where nothing is due, paused or unsendable", () => {
  const lanes = lanesOf({ no: 1 }, { no: 2, paused: true }, { no: 3, sendable: false }, { no: 4 });
  lanes.get(4)!.due = false;
  assert.deepEqual(roomsOf(lanes, 100), [[1, 8]]);
  assert.deepEqual(lanes.quiet().map(({ endpoint_no }) => endpoint_no), [4]);
  lanes.wake("all");
  assert.deepEqual(roomsOf(lanes, 100).map(([no]) => no).toSorted(), [1, 4]);
});

Deno.test("Lanes.rooms() keeps doubtful lanes to the doubtful room", () => {
  const lanes = lanesOf({ no: 1 }, { no: 2 });
  lanes.get(1)!.answered = false;
  const rooms = new Map(roomsOf(lanes, 16, 3) as [number, number][]);
  assert.deepEqual([rooms.get(1), rooms.get(2)], [3, 8]);
});

Deno.test("Lanes.rooms() carries an endpoint's limits and the length of its policy", () => {
  const lanes = lanesOf({ no: 1, concurrency: 2, rate_limit_per_s: 50, retry_ms: [0, 1, 2] });
  const [room] = lanes.rooms(100, 100);
  assert.deepEqual(
    [room?.room, room?.concurrency, room?.interval_us, room?.max_attempts],
    [2, 2, 20_000, 3],
  );
});

Deno.test("Lanes.use() keeps a removed endpoint's lane, closed, while it has a slot taken", () => {
  const lanes = lanesOf({ no: 1 }, { no: 2 });
  const slots = makeSlots();
  slots.take(lanes.get(1)!);
  lanes.use(fleetOf());
  assert.equal(lanes.get(2), undefined);
  assert.equal(canSend(lanes.get(1)!), false);
  slots.end(lanes.get(1)!, false, true);
  lanes.use(fleetOf());
  assert.equal(lanes.get(1), undefined);
});
