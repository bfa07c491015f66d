import assert from "node:assert/strict";
import { makeRequest, planBatch } from "../../lib/delivery/batch.ts";
import { makeEventIds } from "../../lib/core/ids.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

function planOf(engine: Engine, events: number) {
  const ids = makeEventIds(() => Math.floor(Math.random() * 2 ** 32));
  const request = makeRequest(Array.from({ length: events }, () => offer()));
  return planBatch([request], new Map(), engine.fleet, new Map(), () => ids.next(Date.now()));
}

const named = (engine: Engine, name: string) =>
  engine.signals.filter(([signal]) => signal === name).map(([, value]) => value);

onServer("Dispatcher.hold() sends what was stored as leased, without a claim", async (database) => {
  await using receiver = await startReceiver();
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    // Nothing is due, so nothing goes before it.
    await until("the first claim found nothing", () => {
      using hold = engine.dispatcher.hold(planOf(engine, 1).owed);
      return hold.deliveries[0]?.leased === true;
    });
    const plan = planOf(engine, 3);
    using hold = engine.dispatcher.hold(plan.owed);
    assert.deepEqual(hold.deliveries.map(({ leased }) => leased), [true, true, true]);
    await storeEvents(db, plan.events, hold.deliveries, plan.revision, hold.term);
    hold.start();
    await receiver.received(3);
    await until("all are recorded", () => named(engine, "recorded").length === 3);
    assert.deepEqual(named(engine, "claimed"), []);
    assert.deepEqual(
      named(engine, "recorded").map((value) => (value as { verdict: string }).verdict),
      ["delivered", "delivered", "delivered"],
    );
  }
  const [row] = await db.admin`select count(*)::int as left from pending_deliveries`;
  assert.equal(row?.left, 0);
  await db.close();
});

onServer("a disposed Hold gives its slots back", async (database) => {
  await using receiver = await startReceiver();
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      delivery: { concurrency: 4 },
      endpoints: [endpoint("crm", receiver.url)],
    });
    const countHeld = () => {
      using hold = engine.dispatcher.hold(planOf(engine, 10).owed);
      return hold.deliveries.filter(({ leased }) => leased).length;
    };
    await until("the first claim found nothing", () => countHeld() > 0);
    // Not answered yet, so three quarters of the concurrency; each time the same.
    assert.deepEqual([countHeld(), countHeld(), countHeld()], [3, 3, 3]);
  }
  await db.close();
});

onServer("Hold.lost() gives back leases that may have been stored", async (database) => {
  await using receiver = await startReceiver();
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const plan = planOf(engine, 1);
    await until("it has a slot", () => {
      using hold = engine.dispatcher.hold(plan.owed);
      return hold.deliveries[0]?.leased === true;
    });
    {
      using hold = engine.dispatcher.hold(plan.owed);
      const storing = storeEvents(db, plan.events, hold.deliveries, plan.revision, hold.term);
      hold.lost(storing);
      await storing;
    }
    // Nobody sent it; the poll finds it due and it is claimed.
    await receiver.received(1);
    await until("it is recorded", () => named(engine, "recorded").length === 1);
    assert.equal(named(engine, "claimed").length, 1);
  }
  await db.close();
});

onServer("an attempt is signalled once, then its record", async (database) => {
  await using receiver = await startReceiver(statuses(500, 200));
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "0s"] })],
    });
    await engine.intake.accept([offer()]);
    await until("both are recorded", () => named(engine, "recorded").length === 2);
    const outline = named(engine, "attempted").map((value) => {
      const { endpoint, outcome, status, attempt } = value as Record<string, unknown>;
      return [endpoint, outcome, status, attempt];
    });
    assert.deepEqual(outline, [["crm", "http_5xx", 500, 1], ["crm", "delivered", 200, 2]]);
    assert.deepEqual(
      named(engine, "recorded").map((value) => (value as { verdict: string }).verdict),
      ["retry", "delivered"],
    );
  }
  await db.close();
});
