import assert from "node:assert/strict";
import type { Offer } from "../../lib/delivery/batch.ts";
import { type BusinessCache, makeBusinessCache } from "../../lib/delivery/businesses.ts";
import type { Database } from "../../lib/store/database.ts";
import { findBusinesses, storeEvents } from "../../lib/store/events.ts";
import { endpoint } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { type Engine, offer, startEngine } from "../support/engine.ts";

const bookings = (subject: string, business: string | null, more: Partial<Offer> = {}): Offer => {
  const { event, ...rest } = offer();
  const subject_key = `appointment:${subject}`;
  return { ...rest, event: { ...event, subject, subject_key, business }, ...more };
};

const finding = (cache: BusinessCache, ...subjects: string[]) => {
  const asked: string[] = [];
  const lookUp = (missing: readonly string[]) => {
    asked.push(...missing);
    return Promise.resolve(
      new Map(missing.map((one) => [one, one === "none" ? null : "looked up"])),
    );
  };
  return cache.find(new Set(subjects), lookUp).then((found) => [[...found], asked]);
};

Deno.test("makeBusinessCache() looks up all unknown subjects at once", async () => {
  const cache = makeBusinessCache(3);
  cache.remember(new Map([["a", "bus_1"]]));
  assert.deepEqual(await finding(cache, "a", "b", "none"), [
    [["a", "bus_1"], ["b", "looked up"], ["none", null]],
    ["b", "none"],
  ]);
  const [, asked] = await finding(cache, "a", "b", "none");
  assert.deepEqual(asked, ["none"], "an unknown one may be stored at any time");
  cache.forget(["b"]);
  assert.deepEqual((await finding(cache, "a", "b"))[1], ["b"]);
});

Deno.test("makeBusinessCache() keeps those seen last", async () => {
  const cache = makeBusinessCache(2);
  cache.remember(new Map([["a", "bus_1"], ["b", "bus_1"]]));
  cache.remember(new Map([["a", "bus_2"], ["c", "bus_1"]]));
  assert.deepEqual(await finding(cache, "a", "c", "b"), [
    [["a", "bus_2"], ["c", "bus_1"], ["b", "looked up"]],
    ["b"],
  ]);
});

/** The business of each of these offers, as it was stored. */
async function stored(db: Database, engine: Engine, offers: readonly Offer[]) {
  const accepted = await engine.intake.accept(offers);
  const rows = await db.admin<{ id: string; business: string | null }[]>`
    select id, business from events where id = any(${`{${
    accepted.map(({ uuid }) => uuid).join(",")
  }}`}::uuid[])`;
  const of = new Map(rows.map(({ id, business }) => [id, business]));
  return accepted.map(({ uuid }) => of.get(uuid));
}

onBoth("Intake.accept() lets events inherit their subject's business", async (database) => {
  const db = await database.open();
  {
    await using engine = await startEngine(db, {
      database: database.section,
      endpoints: [endpoint("bella", "http://127.0.0.1:9/", { businesses: ["bus_1"] })],
    });
    const inOne = [
      bookings("apt_1", null),
      bookings("apt_1", "bus_1"),
      bookings("apt_1", null),
      bookings("apt_2", null),
      bookings("apt_1", "bus_2"),
      bookings("apt_1", null),
    ];
    assert.deepEqual(
      await stored(db, engine, inOne),
      [null, "bus_1", "bus_1", null, "bus_2", "bus_2"],
      "what comes before it in the array counts",
    );
    const later = [bookings("apt_1", null), bookings("apt_1", "bus_1"), bookings("apt_1", null)];
    assert.deepEqual(await stored(db, engine, later), ["bus_2", "bus_1", "bus_1"]);
    const [owed] = await engine.intake.accept([bookings("apt_1", null)]);
    assert.equal(owed?.deliveries, 1);
    const [no] = engine.fleet.endpoints.keys();
    assert.ok(no !== undefined);
    const test = { test_endpoint_no: no };
    assert.deepEqual(
      await stored(db, engine, [
        bookings("apt_1", "bus_9", test),
        bookings("apt_1", null, test),
        bookings("apt_1", null),
      ]),
      ["bus_9", null, "bus_1"],
      "test events inherit nothing, and nothing inherits from them",
    );
    const other = { ...offer().event, subject: "apt_1", subject_key: "service:apt_1" };
    assert.deepEqual(
      await stored(db, engine, [{ event: other, key: null }]),
      [null],
      "a service is no appointment",
    );
  }
  {
    await using engine = await startEngine(db, { database: database.section });
    assert.deepEqual(await stored(db, engine, [bookings("apt_1", null)]), ["bus_1"], "restarted");
  }
  await db.close();
});

