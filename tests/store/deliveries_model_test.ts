/**
 * The delivery state machine, as the statements of lib/store have it, against a small model: random
 * interleavings of what several workers and people do, on a real server. Time passes by moving what is
 * due and what is leased; nothing waits.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { deliveryUuid, makeEventIds } from "../../lib/core/ids.ts";
import { decide, MAX_INTERRUPTIONS } from "../../lib/core/retry.ts";
import { claimProbes } from "../../lib/store/auto_pause.ts";
import type { Change } from "../../lib/store/changes.ts";
import type { Database } from "../../lib/store/database.ts";
import { cancel, findExpired, findFloors, retryNow } from "../../lib/store/deliveries.ts";
import { claim, type Claimed, firstLease, type Lease, release } from "../../lib/store/claims.ts";
import { record } from "../../lib/store/results.ts";
import { loadFleet } from "../../lib/store/endpoints.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { serverDatabase } from "../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../support/file.ts";
import { plainOutcome } from "../support/outcome.ts";

const POLICY = [0, 600_000, 600_000];
const LEASE_MS = 600_000;
const TERM = { ms: LEASE_MS, holder: 1 };
const WORKERS = 3;

/** What a delivery must look like. */
interface Expected {
  readonly uuid: string;
  readonly endpoint_no: number;
  status: "pending" | "delivered" | "failed" | "cancelled";
  /** Of its attempts, first to last. */
  outcomes: Met[];
  counted: number;
  interruptions: number;
  token: number;
  lease: "none" | "held" | "expired";
  due: boolean;
  /** While it is leased as a probe: whether it is due otherwise; else null. */
  regular: boolean | null;
  cancelling: boolean;
}

interface Model {
  readonly deliveries: Map<string, Expected>;
}

/** What is real: the database, and what workers believe to hold. */
interface Real {
  readonly db: Database;
  readonly endpoints: readonly number[];
  readonly held: Lease[][];
  readonly ids: ReturnType<typeof makeEventIds>;
}

type Command = fc.AsyncCommand<Model, Real>;

function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return {
    check: () => true,
    toString: () => name,
    async run(model, real) {
      await run(model, real);
      await compare(model, real);
    },
  };
}

// --- what workers do

/** An event for all endpoints; those of `leased` are stored as claimed by the worker already. */
function ingest(worker: number, leased: readonly boolean[]): Command {
  return command(`ingest(${worker}, [${leased}])`, async (model, { db, endpoints, held, ids }) => {
    const event_uuid = ids.next(Date.now());
    const deliveries = endpoints.map((endpoint_no, at) => ({
      uuid: deliveryUuid(event_uuid, endpoint_no),
      event_uuid,
      endpoint_no,
      wait_ms: 0,
      leased: leased[at] ?? false,
    }));
    const nothing = { business: null, subject: null, confirmation: null, trace: null };
    const event = {
      ...nothing,
      uuid: event_uuid,
      type: "booking.created",
      test: false,
      payload: "{}",
    };
    const { revision } = await loadFleet(db.admin);
    assert.equal(await storeEvents(db, [event], deliveries, "0", TERM), "stale");
    assert.equal(await storeEvents(db, [event], deliveries, revision, TERM), "stored");
    for (const { uuid, endpoint_no, leased } of deliveries) {
      const token = leased ? 1 : 0;
      const none = { counted: 0, interruptions: 0 };
      const state = {
        lease: leased ? "held" : "none",
        due: true,
        regular: null,
        cancelling: false,
      } as const;
      model.deliveries.set(uuid, {
        uuid,
        endpoint_no,
        status: "pending",
        token,
        outcomes: [],
        ...none,
        ...state,
      });
      if (leased) held[worker]?.push(firstLease({ uuid, event, endpoint_no }));
    }
  });
}

