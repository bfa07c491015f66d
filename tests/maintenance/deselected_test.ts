import assert from "node:assert/strict";
import fc from "fast-check";
import { matchesType, type Selection } from "../../lib/core/matching.ts";
import { deselectedDeliveries } from "../../lib/maintenance/deselected.ts";
import type { Context } from "../../lib/delivery/context.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint, type Front, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer, openUrl, server } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { travelDatabase } from "../support/travel.ts";
import { until } from "../support/wait.ts";
import { storeEndpoints } from "../support/file.ts";
import { makePartitions } from "../../lib/store/partitions.ts";
import { makeSignals } from "../../lib/observe/signals.ts";

/** Below all ids of the events here, and of the same week. */
const FIRST = "00000000-0000-7000-8000-000000000000";

const SLOW = { retry: ["0s", "1h"] };

/** Posts an event that fails once, and returns the id of its delivery to an endpoint. */
async function owe(front: Front, event: unknown, to?: string): Promise<string> {
  const { body } = await front.post(event);
  const id = await front.deliveryId(body.id, to);
  await front.delivery(id, (delivery) => delivery.attempt_count === 1);
  return id;
}

const statusOf = async (front: Front, id: string) => {
  const { body } = await front.api(`deliveries/${id}`);
  return body.cancel_reason ?? body.status;
};

onBoth("PATCH cancels what the endpoint ceases to select, and says how much", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: SLOW,
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  const path = `endpoints/${made.id}`;
  const kept = await owe(daemon, booking("apt_1", "bus_1"));
  const other = await owe(daemon, booking("apt_2", "bus_2"));
  const nobody = await owe(daemon, booking("apt_3"));
  const service = await owe(daemon, sampleOf("service.created"));
  const { body: tested } = await api.expect(200, "POST", `${path}/test`, {
    event: "service.created",
  });
  const change = async (patch: unknown, cancels: number) => {
    const { body } = await api.expect(200, "PATCH", path, patch);
    assert.deepEqual([body.cancels, body.cancels_exact], [cancels, true], JSON.stringify(patch));
  };
  await change({ events: ["booking.*", "service.created"] }, 0);
  await change({ events: ["booking.created"] }, 1);
  assert.equal(await statusOf(daemon, service), "deselected");
  const { body: cancelled } = await api.expect(200, "GET", `deliveries/${service}`);
  assert.match(cancelled.explanation, /the endpoint no longer selects it/);
  assert.equal(cancelled.attempts.length, 1, "its history stays");
  await change({ events: ["*"] }, 0);
  await change({ businesses: ["bus_1", "bus_2"] }, 1);
  await change({ businesses: ["bus_1"], events: ["booking.*"] }, 1);
  assert.deepEqual(
    await Promise.all([kept, other, nobody].map((id) => statusOf(daemon, id))),
    ["pending", "deselected", "deselected"],
  );
  assert.equal(await statusOf(daemon, tested.delivery.id), "pending", "a test is left alone");
  const { body: audit } = await api.expect(200, "GET", `audit?object=${made.id}&limit=1`);
  assert.equal(audit.data[0].after.cancels, 1);
  // Brought back by hand, it is sent although it is not selected, and no change cancels it.
  await api.expect(200, "POST", `deliveries/${service}/retry`);
  await daemon.delivery(service, (delivery) => delivery.attempt_count === 2);
  await change({ timeout_ms: 5_000 }, 0);
  assert.equal(await statusOf(daemon, service), "pending");
});

onServer(
  "a changed file cancels what it ceases to select: reload and restart",
  async (database) => {
    await using receiver = await startReceiver(statuses(500));
    const at = (more: Record<string, unknown>) =>
      startDaemon({
        database: database.section,
        delivery: SLOW,
        endpoints: [
          endpoint("crm", `${receiver.url}/crm`, more),
          endpoint("erp", `${receiver.url}/erp`),
        ],
      });
    const ids: string[] = [];
    {
      await using daemon = await at({});
      ids.push(await owe(daemon, booking("apt_1", "bus_1"), "crm"));
      ids.push(await owe(daemon, booking("apt_2", "bus_2"), "crm"));
      ids.push(await owe(daemon, sampleOf("service.created"), "crm"));
      ids.push(await owe(daemon, sampleOf("service.created"), "erp"));
      // Another daemon's start, while the first one runs.
      await using second = await at({ events: ["booking.*"] });
      assert.equal((await second.delivery(ids[2] ?? "")).cancel_reason, "deselected");
      assert.ok(second.log.some(({ endpoint, cancels }) => endpoint === "crm" && cancels === 2));
    }
    await using daemon = await at({ events: ["booking.*"], businesses: ["bus_1"] });
    assert.equal((await daemon.delivery(ids[1] ?? "")).cancel_reason, "deselected");
    assert.deepEqual(
      await Promise.all(ids.map((id) => statusOf(daemon, id))),
      ["pending", "deselected", "deselected", "pending"],
    );
  },
);

