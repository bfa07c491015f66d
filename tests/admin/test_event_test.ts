import assert from "node:assert/strict";
import type { AdminContext, Asker } from "../../lib/admin/context.ts";
import { createEndpoint } from "../../lib/admin/endpoints.ts";
import { getEvent, listEvents } from "../../lib/admin/events.ts";
import { getStats } from "../../lib/admin/statistics.ts";
import { testEndpoint } from "../../lib/admin/test_event.ts";
import { administer, asker } from "../support/admin.ts";
import { onServer } from "../support/databases.ts";

const ops = asker("ops", "everything");
// Its name has what `replace` reads as a pattern, and what JSON escapes.
const ANA = 'bus_$&"a';
const ana = asker("ana", { business: ANA });

const SAMPLES: readonly [type: string, business: (data: never) => unknown][] = [
  ["booking.created", (data: { appointment: { business: unknown } }) => data.appointment.business],
  ["business.created", (data: { business: unknown }) => data.business],
  ["service.updated", ({ service }: { service: { businessId: unknown } }) => ({
    id: service.businessId,
  })],
];

function onServerWith(
  name: string,
  test: (
    ctx: AdminContext,
    made: { readonly owned: string; readonly ours: string },
  ) => Promise<void>,
): void {
  onServer(name, async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, { database: database.section });
    const make = async (by: Asker) => {
      const input = { url: "https://example.com/hook", events: ["*"] };
      return (await createEndpoint(ctx, by, input)).id;
    };
    await test(ctx, { owned: await make(ana), ours: await make(ops) });
  });
}

const testOf = (ctx: AdminContext, by: Asker, id: string, event: string, data?: unknown) =>
  testEndpoint(ctx, by, id, data === undefined ? { event } : { event, data }, () => true);

onServerWith(
  "a sample sent to a business's endpoint is of that business",
  async (ctx, { owned }) => {
    for (const by of [ana, ops]) {
      for (const [type, businessIn] of SAMPLES) {
        const { event_id, would_be_owed } = await testOf(ctx, by, owned, type);
        assert.equal(would_be_owed, true, type);
        const { payload, business, test } = await getEvent(ctx, ana, event_id);
        assert.deepEqual([business, test], [ANA, true], type);
        assert.doesNotMatch(payload ?? "", /bus_123/, type);
        const { data } = JSON.parse(payload ?? "") as { data: never };
        assert.equal((businessIn(data) as { id: string }).id, ANA, type);
      }
      // This one names no business; real ones inherit it.
      const { event_id, would_be_owed } = await testOf(ctx, by, owned, "booking.confirmed");
      assert.equal(would_be_owed, true);
      assert.equal((await getEvent(ctx, ana, event_id)).business, ANA);
    }
  },
);

onServerWith("a test of an operator's endpoint belongs to no business", async (ctx, { ours }) => {
  const data = { appointment: { id: "apt_1", business: { id: ANA } } };
  for (const given of [undefined, data]) {
    const { event_id } = await testOf(ctx, ops, ours, "booking.created", given);
    const { payload, business } = await getEvent(ctx, ops, event_id);
    assert.equal(business, null);
    assert.match(payload ?? "", given === undefined ? /"bus_123"/ : /"bus_\$&\\"a"/);
  }
  assert.deepEqual((await listEvents(ctx, ana, { limit: 10 })).data, []);
  const stats = await getStats(ctx, ops, { window_ms: 3_600_000 });
  assert.equal(stats.events_without_business, 0, "it counts as no event without a business");
});

onServerWith(
  "a test says whether a real event is owed, and nothing of another's appointments",
  async (ctx, { owned }) => {
    await ctx.db.admin`
      insert into subjects (key, business, seen_at) values
        ('appointment:apt_own', ${ANA}, now()), ('appointment:apt_other', 'bus_b', now())`;
    const data = (id: string, business?: string) => ({
      appointment: { id, ...(business === undefined ? {} : { business: { id: business } }) },
    });
    const verdict = async (by: Asker, ...named: [id: string, business?: string]) => {
      const { reason } = await testOf(ctx, by, owned, "booking.created", data(...named));
      return reason?.split(/[;:]/)[0] ?? null;
    };
    assert.equal(await verdict(ana, "apt_own"), null);
    assert.equal(await verdict(ana, "apt_9", ANA), null);
    const other = "The event is of the business bus_b";
    assert.equal(await verdict(ana, "apt_9", "bus_b"), other, "as its data says");
    assert.equal(await verdict(ana, "apt_other"), "No business known");
    assert.equal(await verdict(ana, "apt_never"), "No business known");
    assert.equal(await verdict(ops, "apt_other"), other);
  },
);