/** Several workers claim for one endpoint at the same moment. */
function claimTogether(workers: readonly number[], endpoint: number, room: number): Command {
  return command(`claim([${workers}], ${endpoint}, ${room})`, async (model, real) => {
    const endpoint_no = real.endpoints[endpoint] ?? 0;
    const open = [...model.deliveries.values()].filter((delivery) =>
      delivery.status === "pending" && delivery.endpoint_no === endpoint_no && delivery.due &&
      delivery.lease === "none" && delivery.counted < POLICY.length
    );
    const request = {
      endpoint_no,
      room,
      max_attempts: POLICY.length,
      floor: "0",
      concurrency: null,
      interval_us: null,
    };
    const claims = await Promise.all(
      workers.map((worker) => claimFor(real, worker, request)),
    );
    const uuids = claims.flat().map(({ uuid }) => uuid);
    assert.equal(new Set(uuids).size, uuids.length, "one delivery was claimed by two");
    // Alone, a worker gets all that it has room for; of several, one may pass over another's.
    if (workers.length === 1) assert.equal(uuids.length, Math.min(room, open.length));
    for (const claimed of claims.flat()) {
      const delivery = open.find(({ uuid }) => uuid === claimed.uuid);
      assert(delivery, "what is not due, leased or exhausted was claimed");
      delivery.lease = "held";
      delivery.token++;
      for (const field of ["token", "counted", "interruptions"] as const) {
        assert.equal(claimed[field], delivery[field], field);
      }
      assert.equal(claimed.attempts, delivery.outcomes.length);
    }
  });
}

/** A worker probes the automatic pause of an endpoint. Claims do not look at pauses: their callers do. */
function probeOne(worker: number, endpoint: number): Command {
  return command(`probe(${worker}, ${endpoint})`, async (model, { db, endpoints, held }) => {
    const endpoint_no = endpoints[endpoint] ?? 0;
    const open = [...model.deliveries.values()].filter((delivery) =>
      delivery.status === "pending" && delivery.endpoint_no === endpoint_no &&
      delivery.lease === "none" && !delivery.cancelling
    );
    await db.admin`
      with ended as (delete from resumptions)
      update endpoints set paused_at = now(), pause_reason = 'Failures', paused_by = 'automatic', probe_at = now()
      where no = ${endpoint_no}`;
    const [claimed, ...more] = await claimProbes(db.engine, [endpoint_no], TERM);
    assert.deepEqual([claimed !== undefined, more.length], [open.length > 0, 0]);
    if (claimed === undefined) return;
    const delivery = open.find(({ uuid }) => uuid === claimed.uuid);
    assert(delivery, "what is leased or cancelled was probed");
    assert(delivery.due || open.every(({ due }) => !due), "another was due before it");
    Object.assign(delivery, { lease: "held", due: true, regular: delivery.due });
    delivery.token++;
    for (const field of ["token", "counted", "interruptions"] as const) {
      assert.equal(claimed[field], delivery[field], field);
    }
    assert.deepEqual([claimed.attempts, claimed.probe], [delivery.outcomes.length, true]);
    held[worker]?.push(claimed);
  });
}

async function claimFor(
  { db, held }: Real,
  worker: number,
  room: Parameters<typeof claim>[1][number],
): Promise<Claimed[]> {
  const claimed = await claim(db.engine, [room], TERM);
  held[worker]?.push(...claimed);
  return claimed;
}

const OUTCOMES = ["delivered", "http_5xx", "gone", "interrupted", "timeout"] as const;
type Met = typeof OUTCOMES[number];
const STATUSES: Readonly<Record<Met, number | null>> = {
  delivered: 200,
  http_5xx: 500,
  gone: 410,
  interrupted: null,
  timeout: null,
};

/** A worker records one of its leases, which it may have lost; `again`: it forgets that it did so. */
function recordOne(worker: number, which: number, met: Met, again: boolean): Command {
  return command(`record(${worker}, ${which}, ${met}, ${again})`, async (model, real) => {
    const leases = real.held[worker] ?? [];
    const [lease] = leases.length === 0
      ? []
      : again
      ? [leases[which % leases.length]]
      : leases.splice(which % leases.length, 1);
    if (lease !== undefined) await recordAll(model, real, [lease], met);
  });
}

async function recordAll(model: Model, { db }: Real, leases: readonly Lease[], met: Met) {
  const results = leases.map((lease) => ({
    lease,
    attempt_uuid: crypto.randomUUID(),
    endpoint_version: 1,
    outcome: plainOutcome(met, STATUSES[met]),
    decision: decide(plainOutcome(met, STATUSES[met]), lease, POLICY, () => 0),
    sent: null,
    ended_at: 0,
    promise: 0,
  }));
  const { lost, going_on } = await record(db.engine, results, 0);
  for (const { lease, decision } of results) {
    const delivery = model.deliveries.get(lease.uuid);
    assert(delivery);
    const holds = delivery.status === "pending" && delivery.lease !== "none" &&
      delivery.token === lease.token;
    assert.equal(!lost.includes(lease.uuid), holds, "the token decides who may write");
    if (!holds) continue;
    assert.equal(lease.probe, delivery.regular !== null, "a lease knows whether it is a probe");
    delivery.outcomes.push(met);
    if (decision.counts) delivery.counted++;
    else if (decision.verdict !== "kept") delivery.interruptions++;
    if (decision.verdict === "delivered" || decision.verdict === "failed") {
      delivery.status = decision.verdict;
    } else if (delivery.cancelling) delivery.status = "cancelled";
    else if (decision.verdict === "retry") delivery.due = decision.wait_ms === 0;
    endLease(delivery);
    assert.equal(going_on.includes(lease.uuid), delivery.status === "pending");
  }
}