Deno.test("a delivery deselected while it is being sent ends with that attempt", async () => {
  const database = await travelDatabase(server);
  const gates = [200, 500].map((status) => ({ status, ...Promise.withResolvers<void>() }));
  await using receiver = await startReceiver(async (_, nth) => {
    const gate = gates[nth - 1];
    await gate?.promise;
    return { status: gate?.status ?? 200 };
  });
  const at = (events: string[]) =>
    startDaemon({
      database: { url: database.url },
      endpoints: [endpoint("crm", receiver.url, { events })],
    });
  await using first = await at(["*"]);
  const ids: string[] = [];
  for (let nth = 1; nth <= 2; nth++) {
    const { body } = await first.post(booking(`apt_${nth}`));
    ids.push(await first.deliveryId(body.id));
    await receiver.received(nth);
  }
  await using second = await at(["service.*"]);
  await until("both are marked", async () => {
    const { body } = await second.api("deliveries");
    return body.data.every((one: { cancelling: boolean }) => one.cancelling);
  });
  for (const gate of gates) gate.resolve();
  const ended = await Promise.all(ids.map((id) => second.delivery(id)));
  assert.deepEqual(ended.map(({ status }) => status), ["delivered", "cancelled"]);
  assert.equal(receiver.requests.length, 2);
  await first.stop();
  await second.stop();
  await database.drop();
});

Deno.test("narrowing while events are stored leaves nothing owed, and cancels nothing else", async () => {
  const database = await travelDatabase(server);
  await using receiver = await startReceiver(statuses(500));
  const sections = {
    database: { url: database.url },
    encryption_key: ENCRYPTION_KEY,
    delivery: SLOW,
  };
  const one = await startDaemon(sections);
  const two = await startDaemon(sections);
  const api = await checkedApi(two);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  const owed = { booking: 0, service: 0 };
  let posting = true;
  const post = async (front: Front, what: keyof typeof owed) => {
    while (posting) {
      const event = what === "booking" ? booking("apt_1") : JSON.parse(sampleOf("service.created"));
      const { status, body } = await front.post([event, event]);
      assert.equal(status, 202);
      for (const { deliveries } of body) owed[what] += deliveries;
    }
  };
  const load = [post(one, "booking"), post(one, "service"), post(two, "service")];
  await until("much is owed", () => owed.service > 60 && owed.booking > 30);
  await api.expect(200, "PATCH", `endpoints/${made.id}`, { events: ["booking.*"] });
  const before = owed.booking;
  await until("more is owed", () => owed.booking > before + 20);
  posting = false;
  await Promise.all(load);
  await database.forward(61_000);
  const counts = await until("nothing is marked any more", async () => {
    const { marked } = await database.row(
      "select narrowed_at is not null as marked from endpoints",
    );
    return !marked && await database.row(`
      select count(*) filter (where type like 'booking.%' and reason is null)::int as booking,
        count(*) filter (where type like 'service.%' and reason = 'deselected')::int as service,
        count(*)::int as "all"
      from (
        select event_id, cancel_reason as reason from pending_deliveries
        union all select event_of(id), reason from ended_deliveries
      ) d join events e on e.id = d.event_id`);
  });
  assert.deepEqual({ ...counts }, { ...owed, all: owed.booking + owed.service });
  await one.stop();
  await two.stop();
  await database.drop();
});

const signals = makeSignals();
const never = new AbortController().signal;

Deno.test("the sweep cancels by the selection as it is then, late events included", async () => {
  const database = await travelDatabase(server);
  {
    await using db = await openUrl(database.url);
    const sweep = async (job = deselectedDeliveries()) =>
      await job.run({ db, signals } as unknown as Context, never);
    const put = async (events: string[], businesses: string[] | null = null) => {
      const settings = { retry_ms: null, headers: [] } as never;
      const url = "http://127.0.0.1:9/";
      const [synced] = await storeEndpoints(db, [{ id: "crm", url, events, businesses, settings }]);
      return synced?.cancels;
    };
    await makePartitions(db.admin, [FIRST]);
    const store = (sql: typeof db.admin, nth: number, type: string, business: string | null) =>
      sql.unsafe(`
        with event as (
          insert into events (id, type, business, received_at, payload)
          values ('00000000-0000-7000-8000-00000000000${nth}', '${type}',
            ${business === null ? "null" : `'${business}'`}, now(), '{}')
          returning id
        )
        insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
        select id, id, (select no from endpoints), now(), now() from event`);
    const pending = async () => {
      const rows = await db.admin`
        select right(id::text, 1)::int as nth from pending_deliveries order by id`;
      return rows.map(({ nth }) => nth);
    };
    const marked = async () =>
      (await database.row("select narrowed_at is not null as it from endpoints")).it;

    await put(["*"]);
    assert.equal(await marked(), false);
    await store(db.admin, 1, "booking.created", "bus_1");
    await store(db.admin, 2, "service.created", null);
    // Widened again before the sweep came.
    assert.equal(await put(["booking.*"]), 1);
    await put(["*"]);
    assert.equal(await sweep(), 0);
    assert.equal(await marked(), true, "something may yet appear");
    // A statement that began before the change, and commits after the first pass.
    await using late = connectTo(database.url);
    await late.unsafe("begin");
    await store(late as never, 3, "service.created", null);
    assert.equal(await put(["booking.*"], ["bus_1"]), 1);
    const job = deselectedDeliveries();
    assert.equal(await sweep(job), 1);
    assert.deepEqual(await pending(), [1]);
    await late.unsafe("commit");
    assert.equal(await sweep(job), 0, "one pass at once");
    await database.forward(61_000);
    assert.equal(await sweep(job), 1, "and one when nothing more can appear");
    assert.deepEqual(await pending(), [1]);
    assert.equal(await marked(), false);
    // Held by another statement: the pass waits for it.
    await late.unsafe("begin");
    await late.unsafe("select from pending_deliveries for update");
    await put(["service.*"]);
    assert.equal(await sweep(job), 0);
    await late.unsafe("rollback");
    assert.equal(await sweep(job), 1);
    assert.deepEqual(await pending(), []);
  }
  await database.drop();
});

