import assert from "node:assert/strict";
import { endpointNames } from "../../lib/admin/names.ts";
import { getHealth } from "../../lib/admin/health.ts";
import { getEndpointHealth, getOverview } from "../../lib/admin/overview.ts";
import { rollUp } from "../../lib/store/stats.ts";
import { administer, asker } from "../support/admin.ts";
import { ADMIN, booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const ops = asker("ops", "everything");
const HOUR_MS = 3_600_000;

onServer(
  "getOverview() has the worst endpoint first, why it fails, and for how long it is tried",
  async (database) => {
    await using good = await startReceiver();
    await using bad = await startReceiver(statuses(401));
    const sections = {
      database: database.section,
      endpoints: [
        endpoint("good", good.url),
        endpoint("crm", bad.url, { retry: ["0s", "1h", "2h"] }),
        endpoint("idle", good.url, { events: ["service.updated"] }),
        endpoint("waits", good.url),
      ],
    };
    await using daemon = await startDaemon({
      ...sections,
      admin: { tokens: [{ name: "ops", token: ADMIN, role: "admin" }] },
    });
    await daemon.api("endpoints/waits/pause", ADMIN, "POST");
    await daemon.post(Array.from({ length: 6 }, () => booking("apt_1")));
    await using db = await database.open();
    const ctx = await administer(db, sections);
    const overview = await until("all attempts are recorded", async () => {
      const found = await getOverview(ctx, ops);
      return found.today.all === 12 ? found : undefined;
    });
    assert.deepEqual(
      overview.endpoints.map(({ endpoint, health }) => [endpoint.id, health]),
      [["crm", "failing"], ["waits", "paused"], ["good", "delivering"], ["idle", "unused"]],
    );
    assert.equal(overview.counts.failing, 1);
    assert.deepEqual(overview.today, { within_30s: 6, begun_in_time: 12, all: 12, sent: 12 });
    assert.deepEqual(overview.hour, { delivered: 6, all: 12 });
    assert.deepEqual(overview.waiting, { value: 12, exact: true });
    // Due, but its endpoint is paused.
    assert.ok((overview.endpoints[1]?.endpoint.overdue ?? 0) > 0);
    assert.deepEqual(overview.overdue, { value: 0, exact: true, oldest_ms: null });
    assert.equal(overview.posted, true);
    assert.deepEqual(overview.changes.length, 5);
    assert.equal(overview.changes[0]?.action, "endpoint.paused");
    const [crm, waits, good_one] = overview.endpoints;
    assert.ok(crm !== undefined && waits !== undefined && good_one !== undefined);
    assert.deepEqual(crm.last_failure, { outcome: "http_4xx", status: 401, cause: null });
    // An attempt an hour after the first, up to a tenth later, and the last one two hours after that.
    const ahead_ms = Date.parse(crm.first_exhausted_at ?? "") -
      Date.parse(crm.endpoint.failing_since ?? "");
    assert.ok(ahead_ms >= 3 * HOUR_MS - 1000 && ahead_ms <= 3.2 * HOUR_MS, String(ahead_ms));
    assert.equal(waits.first_exhausted_at, null);
    assert.deepEqual(crm.today, { within_30s: 0, begun_in_time: 6, all: 6, sent: 6 });
    assert.deepEqual(good_one.today, { within_30s: 6, begun_in_time: 6, all: 6, sent: 6 });
    assert.equal(overview.bars.length, 24);
    const total = (bars: readonly { delivered: number; failed: number }[]) => [
      bars.reduce((sum, bar) => sum + bar.delivered, 0),
      bars.reduce((sum, bar) => sum + bar.failed, 0),
    ];
    assert.deepEqual(total(overview.bars), [6, 6]);
    assert.deepEqual(total(crm.bars), [0, 6]);

    await rollUp(db.admin);
    const health = await getHealth(ctx, ops, "crm", 72);
    assert.equal(health.length, 72);
    assert.deepEqual(total(health), [0, 6]);
    assert.deepEqual((await getEndpointHealth(ctx, ops, "crm")).health, "failing");
  },
);

onServer(
  "getOverview() counts the hour in which the last 24 hours begin, and has no bar for it",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = {
      database: database.section,
      endpoints: [endpoint("crm", receiver.url), endpoint("till", receiver.url)],
    };
    await using _daemon = await startDaemon(sections);
    await using db = await database.open();
    const ctx = await administer(db, sections);
    const hour = async () => {
      const [row] = await db.admin`select date_trunc('hour', now()) as hour`;
      return row?.hour.getTime();
    };
    const { overview, crm } = await until("all is read within an hour", async () => {
      const before = await hour();
      await db.admin`delete from attempt_stats`;
      await db.admin`
        insert into attempt_stats (span, starts_at, endpoint_no, outcome, attempts, response,
          first_attempt, delivered, promised, promised_begun, promised_delivered)
        select 'hour', date_trunc('hour', now()) - hours * interval '1 hour', no, outcome, 10,
          '[60,10]', '[20,7]', case outcome when 'delivered' then '[60,10]' else '[]' end,
          6, 5, case outcome when 'delivered' then 9 else 0 end
        from endpoints cross join unnest(array[0, 23, 24, 26]) as hours
        cross join unnest(array['delivered', 'timeout']) as outcome`;
      const found = {
        overview: await getOverview(ctx, ops),
        crm: await getEndpointHealth(ctx, ops, "crm"),
      };
      return await hour() === before ? found : undefined;
    });
    assert.deepEqual(overview.today, { within_30s: 54, begun_in_time: 60, all: 72, sent: 84 });
    assert.deepEqual(overview.endpoints.map(({ today }) => today), [
      { within_30s: 27, begun_in_time: 30, all: 36, sent: 42 },
      { within_30s: 27, begun_in_time: 30, all: 36, sent: 42 },
    ]);
    assert.deepEqual(crm.today, { within_30s: 27, begun_in_time: 30, all: 36, sent: 42 });
    for (const { bars } of overview.endpoints) {
      assert.deepEqual(
        bars.map(({ delivered, failed }) => [delivered, failed]).filter(([all]) => all !== 0),
        [[10, 10], [10, 10]],
      );
    }
    assert.equal(overview.bars.reduce((sum, { failed }) => sum + failed, 0), 40);
  },
);

onServer(
  "getOverview() and endpointNames() show a business its own endpoints only",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = {
      database: database.section,
      endpoints: [endpoint("hidden", receiver.url)],
    };
    await using db = await database.open();
    const ctx = await administer(db, sections);
    const ana = asker("ana", { business: "bus_123" });
    const overview = await getOverview(ctx, ana);
    assert.deepEqual([overview.endpoints, overview.posted, overview.changes], [[], false, []]);
    assert.deepEqual([...await endpointNames(ctx, ana)], []);
    assert.deepEqual([...await endpointNames(ctx, ops)], [["hidden", "hidden"]]);
  },
);
