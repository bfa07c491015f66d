import assert from "node:assert/strict";
import { aboutEvents, readAbout } from "../../lib/admin/about.ts";
import type { AdminContext, Asker } from "../../lib/admin/context.ts";
import { createEndpoint, retireEndpoint } from "../../lib/admin/endpoints.ts";
import { getEvent } from "../../lib/admin/events.ts";
import { search } from "../../lib/admin/search.ts";
import { attemptId, parseDeliveryId, parseEventId } from "../../lib/core/ids.ts";
import { administer, asker } from "../support/admin.ts";
import { onServer } from "../support/databases.ts";
import { sampleOf } from "../support/samples.ts";

const ops = asker("ops", "everything");
const ana = asker("ana", { business: "bus_123" });
const bob = asker("bob", { business: "bus_b" });

async function post(
  ctx: AdminContext,
  payload: string,
  subject: string,
  confirmation: string | null,
) {
  const { event } = JSON.parse(payload);
  const offer = {
    event: { payload, type: event, business: "bus_123", subject, subject_key: null, confirmation },
    key: null,
  };
  return (await ctx.accept([offer]))[0]?.id ?? "";
}

/** What a search found, by kind. */
async function found(ctx: AdminContext, by: Asker, text: string) {
  const { events, deliveries, attempt, endpoints, near } = await search(ctx, by, text);
  return {
    ...(events.length > 0 ? { events: events.map(({ id }) => id) } : {}),
    ...(deliveries.length > 0 ? { deliveries } : {}),
    ...(attempt === null ? {} : { attempt }),
    ...(endpoints.length > 0 ? { endpoints: endpoints.map(({ id }) => id) } : {}),
    ...(near.length > 0 ? { near: near.map(({ name }) => name) } : {}),
  };
}

onServer("search() finds whatever a text names, in its scope only", async (database) => {
  await using db = await database.open();
  const ctx = await administer(db, { database: database.section });
  const make = async (by: Asker, host: string, description: string) =>
    (await createEndpoint(ctx, by, { url: `https://${host}/hook`, events: ["*"], description })).id;
  const till = await make(ana, "till.example.com", "Till of Bella");
  const crm = await make(ops, "crm.example.com", "crm");
  await ctx.endpoints_changed();
  const created = await post(ctx, sampleOf("booking.created"), "apt_789", "BK7X9M2P");
  const confirmed = await post(ctx, sampleOf("booking.confirmed"), "apt_789", "BK7X9M2P");
  const { deliveries } = await getEvent(ctx, ana, created);
  const delivery = deliveries[0]?.id ?? "";
  const attempt = attemptId(parseDeliveryId(delivery) ?? "", 2);

  const both = { events: [confirmed, created] };
  assert.deepEqual(await found(ctx, ops, "BK7X9M2P"), both);
  assert.deepEqual(await found(ctx, ops, "bk7x9m2p"), both, "capitals are meant");
  assert.deepEqual(
    (await search(ctx, ana, "BK7X9M2P")).events.map(({ pending, failed }) => [pending, failed]),
    [[true, false], [true, false]],
  );
  const uuid = parseEventId(created) ?? "";
  const [moved] = await db.admin.begin(async (sql) => {
    await sql`delete from pending_deliveries where event_id = ${uuid}::uuid and endpoint_no in (
      select no from endpoints where id = ${crm})`;
    return await sql`insert into ended_deliveries (id, endpoint_no, created_at, ended_at, status, token, attempts)
      select delivery_of(${uuid}::uuid, no), no, now(), now(), 'failed', 1, 0 from endpoints
      where id = ${crm} returning id`;
  });
  assert.ok(moved !== undefined);
  const failed = async (by: Asker) =>
    (await search(ctx, by, created)).events.map((one) => one.failed);
  assert.deepEqual(await failed(ops), [true]);
  assert.deepEqual(await failed(ana), [false], "at an endpoint of somebody else");
  assert.deepEqual(await found(ctx, ops, "apt_789"), both);
  assert.deepEqual(await found(ctx, ops, created), { events: [created] });
  assert.deepEqual(await found(ctx, ops, delivery), { deliveries: [delivery] });
  assert.deepEqual(await found(ctx, ops, delivery.replace("dlv", "DLV")), {
    deliveries: [delivery],
  });
  assert.deepEqual(await found(ctx, ops, attempt), {
    attempt: { delivery_id: delivery, number: 2 },
  });
  assert.deepEqual(await found(ctx, ops, "bus_123"), { ...both, endpoints: [till] });
  assert.deepEqual(await found(ctx, ops, "https://crm.example.com/hook"), { endpoints: [crm] });
  assert.deepEqual(
    new Set((await search(ctx, ops, "EXAMPLE.com")).endpoints.map(({ id }) => id)),
    new Set([crm, till]),
  );
  assert.deepEqual(await found(ctx, ops, "till of"), { endpoints: [till] });
  assert.deepEqual(await found(ctx, ops, "il"), {}, "two letters are part of too much");
  assert.deepEqual(await found(ctx, ops, "BK7X9M2Q"), { near: ["BK7X9M2P"] });
  assert.deepEqual(await found(ctx, ops, "crn"), { near: ["crm"] });
  await retireEndpoint(ctx, ops, crm);
  assert.equal((await search(ctx, ops, crm)).endpoints[0]?.retired, true);

  assert.deepEqual(await found(ctx, ana, "BK7X9M2P"), both);
  assert.deepEqual(await found(ctx, ana, "bus_123"), { endpoints: [till] });
  assert.deepEqual(await found(ctx, ana, "crm.example.com"), {});
  for (
    const text of [
      "BK7X9M2P",
      "apt_789",
      "bus_123",
      created,
      delivery,
      attempt,
      till,
      "till",
      "BK7X9M2Q",
    ]
  ) {
    assert.deepEqual(await found(ctx, bob, text), {}, text);
  }
  const blind = { ...ops, payloads: false };
  assert.deepEqual(await found(ctx, blind, "BK7X9M2Q"), {}, "near names are parts of payloads");
});