onServer(
  "two daemons sweep together, and one goes on where another was killed",
  async (database) => {
    await using one = await database.open();
    await using two = await database.open();
    const put = (events: string[]) => {
      const settings = { retry_ms: null, headers: [] } as never;
      const url = "http://127.0.0.1:9/";
      return storeEndpoints(one, [{ id: "crm", url, events, businesses: null, settings }]);
    };
    await put(["*"]);
    await makePartitions(one.admin, [FIRST]);
    await one.admin.unsafe(`
    with event as (
      insert into events (id, type, received_at, payload)
      select ('00000000-0000-7000-8000-' || lpad(to_hex(n << 8), 12, '0'))::uuid,
        case when n % 3 = 0 then 'booking.created' else 'service.created' end, now(), '{}'
      from generate_series(1, 9000) n
      returning id
    )
    insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
    select id, id, (select no from endpoints), now(), now() + interval '1 hour' from event`);
    const [synced] = await put(["booking.*"]);
    assert.deepEqual([synced?.cancels, synced?.cancels_exact], [6_000, true]);
    // The first daemon is killed after a step: what it had in mind is lost, the mark is not.
    const killed = new AbortController();
    const stopping = { db: { admin: one.admin }, signals };
    const first = deselectedDeliveries().run(stopping as unknown as Context, killed.signal);
    killed.abort();
    const before = await first;
    const runs = [one, two].map((db) =>
      deselectedDeliveries().run({ db, signals } as unknown as Context, never)
    );
    const counts = await Promise.all(runs);
    const rest = await deselectedDeliveries().run(
      { db: two, signals } as unknown as Context,
      never,
    );
    assert.equal(before + (counts[0] ?? 0) + (counts[1] ?? 0) + rest, 6_000, "each once");
    const [left] = await one.admin`
    select (select count(*)::int from pending_deliveries) as pending,
      (select count(*)::int from ended_deliveries where reason = 'deselected') as cancelled`;
    assert.deepEqual({ ...left }, { pending: 3_000, cancelled: 6_000 });
  },
);

onServer("selected_types() and narrows() say what matchesType() says", async (database) => {
  await using db = await database.open();
  const part = fc.constantFrom("booking", "webhooks", "a_b", "a-b", "created");
  const type = fc.array(part, { minLength: 2, maxLength: 3 }).map((parts) => parts.join("."));
  const pattern = fc.oneof(type, type.map((name) => `${name}.*`), fc.constant("*"));
  const selection = fc.record({
    events: fc.array(pattern, { minLength: 1, maxLength: 3 }),
    businesses: fc.option(fc.array(fc.constantFrom("bus_1", "bus_2"), { minLength: 1 })),
  });
  const cases = fc.sample(fc.tuple(selection, selection, type), 300);
  const rows = await db.admin<{ selected: boolean; narrowed: boolean }[]>`
    select t.type ~ selected_types(t.a) as selected, narrows(t.a, t.b, t.c, t.d) as narrowed
    from (
      select j ->> 2 as type, array(select jsonb_array_elements_text(j -> 0 -> 'events')) as a,
        array(select jsonb_array_elements_text(j -> 1 -> 'events')) as c,
        case when jsonb_typeof(j -> 0 -> 'businesses') = 'array'
          then array(select jsonb_array_elements_text(j -> 0 -> 'businesses')) end as b,
        case when jsonb_typeof(j -> 1 -> 'businesses') = 'array'
          then array(select jsonb_array_elements_text(j -> 1 -> 'businesses')) end as d
      from jsonb_array_elements(${JSON.stringify(cases)}::text::jsonb) with ordinality as c (j, nth)
      order by nth
    ) t`;
  for (const [at, [before, after, name]] of cases.entries()) {
    const about = JSON.stringify(cases[at]);
    assert.equal(rows[at]?.selected, matchesType(before.events, name), about);
    assert.equal(rows[at]?.narrowed, narrowed(before, after), about);
  }
});

function narrowed(before: Selection, after: Selection): boolean {
  const types = !before.events.every((pattern) => matchesType(after.events, pattern));
  const businesses = after.businesses !== null &&
    (before.businesses === null ||
      before.businesses.some((one) => !after.businesses?.includes(one)));
  return types || businesses;
}
