import assert from "node:assert/strict";
import type { AdminContext } from "../../lib/admin/context.ts";
import * as endpoints from "../../lib/admin/endpoints.ts";
import { getEvent, listEvents } from "../../lib/admin/events.ts";
import { deliveryId, deliveryUuid, parseEventId } from "../../lib/core/ids.ts";
import type { EndpointFields } from "../../lib/store/endpoints.ts";
import { administer, asker } from "../support/admin.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { PLAIN_SETTINGS, storeEndpoints } from "../support/file.ts";

const ops = asker("ops", "everything");
const URL = "https://example.com/hook";

/** Stores an event as the endpoints are now. */
async function post(
  ctx: AdminContext,
  { business = null, subject = "apt_1", confirmation = null }: {
    business?: string | null;
    subject?: string;
    confirmation?: string | null;
  } = {},
): Promise<string> {
  await ctx.endpoints_changed();
  const event = {
    payload: "{}",
    type: "booking.created",
    business,
    subject,
    subject_key: null,
    confirmation,
  };
  const [accepted] = await ctx.accept([{ event, key: null }]);
  return accepted?.id ?? "";
}

/** The verdict on each endpoint: its state, and whether the event was owed. */
async function verdicts(ctx: AdminContext, id: string): Promise<Record<string, string>> {
  const { endpoints } = await getEvent(ctx, ops, id);
  return Object.fromEntries(
    endpoints.map(({ endpoint_id, owed, state }) => [endpoint_id, owed ? `owed: ${state}` : state]),
  );
}

function fileOf(id: string, events: string[], businesses: string[] | null = null): EndpointFields {
  return { id, url: URL, events, businesses, settings: PLAIN_SETTINGS };
}

onServer(
  "a verdict is about the endpoint as it was when the event was stored",
  async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, { database: database.section });
    // This daemon has no configuration for them, so that what they are owed waits.
    const sync = (...file: EndpointFields[]) => storeEndpoints(db, file);
    await sync(fileOf("crm", ["booking.*"]), fileOf("erp", ["service.*"]));
    const first = await post(ctx);
    await sync(fileOf("erp", ["service.*"]));
    const while_retired = await post(ctx);
    await sync(fileOf("crm", ["*"], ["bus_1"]), fileOf("erp", ["booking.created"]));
    const last = await post(ctx, { business: "bus_2" });
    const { id: made } = await endpoints.createEndpoint(ctx, ops, { url: URL, events: ["*"] });
    assert.deepEqual(await verdicts(ctx, first), {
      crm: "owed: unsendable",
      erp: "changed_later",
      [made]: "made_later",
    });
    assert.deepEqual(await verdicts(ctx, while_retired), {
      crm: "retired",
      erp: "changed_later",
      [made]: "made_later",
    });
    assert.deepEqual(await verdicts(ctx, last), {
      crm: "other_business",
      erp: "owed: unsendable",
      [made]: "made_later",
    });
    const of_made = await post(ctx, { business: "bus_1" });
    await endpoints.retireEndpoint(ctx, ops, made);
    assert.equal((await verdicts(ctx, of_made))[made], "owed: cancelled");
    assert.equal((await verdicts(ctx, first))[made], undefined, "made later and gone");
    const after = await post(ctx, { business: "bus_1" });
    assert.equal((await verdicts(ctx, after))[made], "retired");
    await sync(fileOf("crm", ["*"], ["bus_1"]));
    const unmatched = await post(ctx, { business: "bus_3" });
    assert.deepEqual(await verdicts(ctx, unmatched), {
      crm: "other_business",
      erp: "retired",
      [made]: "retired",
    });
  },
);

onServer(
  "an endpoint that changed its mind twice is explained by what it selected then",
  async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, { database: database.section });
    const make = async (events: string[]) =>
      (await endpoints.createEndpoint(ctx, ops, { url: URL, events })).id;
    const id = await make(["service.*"]);
    const event = await post(ctx);
    await endpoints.changeEndpoint(ctx, ops, id, { events: ["business.*"] });
    const { endpoints: [verdict] } = await getEvent(ctx, ops, event);
    assert.equal(
      verdict?.explanation,
      "The endpoint did not select booking.created; it selected service.*",
    );
    await endpoints.changeEndpoint(ctx, ops, id, { description: "Renamed" });
    const renamed = await post(ctx);
    await endpoints.changeEndpoint(ctx, ops, id, { url: "https://example.com/other" });
    const { endpoints: [unchanged] } = await getEvent(ctx, ops, renamed);
    assert.equal(
      unchanged?.explanation,
      "The endpoint does not select booking.created; it selects business.*",
      "a new URL changes no selection",
    );
  },
);

onServer(
  "listEvents() finds an event by its deliveries, and names what is near",
  async (database) => {
    await using db = await database.open();
    const ctx = await administer(db, {
      database: database.section,
      endpoints: [endpoint("crm", URL)],
    });
    const id = await post(ctx, { subject: "apt_789", confirmation: "BK7X9M2P" });
    await post(ctx, { subject: "apt_12", confirmation: "BKQQQQQQ", business: "bus_a" });
    const find = async (q: string, by = ops) => {
      const { data, near } = await listEvents(ctx, by, { q, limit: 10 });
      return { ids: data.map((event) => event.id), near: near?.map(({ name }) => name) };
    };
    const [row] = await db.admin<{ no: number }[]>`select no from endpoints`;
    const delivery = deliveryId(deliveryUuid(parseEventId(id) ?? "", row?.no ?? 0));
    for (const q of [id, delivery, `att_${delivery.slice(4)}001`, "BK7X9M2P", "apt_789"]) {
      assert.deepEqual(await find(q), { ids: [id], near: undefined }, q);
    }
    // One text may name events in every way.
    const also = await post(ctx, { subject: "BK7X9M2P" });
    const named = await post(ctx, { confirmation: id });
    assert.deepEqual((await find("BK7X9M2P")).ids, [also, id]);
    assert.deepEqual((await find(id)).ids, [named, id]);
    for (
      const q of [
        "bk7x9m2p",
        "BK7X9M2",
        "BK7X9M2X",
        "BK7X",
        "AK7X9M2P",
        "BK7X9MP2",
        "#BK7X9M2P",
        "9M2P",
      ]
    ) {
      assert.deepEqual(await find(q), { ids: [], near: ["BK7X9M2P"] }, q);
    }
    assert.deepEqual((await find("APT_789")).near?.[0], "apt_789");
    assert.deepEqual(await find("something else"), { ids: [], near: [] });
    assert.deepEqual(await find("%"), { ids: [], near: [] });
    assert.deepEqual(
      await find("bk7x9m2p", asker("ana", { business: "bus_a" })),
      { ids: [], near: [] },
      "nothing of others",
    );
  },
);