onServer("aboutEvents() asks the event that a booking began with", async (database) => {
  await using db = await database.open();
  const ctx = await administer(db, { database: database.section });
  const lone = await post(ctx, sampleOf("booking.cancelled"), "apt_1", null);
  const created = await post(ctx, sampleOf("booking.created"), "apt_789", null);
  const confirmed = await post(ctx, sampleOf("booking.confirmed"), "apt_789", null);
  const service = await post(ctx, sampleOf("service.created"), "svc_1", null);
  const ids = [lone, created, confirmed, service];
  const booking = {
    service: "Haircut & Style",
    date: "2025-11-01",
    time: "10:00",
    business: "Bella Hair Salon",
  };
  const none = { service: null, date: null, time: null, business: null };
  const about = await aboutEvents(ctx, ana, ids);
  assert.deepEqual(about.get(created), booking);
  assert.deepEqual(about.get(confirmed), booking);
  assert.deepEqual(about.get(lone), none);
  assert.equal(typeof about.get(service)?.service, "string");
  assert.equal((await aboutEvents(ctx, bob, ids)).size, 0);
  assert.equal((await aboutEvents(ctx, { ...ops, payloads: false }, ids)).size, 0);
});

Deno.test("readAbout() believes no payload", () => {
  const none = { service: null, date: null, time: null, business: null };
  for (
    const payload of [
      null,
      "",
      "[]",
      "{",
      '{"data":1}',
      '{"data":{"appointment":{"service":{"name":7}}}}',
    ]
  ) {
    assert.deepEqual(readAbout(payload), none);
  }
  const odd = {
    appointmentDate: "tomorrow",
    startTime: "10:00:30",
    service: { name: ` ${"x".repeat(99)}` },
  };
  assert.deepEqual(readAbout(JSON.stringify({ data: { appointment: odd } })), {
    ...none,
    time: "10:00",
    service: `${"x".repeat(80)}…`,
  });
});
