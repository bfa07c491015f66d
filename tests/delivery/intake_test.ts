import assert from "node:assert/strict";
import { AppError } from "../../lib/core/errors.ts";
import { type Intake, makeIntake } from "../../lib/delivery/intake.ts";
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
  "Intake.accept() sorts ids by acceptance, also while the clock goes back",
  async (database) => {
    const db = await database.open();
    {
      await using engine = await startEngine(db, { database: database.section });
      let now_ms = 1_800_000_000_000;
      const clock = { now: () => now_ms -= 0.25, sync: () => {} };
      const intake = makeIntake({ ...engine.ctx, clock }, engine.dispatcher, engine.reload);
      const ids: string[] = [];
      for (const size of [1, 1_000, 1, 500, 1]) {
        const accepted = await intake.accept(Array.from({ length: size }, () => offer()));
        ids.push(...accepted.map(({ id }) => id));
        now_ms -= 60_000;
      }
      assert.deepEqual(ids, ids.toSorted());
      assert.equal(new Set(ids).size, 1_503);
    }
    await db.close();
  },
);

onServer(
  "Intake.accept() of two daemons with the same chance gives each event an id",
  async (database) => {
    const dbs = [await database.open(), await database.open()];
    {
      await using stack = new AsyncDisposableStack();
      const intakes: Intake[] = [];
      for (const db of dbs) {
        const engine = stack.use(await startEngine(db, { database: database.section }));
        const same = { clock: { now: () => 1_800_000_000_000, sync: () => {} }, random: () => 0.5 };
        intakes.push(makeIntake({ ...engine.ctx, ...same }, engine.dispatcher, engine.reload));
      }
      const accepted = await Promise.all(
        [1, 2, 3].flatMap((size) =>
          intakes.map((intake) => intake.accept(Array.from({ length: size }, () => offer())))
        ),
      );
      const ids = accepted.flat().map(({ id, duplicate }) => duplicate ? "duplicate" : id);
      assert.equal(new Set(ids).size, 12);
      const [row] = await dbs[0]!.admin`select count(*)::int as events from events`;
      assert.equal(row?.events, 12);
    }
    for (const db of dbs) await db.close();
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
