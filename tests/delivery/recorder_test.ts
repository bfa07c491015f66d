import assert from "node:assert/strict";
import { makeRecorder, type Unrecorded } from "../../lib/delivery/recorder.ts";
import { interrupted } from "../../lib/delivery/attempt.ts";
import { firstLease } from "../../lib/store/claims.ts";
import { makeRequest, planBatch } from "../../lib/delivery/batch.ts";
import { makeEventIds } from "../../lib/core/ids.ts";
import { storeEvents } from "../../lib/store/events.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { offer, startEngine } from "../support/engine.ts";
import { startReceiver } from "../support/receiver.ts";

onServer("Recorder records what holds its lease, and signals what lost it", async (database) => {
  await using receiver = await startReceiver();
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    engine.dispatcher.quiesce();
    const ids = makeEventIds(() => 7);
    const { events, owed, revision } = planBatch(
      [makeRequest([offer(), offer()])],
      new Map(),
      engine.fleet,
      new Map(),
      () => ids.next(Date.now()),
    );
    const deliveries = owed.map(({ uuid, event, endpoint_no, wait_ms }) => ({
      uuid,
      event_uuid: event.uuid,
      endpoint_no,
      wait_ms,
      leased: true,
    }));
    await storeEvents(db, events, deliveries, revision, { ms: 60_000, holder: 1 });
    const recorded: [Unrecorded, boolean][] = [];
    const recorder = makeRecorder(engine.ctx, (...result) => void recorded.push(result));
    const [mine, lost] = owed.map(firstLease);
    assert.ok(mine !== undefined && lost !== undefined);
    const until = performance.now() + 60_000;
    const [crm] = engine.fleet.endpoints.values();
    recorder.add(interrupted(mine, crm, engine.ctx, until));
    recorder.add(interrupted({ ...lost, token: 99 }, crm, engine.ctx, until));
    assert.equal(recorder.backlog, 2);
    await recorder.flush(10_000);
    assert.equal(recorder.backlog, 0);
    assert.deepEqual(recorded.map(([{ lease }, goes_on]) => [lease.uuid, goes_on]), [
      [mine.uuid, true],
    ]);
    assert.deepEqual(
      engine.signals.map(([name]) => name).filter((name) => name !== "endpoints_changed"),
      ["recorded", "lease_lost"],
    );
    assert.equal(engine.log.filter(({ message }) => message === "Lease lost").length, 1);
    const rows = await db.admin`
      select leased_until is null as free, attempts from pending_deliveries order by id`;
    assert.deepEqual([...rows].map(({ free, attempts }) => [free, attempts]), [[true, 1], [
      false,
      0,
    ]]);
  }
  await db.close();
});
