import assert from "node:assert/strict";
import { AppError } from "../../lib/core/errors.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { offer, startEngine } from "../support/engine.ts";
import { startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

onServer("Intake.accept() stores each key once and answers repetitions alike", async (database) => {
  await using receiver = await startReceiver();
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const { intake } = engine;
    const answers = await Promise.all(
      [["id:a"], ["id:b", "id:a"], ["id:a"]].map((keys) =>
        intake.accept(keys.map((key) => offer(key)))
      ),
    );
    // Requests at once: which of them is the first to store `id:a` is nobody's promise.
    const firsts = answers.flat().filter(({ duplicate }) => !duplicate);
    assert.equal(firsts.length, 2);
    assert.deepEqual(
      new Set(answers.flat().map(({ id }) => id)),
      new Set(firsts.map(({ id }) => id)),
    );
    assert.deepEqual(answers.flat().map(({ deliveries }) => deliveries), [1, 1, 1, 1]);
    await receiver.received(2);
    const ingested = engine.signals.filter(([name]) => name === "ingested");
    assert.deepEqual(
      ingested.map(([, value]) => (value as { duplicate: boolean }).duplicate).toSorted(),
      [false, false, true, true],
    );
  }
  await db.close();
});

onServer(
  "Intake.accept() refuses other bytes under a known key, and nothing else",
  async (database) => {
    const db = await database.open();
    {
      await using engine = await startEngine(db, { database: database.section });
      await engine.intake.accept([offer("id:a")]);
      const other = { ...offer("id:a"), digest: "f".repeat(64) };
      const [refused, accepted] = await Promise.allSettled([
        engine.intake.accept([other]),
        engine.intake.accept([offer("id:b")]),
      ]);
      assert.ok(refused.status === "rejected" && refused.reason instanceof AppError);
      assert.equal(refused.reason.code, "conflict");
      assert.ok(accepted.status === "fulfilled");
    }
    await db.close();
  },
);

onServer(
  "Intake.accept() plans again if the endpoints changed since they were read",
  async (database) => {
    await using receiver = await startReceiver();
    const db = await database.open();
    {
      await using engine = await startEngine(db, {
        database: database.section,
        endpoints: [endpoint("crm", receiver.url)],
      });
      await db.admin`update fleet set revision = revision + 1`;
      const [accepted] = await engine.intake.accept([offer()]);
      assert.equal(accepted?.deliveries, 1);
      assert.notEqual(engine.dispatcher.fleet.revision, engine.fleet.revision);
      await receiver.received(1);
      await engine.intake.settle();
      await until("it has ended", async () => {
        const [row] = await db.admin`select count(*)::int as left from pending_deliveries`;
        return row?.left === 0;
      });
    }
    await db.close();
  },
);
