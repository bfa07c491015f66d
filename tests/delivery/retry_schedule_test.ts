import assert from "node:assert/strict";
import { booking, endpoint, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { server } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { type TravelDatabase, travelDatabase } from "../support/travel.ts";
import { sleep, until } from "../support/wait.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
/** The documentation's schedule: the wait before each attempt. */
const SCHEDULE = [0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR];

/** Runs a test with a database whose clock it can put forward. */
async function travelling(test: (database: TravelDatabase) => Promise<void>): Promise<void> {
  const database = await travelDatabase(server);
  try {
    await test(database);
  } finally {
    await database.drop();
  }
}

/** The only pending delivery. Times are milliseconds by the database's clock. */
interface Pending {
  readonly attempts: number;
  readonly counted: number;
  readonly interruptions: number;
  readonly leased: boolean;
  readonly due: number;
  readonly ended: number;
  readonly now: number;
}

function pending(database: TravelDatabase): Promise<Pending | undefined> {
  return database.row(`
    select attempts::int, counted::int, interruptions::int, leased_until is not null as leased,
      (extract(epoch from due_at) * 1000)::float8 as due,
      (extract(epoch from last_attempt_at) * 1000)::float8 as ended,
      (extract(epoch from now()) * 1000)::float8 as now
    from pending_deliveries`);
}

/** Waits until that many attempts are recorded and the delivery waits for its next one. */
function waiting(database: TravelDatabase, attempts: number): Promise<Pending> {
  return until(`${attempts} attempts are recorded`, async () => {
    const found = await pending(database);
    return found?.attempts === attempts && !found.leased ? found : undefined;
  });
}

Deno.test("only the database's now() schedules", async () => {
  const others = /\b(current_time|current_date|localtime|\w+_timestamp\(|timeofday|'now')/i;
  for (const folder of ["../../lib/store", "../../migrations"]) {
    const url = new URL(`${folder}/`, import.meta.url);
    for await (const { name, isFile } of Deno.readDir(url)) {
      // One holds the clocks against each other; the others, as two tables do, say when something was written.
      if (!isFile || ["health.ts", "stream.ts", "backup.ts"].includes(name)) continue;
      const sql = await Deno.readTextFile(new URL(name, url));
      const text = sql.replace(/^create table (changes|audit) \([^;]*;/gm, "")
        .replaceAll("clock_timestamp() - now()", ""); // how long a statement has taken
      assert.equal(others.exec(text)?.[0], undefined, `${folder}/${name}`);
    }
  }
});

Deno.test("a delivery has its seven attempts on the documented schedule", () =>
  travelling(async (database) => {
    await using receiver = await startReceiver(statuses(500));
    // Without jitter, which the daemon takes from here, each wait is known to the millisecond.
    const { random } = Math;
    Math.random = () => 0;
    await using daemon = await startDaemon({
      database: { url: database.url },
      endpoints: [endpoint("all", receiver.url)],
    });
    Math.random = random;
    const { body: event } = await daemon.post(booking("apt_1"));
    const id = await daemon.deliveryId(event.id);
    for (const [index, wait_ms] of SCHEDULE.entries()) {
      if (index === 0) continue;
      const { due, ended, now } = await waiting(database, index);
      assert.equal(Math.round(due - ended), wait_ms, `the wait before attempt ${index + 1}`);
      await database.forward(due - now - 4 * SECOND);
      await database.row("select pg_notify('bookme_webhooks', 'all')");
      await sleep(1_200); // longer than between two looks at what is due
      assert.equal(receiver.requests.length, index, `attempt ${index + 1} came before its time`);
      await database.forward(4 * SECOND);
      await receiver.received(index + 1);
    }
    const delivery = await daemon.delivery(id);
    assert.equal(delivery.status, "failed");
    assert.equal(delivery.reason, "http_5xx");
    assert.equal(delivery.attempt_count, 7);
    const { attempts } = delivery;
    assert.equal(attempts.length, 7);
    for (const [index, wait_ms] of SCHEDULE.entries()) {
      assert.equal(attempts[index].number, index + 1);
      if (index === 0) continue;
      const rest_ms = Date.parse(attempts[index].started_at) -
        Date.parse(attempts[index - 1].ended_at);
      assert.ok(rest_ms >= wait_ms - 1, `attempt ${index + 1} came ${rest_ms} ms after`);
    }
    // The receiver is told the database's time, too.
    const stamps = receiver.requests.map(({ headers }) => Number(headers["webhook-timestamp"]));
    const whole_s = (stamps[6] ?? 0) - (stamps[0] ?? 0);
    assert.ok(whole_s >= 31 * 3600 && whole_s <= 32 * 3600, `${whole_s} s`);
    await database.forward(48 * HOUR);
    await sleep(1_200);
    assert.equal(receiver.requests.length, 7, "no further attempts are made");
  }));

Deno.test("an attempt cut off by a crash is sent again and does not count", () =>
  travelling(async (database) => {
    await using receiver = await startReceiver(() => "hang");
    const sections = {
      database: { url: database.url },
      endpoints: [endpoint("all", receiver.url)],
    };
    let id: string;
    {
      await using first = await spawnDaemon(sections);
      const { body: event } = await first.post(booking("apt_1"));
      id = await first.deliveryId(event.id);
      await receiver.received(1);
      first.kill("SIGKILL");
      await first.status;
    }
    receiver.answer(statuses(500));
    await using second = await startDaemon(sections);
    await database.forward(85 * SECOND); // a lease lasts for the timeout and a minute
    await sleep(2_500); // longer than between two sweeps
    assert.equal(receiver.requests.length, 1, "the lease holds");
    assert.equal((await pending(database))?.leased, true);
    await database.forward(10 * SECOND);
    await receiver.received(2);
    const { counted, interruptions, due, ended } = await waiting(database, 2);
    assert.deepEqual({ counted, interruptions }, { counted: 1, interruptions: 1 });
    assert.ok(due - ended >= MINUTE && due - ended <= 1.1 * MINUTE + 1, `${due - ended} ms`);
    receiver.answer(statuses(200));
    await database.forward(1.1 * MINUTE);
    const delivery = await second.delivery(id);
    assert.equal(delivery.status, "delivered");
    assert.deepEqual(
      delivery.attempts.map((a: { number: number; outcome: string }) => [a.number, a.outcome]),
      [[1, "interrupted"], [2, "http_5xx"], [3, "delivered"]],
    );
    assert.equal(delivery.attempts[0].request, null, "what it sent died with it");
    const numbers = receiver.requests.map(({ headers }) => headers["x-bookme-attempt"]);
    assert.deepEqual(numbers, ["1", "2", "3"]);
  }));

Deno.test("five interrupted attempts do not count, the sixth does", () =>
  travelling(async (database) => {
    await using receiver = await startReceiver(() => "hang");
    const sections = {
      database: { url: database.url },
      endpoints: [endpoint("all", receiver.url)],
    };
    for (let nth = 1; nth <= 6; nth++) {
      await using daemon = await startDaemon(sections);
      if (nth === 1) await daemon.post(booking("apt_1"));
      await receiver.received(nth);
      void daemon.stop();
      await daemon.stop(); // the second call cuts off
      const { attempts, counted, interruptions, due, ended } = await waiting(database, nth);
      assert.deepEqual(
        { attempts, counted, interruptions },
        nth < 6
          ? { attempts: nth, counted: 0, interruptions: nth }
          : { attempts: 6, counted: 1, interruptions: 5 },
      );
      if (nth < 6) assert.equal(due, ended);
      else assert.ok(due - ended >= MINUTE, "it waits as after any other failure");
    }
  }));
