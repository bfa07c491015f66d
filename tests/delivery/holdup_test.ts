import assert from "node:assert/strict";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** Waits until the endpoint's next attempt is held up for a reason that matches. */
async function heldUp(engine: Engine, id: string, expected: RegExp): Promise<void> {
  const no = [...engine.fleet.endpoints.values()].find((one) => one.id === id)?.no ?? 0;
  await until(`${id}: ${expected}`, () => {
    const holdup = engine.dispatcher.holdup(no);
    return expected.test(holdup ?? "") || Promise.reject(new Error(String(holdup)));
  });
}

onServer("Dispatcher.holdup() names the limit that holds an attempt up", async (database) => {
  const held = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => held.promise);
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [
        endpoint("many", receiver.url),
        endpoint("one", receiver.url, { concurrency: 1 }),
        endpoint("idle", receiver.url, { events: ["service.created"] }),
      ],
    });
    await engine.intake.accept(Array.from({ length: 40 }, () => offer()));
    await heldUp(
      engine,
      "many",
      /^the endpoint has \d+ under way here, as many as it may have now/,
    );
    await heldUp(
      engine,
      "one",
      /^the endpoint has 1 under way, as many as its concurrency allows$/,
    );
    const idle = [...engine.fleet.endpoints.values()].find(({ id }) => id === "idle")?.no ?? 0;
    assert.equal(engine.dispatcher.holdup(idle), null);
    held.resolve({ status: 200 });
    engine.dispatcher.quiesce();
    await heldUp(
      engine,
      "idle",
      /^this daemon is stopping; another one, or its next start, sends it$/,
    );
  }
  await db.close();
});

onServer("Dispatcher.holdup() names the daemon's own limit", async (database) => {
  const held = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => held.promise);
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      delivery: { concurrency: 1 },
      endpoints: [
        endpoint("busy", receiver.url),
        endpoint("next", receiver.url, { events: ["service.created"] }),
      ],
    });
    const asked = heldUp(
      engine,
      "next",
      /^this daemon has as many under way as delivery\.concurrency allows/,
    );
    await engine.intake.accept([offer()]);
    await asked;
    held.resolve({ status: 200 });
  }
  await db.close();
});