/** A probe is due again when it was. */
function endLease(delivery: Expected): void {
  Object.assign(delivery, { lease: "none", due: delivery.regular ?? delivery.due, regular: null });
}

function releaseOne(worker: number, which: number): Command {
  return command(`release(${worker}, ${which})`, async (model, { db, held }) => {
    const leases = held[worker] ?? [];
    const [lease] = leases.splice(which % Math.max(1, leases.length), 1);
    if (lease === undefined) return;
    await release(db.engine, [lease]);
    const delivery = model.deliveries.get(lease.uuid);
    if (delivery?.status !== "pending" || delivery.token !== lease.token) return;
    endLease(delivery);
    if (delivery.cancelling) delivery.status = "cancelled";
  });
}

/** A worker dies, or is frozen until its leases have run out and then goes on as if nothing were. */
function crash(worker: number, frozen: boolean): Command {
  return command(`${frozen ? "freeze" : "crash"}(${worker})`, async (model, { db, held }) => {
    for (const { uuid, token } of held[worker] ?? []) {
      await db.admin`
        update pending_deliveries set leased_until = now() - interval '1 s'
        where id = ${uuid}::uuid and token = ${token} and leased_until is not null`;
      const delivery = model.deliveries.get(uuid);
      if (delivery?.token === token && delivery.lease === "held") delivery.lease = "expired";
    }
    if (!frozen) held[worker] = [];
  });
}

/** What the sweep does about leases that have run out. */
function sweep(): Command {
  return command("sweep()", async (model, real) => {
    const { admin } = real.db;
    const found = await findExpired(admin, await findFloors(admin), 1_000, 0);
    const expired = found.flatMap(({ leases }) => leases);
    const expected = [...model.deliveries.values()]
      .filter(({ status, lease }) => status === "pending" && lease === "expired");
    assert.deepEqual(
      expired.map(({ uuid }) => uuid).toSorted(),
      expected.map(({ uuid }) => uuid).toSorted(),
    );
    await recordAll(model, real, expired, "interrupted");
  });
}

/** What waits has waited. */
function pass(): Command {
  return command("pass()", async (model, { db }) => {
    await db.admin`
      update pending_deliveries
      set due_at = least(due_at, now()),
        regular_due_at = case when regular_due_at > now() then now() else regular_due_at end
      where due_at > now() or regular_due_at > now()`;
    for (const delivery of model.deliveries.values()) {
      delivery.due = true;
      if (delivery.regular !== null) delivery.regular = true;
    }
  });
}

// --- what people do

function retryOne(which: number): Command {
  return command(`retry(${which})`, async (model, { db }) => {
    const delivery = anyOf(model, which);
    if (delivery === undefined) return;
    const { status, lease, due, cancelling, uuid, endpoint_no } = delivery;
    const waits = status === "pending" && lease === "none" && !due && !cancelling;
    const done = await retryNow(db.admin, uuid, BY_HAND);
    assert.equal(done, waits || status !== "pending" ? endpoint_no : undefined);
    if (done === undefined) return;
    // Another round: what counts begins anew, numbers and tokens go on.
    const round = status === "pending" ? {} : { counted: 0, interruptions: 0, cancelling: false };
    Object.assign(delivery, { status: "pending", due: true, lease: "none", ...round });
  });
}

function cancelOne(which: number): Command {
  return command(`cancel(${which})`, async (model, { db }) => {
    const delivery = anyOf(model, which);
    if (delivery === undefined) return;
    const open = delivery.status === "pending" && !delivery.cancelling;
    assert.equal((await cancel(db.admin, delivery.uuid, "By hand", BY_HAND)).found === 1, open);
    if (!open) return;
    if (delivery.lease === "none") delivery.status = "cancelled";
    else delivery.cancelling = true;
  });
}

const BY_HAND: Change = {
  actor: { name: "ops", address: null },
  action: "delivery.changed",
  object: "a delivery",
};

function anyOf({ deliveries }: Model, which: number): Expected | undefined {
  return [...deliveries.values()][which % Math.max(1, deliveries.size)];
}

// --- what must be true after each of them