onServer("Intake.accept() follows what another daemon stored since", async (database) => {
  const [here, there] = [await database.open(), await database.open()];
  {
    await using one = await startEngine(here, { database: database.section });
    await using two = await startEngine(there, { database: database.section });
    for (const business of ["bus_1", "bus_2", "bus_3"]) {
      // Each time `one` has remembered the business before.
      await two.intake.accept([bookings("apt_1", business)]);
      assert.deepEqual(await stored(here, one, [bookings("apt_1", null)]), [business]);
    }
    await one.intake.accept([bookings("apt_1", "bus_3")]);
    await two.intake.accept([bookings("apt_1", "bus_1")]);
    await one.intake.accept([bookings("apt_1", "bus_3")]);
    assert.deepEqual(await stored(there, two, [bookings("apt_1", null)]), ["bus_3"]);
    await here.admin`delete from subjects`;
    assert.deepEqual(await stored(here, one, [bookings("apt_1", null)]), [null], "nobody's");
  }
  await here.close();
  await there.close();
});

onServer(
  "Intake.accept() by several daemons at once stores one business after another",
  async (database) => {
    const dbs = [await database.open(), await database.open(), await database.open()];
    {
      await using stack = new AsyncDisposableStack();
      const engines = [];
      for (const db of dbs) {
        engines.push(stack.use(await startEngine(db, { database: database.section })));
      }
      const batches = engines.flatMap((engine, nth) =>
        Array.from({ length: 20 }, () =>
          engine.intake.accept(
            // In different orders: their rows must not wait for each other in a circle.
            [1, 2, 3].map((n) => bookings(`apt_${(n + nth) % 3}`, `bus_${nth}`))
              .concat(bookings(`apt_${nth}`, null)),
          ))
      );
      await Promise.all(batches);
      const rows = await dbs[0]!.admin`
      select count(*)::int as events, count(business)::int as known from events`;
      assert.deepEqual({ ...rows[0] }, { events: 240, known: 240 });
      const last = await findBusinesses(dbs[0]!.admin, ["appointment:apt_0"]);
      assert.match(last.get("appointment:apt_0") ?? "", /^bus_[012]$/);
    }
    for (const db of dbs) await db.close();
  },
);

onServer(
  "storeEvents() stores nothing under a business that is not the last one",
  async (database) => {
    const db = await database.open();
    const [row] = await db.admin<{ revision: string }[]>`select revision from fleet`;
    const store = (inherited: [string, string | null][], named: [string, string][] = []) =>
      storeEvents(db, [], [], row!.revision, { ms: 1, holder: 1 }, {
        subjects: { inherited: new Map(inherited), named: new Map(named) },
      });
    assert.equal(await store([["a", null]], [["a", "bus_1"], ["b", "bus_2"]]), "stored");
    assert.equal(await store([["a", null]], [["c", "bus_3"]]), "moved");
    assert.equal(await store([["a", "bus_1"], ["b", "bus_1"]], [["c", "bus_3"]]), "moved");
    assert.equal(await store([["a", "bus_1"], ["c", "bus_1"]], [["c", "bus_3"]]), "moved");
    assert.equal(await store([["a", "bus_1"], ["b", "bus_2"], ["c", null]]), "stored");
    assert.deepEqual(
      [...await findBusinesses(db.admin, ["b", "c", "a"])],
      [["b", "bus_2"], ["c", null], ["a", "bus_1"]],
    );
    await db.close();
  },
);

onServer("storeEvents() notes once a day that a subject was seen", async (database) => {
  const db = await database.open();
  const [row] = await db.admin<{ revision: string }[]>`select revision from fleet`;
  const store = () =>
    storeEvents(db, [], [], row!.revision, { ms: 1, holder: 1 }, {
      subjects: { inherited: new Map(), named: new Map([["a", "bus_1"]]) },
    });
  const age = async () => {
    const [found] = await db.admin<{ days: number; place: string }[]>`
      select floor(extract(epoch from now() - seen_at) / 86400)::int as days, ctid::text as place
      from subjects`;
    return found;
  };
  await store();
  const before = await age();
  await store();
  assert.deepEqual(await age(), before, "not written again");
  await db.admin`update subjects set seen_at = now() - interval '25 hours'`;
  assert.equal((await age())?.days, 1);
  await store();
  assert.equal((await age())?.days, 0);
  await db.close();
});