async function compare({ deliveries }: Model, { db }: Real): Promise<void> {
  const rows = await db.admin<Record<string, unknown>[]>`
    select id as uuid, 'pending' as status, attempts::int, counted::int, interruptions::int, token,
      case when leased_until is null then 'none' when leased_until < now() then 'expired'
        else 'held' end as lease,
      due_at <= now() as due, regular_due_at <= now() as regular, cancel_reason is not null as cancelling,
      last_outcome as last,
      (select coalesce(json_agg(number order by number), '[]') from attempts a
        where a.delivery_id = p.id) as apart,
      (select coalesce(json_agg(outcome order by number), '[]') from attempts_all a
        where a.delivery_id = p.id) as outcomes
    from pending_deliveries p
    union all
    select id, status, attempts, null, null, token, null, null, null, null, last_outcome,
      (select coalesce(json_agg(number order by number), '[]') from attempts a
        where a.delivery_id = d.id),
      (select coalesce(json_agg(outcome order by number), '[]') from attempts_all a
        where a.delivery_id = d.id)
    from ended_deliveries d
    order by uuid`;
  const expected = [...deliveries.values()].toSorted((a, b) => a.uuid < b.uuid ? -1 : 1)
    .map(({ endpoint_no: _, ...delivery }) => ({
      ...delivery,
      ...(delivery.status === "pending" ? {} : ENDED),
      attempts: delivery.outcomes.length,
      last: delivery.outcomes.at(-1) ?? null,
      // The last attempt of a delivery that ended is in its row and nowhere else.
      apart: delivery.outcomes.map((_, at) => at + 1)
        .slice(0, delivery.status === "pending" ? undefined : -1),
    }));
  assert.deepEqual(rows.map((row) => ({ ...row })), expected);
  const known = [...deliveries.keys()];
  const [stray] = await db.admin`
    select delivery_id from attempts
    where delivery_id <> all(string_to_array(${known.join(",")}, ',')::uuid[])`;
  assert.equal(stray, undefined, "an attempt without its delivery");
  for (const { status, counted, interruptions } of deliveries.values()) {
    assert(counted <= POLICY.length && interruptions <= MAX_INTERRUPTIONS);
    if (status === "failed") assert(counted > 0);
  }
}

const ENDED = {
  counted: null,
  interruptions: null,
  lease: null,
  due: null,
  regular: null,
  cancelling: null,
};

const worker = fc.nat(WORKERS - 1);
const which = fc.nat(20);
const COMMANDS = [
  fc.tuple(worker, fc.array(fc.boolean(), { minLength: 2, maxLength: 2 })).map((a) => ingest(...a)),
  fc.tuple(fc.uniqueArray(worker, { minLength: 1 }), fc.nat(1), fc.integer({ min: 1, max: 5 }))
    .map((a) => claimTogether(...a)),
  fc.tuple(worker, fc.nat(1)).map((a) => probeOne(...a)),
  fc.tuple(worker, which, fc.constantFrom(...OUTCOMES), fc.boolean()).map((a) => recordOne(...a)),
  fc.tuple(worker, which).map((a) => releaseOne(...a)),
  fc.tuple(worker, fc.boolean()).map((a) => crash(...a)),
  fc.constant(null).map(sweep),
  fc.constant(null).map(pass),
  which.map(retryOne),
  which.map(cancelOne),
];

Deno.test("claim(), claimProbes(), record(), release(), cancel(), retryNow() and the sweep keep to the model", async () => {
  await using database = await serverDatabase();
  const db = await database.open();
  try {
    const settings = { ...PLAIN_SETTINGS, timeout_ms: 1_000, retry_ms: POLICY };
    const endpoint = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null, settings };
    await storeEndpoints(db, ["a", "b"].map((id) => ({ id, ...endpoint })));
    const { endpoints } = await loadFleet(db.admin);
    const run = async (commands: Iterable<Command>) => {
      await db.admin`truncate pending_deliveries, ended_deliveries, attempts, events`;
      const real = (): Real => ({
        db,
        endpoints: endpoints.map(({ no }) => no),
        held: Array.from({ length: WORKERS }, () => []),
        ids: makeEventIds(() => Math.floor(Math.random() * 0x100000000)),
      });
      await fc.asyncModelRun(() => ({ model: { deliveries: new Map() }, real: real() }), commands);
    };
    await fc.assert(
      fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: 60, size: "max" }), run),
      { numRuns: 60, ...SEED },
    );
  } finally {
    await db.close();
  }
});

// The same runs each time, so that a failure is one of the change at hand.
const SEED = { seed: 20261124 };
