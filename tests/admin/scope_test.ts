import assert from "node:assert/strict";
import * as alerts from "../../lib/admin/alerts.ts";
import { type AuditQuery, listAudit } from "../../lib/admin/audit.ts";
import { compareAttempts } from "../../lib/admin/comparison.ts";
import { getConfig, reloadConfig } from "../../lib/admin/configuration.ts";
import type { AdminContext, Asker } from "../../lib/admin/context.ts";
import * as deliveries from "../../lib/admin/deliveries.ts";
import * as endpoints from "../../lib/admin/endpoints.ts";
import * as events from "../../lib/admin/events.ts";
import * as replays from "../../lib/admin/replays.ts";
import { checkSignature } from "../../lib/admin/signature.ts";
import { getStats } from "../../lib/admin/statistics.ts";
import { testEndpoint } from "../../lib/admin/test_event.ts";
import { AppError } from "../../lib/core/errors.ts";
import {
  deliveryId,
  deliveryUuid,
  firstUuidAt,
  parseDeliveryId,
  parseEventId,
  parseReplayId,
} from "../../lib/core/ids.ts";
import {
  claimProbes,
  failingEndpoints,
  pauseFailing,
  resumeProbed,
} from "../../lib/store/auto_pause.ts";
import type { Lease } from "../../lib/store/claims.ts";
import { openSealed } from "../../lib/store/endpoints.ts";
import { runningReplays, stepReplay } from "../../lib/store/replays.ts";
import { attemptsOf } from "../../lib/store/reports/deliveries.ts";
import { countReplay } from "../../lib/store/reports/replays.ts";
import { attemptStats } from "../../lib/store/reports/stats.ts";
import { record, type Result } from "../../lib/store/results.ts";
import { administer, asker } from "../support/admin.ts";
import { endpoint } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { until } from "../support/wait.ts";
import { plainOutcome } from "../support/outcome.ts";

const ops = asker("ops", "everything");
const ana = asker("ana", { business: "bus_a" });
const bob = asker("bob", { business: "bus_b" });

const at = (address: string, by: Asker): Asker => ({ ...by, actor: { ...by.actor, address } });

const URL = "https://example.com/hook";
const SINCE = "2026-01-01T00:00:00.000Z";
const replayOf = (endpoint?: string) => ({
  endpoint,
  status: ["cancelled" as const],
  missing: false,
  since: SINCE,
  dry_run: false,
});

/** Rejects with that code; at that place of the request, if given. */
async function refused(code: string, asked: Promise<unknown>, pointer?: string): Promise<void> {
  const error = await asked.then(() => undefined, (error) => error);
  assert.ok(error instanceof AppError, `expected ${code}, got ${error}`);
  assert.equal(error.code, code);
  if (pointer !== undefined) assert.equal(error.detail.errors?.[0]?.pointer, pointer);
}

interface House {
  readonly ctx: AdminContext;
  /** Ids of the endpoints of Ana, of Bob, and of the operator: for all businesses, for two, for Ana's. */
  readonly a: string;
  readonly b: string;
  readonly all: string;
  readonly both: string;
  readonly for_a: string;
  /** Events of each business, and of none. */
  readonly event: { readonly a: string; readonly b: string; readonly none: string };
  /** The number of an endpoint. */
  no(endpoint: string): number;
  /** The delivery of an event to an endpoint. */
  delivery(event: string, endpoint: string): string;
}

/** Two businesses with an endpoint each, four more endpoints, and an event of each kind. */
async function build(ctx: AdminContext): Promise<House> {
  const make = async (by: Asker, businesses?: string[]) => {
    const input = { url: URL, events: ["*"], ...(businesses === undefined ? {} : { businesses }) };
    return (await endpoints.createEndpoint(ctx, by, input)).id;
  };
  const a = await make(ana);
  const b = await make(bob, ["bus_b"]);
  const all = await make(ops);
  const both = await make(ops, ["bus_a", "bus_b"]);
  const for_a = await make(ops, ["bus_a"]);
  const post = async (business: string | null, confirmation: string) => {
    const event = {
      payload: "{}",
      type: "booking.created",
      business,
      subject: `of ${business}`,
      subject_key: null,
      confirmation,
    };
    const [accepted] = await ctx.accept([{ event, key: null }]);
    return accepted?.id ?? "";
  };
  const event = {
    a: await post("bus_a", "BKA"),
    b: await post("bus_b", "BKB"),
    none: await post(null, "BKN"),
  };
  const numbers = await ctx.db.admin<{ id: string; no: number }[]>`select id, no from endpoints`;
  const no = (endpoint: string) => numbers.find(({ id }) => id === endpoint)?.no ?? 0;
  const delivery = (event: string, endpoint: string) =>
    deliveryId(deliveryUuid(parseEventId(event) ?? "", no(endpoint)));
  return { ctx, a, b, all, both, for_a, event, no, delivery };
}

function onHouse(name: string, test: (house: House) => Promise<void>): void {
  onServer(name, async (database: TestDatabase) => {
    await using db = await database.open();
    const file = endpoint("file", URL, { businesses: ["bus_a"] });
    await test(
      await build(await administer(db, { database: database.section, endpoints: [file] })),
    );
  });
}

const ids = ({ data }: { readonly data: readonly { readonly id: string }[] }) =>
  data.map(({ id }) => id).toSorted();

onHouse("a business sees and changes its own endpoints only", async (house) => {
  const { ctx, a, b, all, both, for_a } = house;
  const list = async (by: Asker) =>
    ids(await endpoints.listEndpoints(ctx, by, { retired: false, limit: 10 }));
  assert.deepEqual(await list(ops), [a, b, all, both, for_a, "file"].toSorted());
  assert.deepEqual(await list(ana), [a]);
  assert.deepEqual(await list(bob), [b]);
  const own = await endpoints.getEndpoint(ctx, ana, a);
  assert.deepEqual([own.businesses, own.owner], [["bus_a"], "bus_a"]);
  assert.equal((await endpoints.getEndpoint(ctx, ops, for_a)).owner, null);
  for (const id of [b, all, both, for_a, "file"]) {
    for (
      const ask of [
        () => endpoints.getEndpoint(ctx, ana, id),
        () => endpoints.changeEndpoint(ctx, ana, id, { description: "Mine" }),
        () => endpoints.pauseEndpoint(ctx, ana, id, {}),
        () => endpoints.resumeEndpoint(ctx, ana, id),
        () => endpoints.rotateSecret(ctx, ana, id, { activate: "now", overlap: 0 }),
        () => endpoints.retireEndpoint(ctx, ana, id),
        () => testEndpoint(ctx, ana, id, { event: "booking.created" }, () => true),
      ]
    ) await refused("not_found", ask());
    const headers = { "X-BookMe-Signature": "sha256=0" };
    await refused(
      "invalid",
      checkSignature(ctx, ana, { endpoint: id, body: "", body_encoding: "utf-8", headers }),
      "/endpoint",
    );
    await refused(
      "invalid",
      endpoints.listEndpoints(ctx, ana, { retired: false, limit: 10, cursor: id }),
      "/cursor",
    );
  }
  const untouched = await endpoints.listEndpoints(ctx, ops, { retired: false, limit: 10 });
  assert.deepEqual(untouched.data.map(({ version, paused }) => [version, paused]), [
    [1, false],
    [1, false],
    [1, false],
    [1, false],
    [1, false],
    [1, false],
  ]);
});

onHouse("a delivery's id does not tell a business how many endpoints there are", async (house) => {
  const { ctx, a, b, all, both, for_a } = house;
  const RANDOM_FROM = 2 ** 30;
  assert.ok([all, both, for_a, "file"].every((id) => house.no(id) < 1_000));
  const numbers = [house.no(a), house.no(b)];
  for (let made = 0; made < 5; made++) {
    const { id } = await endpoints.createEndpoint(ctx, ana, { url: URL, events: ["*"] });
    const [row] = await ctx.db.admin<{ no: number }[]>`select no from endpoints where id = ${id}`;
    numbers.push(row?.no ?? 0);
  }
  assert.ok(numbers.every((no) => no >= RANDOM_FROM), String(numbers));
  const steps = numbers.slice(1).map((no, at) => no - (numbers[at] ?? 0));
  assert.ok(steps.some((step) => step < 0) || steps.every((step) => step > 1_000), String(steps));
  // And yet the last made comes first, over all pages.
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await endpoints.listEndpoints(ctx, ops, { retired: false, limit: 2, cursor });
    seen.push(...page.data.map(({ id }) => id));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  assert.deepEqual(seen.slice(5), [for_a, both, all, b, a, "file"]);
  assert.equal(new Set(seen).size, 11);
  const { endpoints: verdicts } = await events.getEvent(ctx, ops, house.event.a);
  assert.deepEqual(verdicts.map(({ endpoint_id }) => endpoint_id), seen.toReversed());
});

onHouse("a business's endpoints stay its own", async ({ ctx, a }) => {
  for (const businesses of [["bus_b"], ["bus_a", "bus_b"], null]) {
    const input = { url: URL, events: ["*"], businesses };
    await refused("invalid", endpoints.createEndpoint(ctx, ana, input), "/businesses");
    await refused("invalid", endpoints.changeEndpoint(ctx, ana, a, { businesses }), "/businesses");
  }
  const changed = await endpoints.changeEndpoint(ctx, ana, a, {
    businesses: ["bus_a"],
    description: "Mine",
  });
  assert.deepEqual([changed.businesses, changed.description], [["bus_a"], "Mine"]);
  // For good: its events are hers, and what it was sent stays visible to her alone.
  for (const businesses of [["bus_b"], ["bus_a", "bus_b"], null]) {
    await refused("invalid", endpoints.changeEndpoint(ctx, ops, a, { businesses }), "/businesses");
  }
});

onHouse("whoever changes a business's endpoint keeps to its rules", async ({ ctx, a, all }) => {
  const rules: [Record<string, unknown>, string][] = [
    [{ url: "http://127.0.0.1:9/" }, "/url"],
    [{ url: "https://10.1.2.3/" }, "/url"],
    [{ events: ["booking.*", "webhooks.*"] }, "/events/1"],
    [{ events: ["webhooks.alert.began"] }, "/events/0"],
    [{ businesses: null }, "/businesses"],
  ];
  for (const [change, pointer] of rules) {
    const input = { url: URL, events: ["*"], ...change };
    await refused("invalid", endpoints.createEndpoint(ctx, ana, input), pointer);
    for (const by of [ana, ops]) {
      await refused("invalid", endpoints.changeEndpoint(ctx, by, a, change), pointer);
    }
  }
  // Allowed for an operator's own endpoint.
  await endpoints.changeEndpoint(ctx, ops, all, { url: "http://127.0.0.1:9/" });
});

onHouse("of endpoints made at once, a business keeps as many as it may have", async (house) => {
  const { ctx, a } = house;
  const make = (by: Asker) => endpoints.createEndpoint(ctx, by, { url: URL, events: ["*"] });
  const made = await Promise.allSettled(Array.from({ length: 20 }, () => make(ana)));
  const ids = made.flatMap((one) => one.status === "fulfilled" ? [one.value.id] : []);
  assert.equal(ids.length, 9, "and the one that was there");
  for (const one of made) {
    if (one.status === "fulfilled") continue;
    assert.equal(one.reason.message, "A business may have 10 endpoints; delete one first");
    assert.equal(one.reason.code, "conflict");
  }
  await endpoints.pauseEndpoint(ctx, ana, a, {});
  await refused("conflict", make(ana));
  await make(bob);
  await make(ops);
  await endpoints.retireEndpoint(ctx, ana, a);
  await make(ana);
  await refused("conflict", make(ana));
  const [{ logged } = { logged: 0 }] = await ctx.db.admin<{ logged: number }[]>`
    select count(*)::int as logged from audit where action = 'endpoint.created' and actor = ${ana.actor.name}`;
  assert.equal(logged, 11, "what was refused is no change");
});

onHouse("in a business's fields env: and file: are plain text", async ({ ctx }) => {
  Deno.env.set("SCOPE_TEST_SECRET", "a-secret-of-the-operator-0123456789");
  const input = {
    url: URL,
    events: ["*"],
    secret: "env:SCOPE_TEST_SECRET-and-more",
    headers: { "X-Key": "env:SCOPE_TEST_SECRET", "X-File": "file:/etc/passwd" },
    description: "file:/etc/passwd",
  };
  const made = await endpoints.createEndpoint(ctx, ana, input);
  assert.deepEqual([made.secret, made.description], [input.secret, input.description]);
  const [row] = await ctx.db.admin<{ id: string; sealed: string }[]>`
    select id, encode(sealed, 'hex') as sealed from endpoints where id = ${made.id}`;
  assert.ok(row !== undefined);
  const { secrets, headers } = openSealed(row, ctx.seal_keys);
  assert.equal(secrets[0]?.secret, input.secret);
  assert.deepEqual(headers, input.headers);
});

onHouse("a business sees its events, and of them its own deliveries", async (house) => {
  const { ctx, a, b, event } = house;
  const list = async (by: Asker, query: { q?: string; business?: string; type?: string }) =>
    ids(await events.listEvents(ctx, by, { ...query, limit: 10 }));
  assert.deepEqual(await list(ops, {}), [event.a, event.b, event.none].toSorted());
  assert.deepEqual(await list(ana, {}), [event.a]);
  assert.deepEqual(await list(ana, { business: "bus_b" }), []);
  assert.deepEqual(await list(ana, { type: "booking.created" }), [event.a]);
  for (const q of [event.a, "BKA", "of bus_a"]) assert.deepEqual(await list(ana, { q }), [event.a]);
  for (const q of [event.b, "BKB", "of bus_b"]) assert.deepEqual(await list(ana, { q }), []);
  await refused("not_found", events.getEvent(ctx, ana, event.b));
  await refused("not_found", events.getEvent(ctx, ana, event.none));
  const own = await events.getEvent(ctx, ana, event.a);
  assert.deepEqual(own.deliveries.map(({ endpoint_id }) => endpoint_id), [a]);
  assert.deepEqual(own.endpoints.map(({ endpoint_id }) => endpoint_id), [a]);
  const whole = await events.getEvent(ctx, ops, event.a);
  assert.equal(whole.deliveries.length, 5);
  assert.equal(whole.endpoints.length, 6);
  assert.ok(whole.endpoints.some(({ endpoint_id, owed }) => endpoint_id === b && !owed));
});

onHouse("a business sees and changes its own deliveries only", async (house) => {
  const { ctx, a, b, all, both, for_a, event } = house;
  const mine = house.delivery(event.a, a);
  type Query = Partial<deliveries.DeliveryQuery>;
  const list = async (by: Asker, query: Query = {}) =>
    ids(await deliveries.listDeliveries(ctx, by, { limit: 20, ...query }));
  assert.equal((await list(ops)).length, 9);
  const status = "pending" as const;
  for (const query of [{}, { endpoint: a }, { status }, { type: "booking.created" }]) {
    assert.deepEqual(await list(ana, query), [mine]);
  }
  for (const endpoint of [b, all, both, for_a, "file"]) {
    // As if there were none.
    await refused("invalid", list(ana, { endpoint }), "/endpoint");
  }
  const others = [
    ...[all, both, for_a, "file"].map((endpoint) => [event.a, endpoint]),
    [event.b, b],
    [event.none, all],
  ];
  for (const [event = "", endpoint = ""] of others) {
    const id = house.delivery(event, endpoint);
    assert.equal((await deliveries.getDelivery(ctx, ops, id)).status, "pending");
    await refused("not_found", deliveries.getDelivery(ctx, ana, id));
    await refused("not_found", compareAttempts(ctx, ana, id, {}));
    await refused("not_found", deliveries.retryDelivery(ctx, ana, id));
    await refused("not_found", deliveries.cancelDelivery(ctx, ana, id));
    assert.equal((await deliveries.getDelivery(ctx, ops, id)).status, "pending");
  }
  const cancelled = await deliveries.cancelDelivery(ctx, ana, mine);
  assert.equal(cancelled.cancel_reason, "Cancelled by portal:ana");
  assert.deepEqual(await list(ana), [mine]);
  assert.deepEqual(await list(bob, { status: "cancelled" }), []);
  assert.equal((await deliveries.retryDelivery(ctx, ana, mine)).status, "pending");
});

onHouse("a business's list leads through its own deliveries, however many wait", async (house) => {
  const { ctx, a, event } = house;
  const MANY = 1_300;
  const content = {
    payload: "{}",
    type: "booking.created",
    subject: null,
    subject_key: null,
    confirmation: null,
  };
  // Between two of hers, there are more of others than one page reads.
  const others = Array.from({ length: MANY }, () => "bus_b");
  const own = Array.from({ length: MANY }, () => "bus_a");
  for (const businesses of [own, others, ["bus_a"]]) {
    await ctx.accept(
      businesses.map((business) => ({ event: { ...content, business }, key: null })),
    );
  }
  const known = new Set(
    (await ctx.db.admin<{ id: string }[]>`
      select delivery_of(e.id, n.no) as id from events e, endpoints n
      where e.business = 'bus_a' and (n.id = ${a} or n.no = 0)`).map(({ id }) => deliveryId(id)),
  );
  for (const query of [{}, { endpoint: a }, { status: "pending" as const }]) {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await deliveries.listDeliveries(ctx, ana, { cursor, limit: 200, ...query });
      seen.push(...page.data.map(({ id }) => id));
      cursor = page.next_cursor ?? undefined;
      if (cursor === undefined) break;
      const uuid = deliveryUuid(parseDeliveryId(cursor) ?? "", house.no(a));
      assert.ok(known.has(deliveryId(uuid)), `${cursor} leads to another's`);
    } while (cursor !== undefined);
    assert.equal(new Set(seen).size, MANY + 2);
    assert.equal(seen.length, MANY + 2);
    assert.ok(seen.every((id) => known.has(id)));
    assert.equal(seen.at(-1), house.delivery(event.a, a));
  }
  const { count } = await deliveries.listDeliveries(ctx, ana, { limit: 1, count: true });
  assert.deepEqual(count, { value: 1_000, exact: false });
});

onHouse("a page of a business's deliveries continues where the last one ended", async (house) => {
  const { ctx, event } = house;
  const first = event.a;
  for (const business of ["bus_b", "bus_a", "bus_b", "bus_a"]) {
    const content = {
      payload: "{}",
      type: "booking.created",
      subject: null,
      subject_key: null,
      confirmation: null,
    };
    await ctx.accept([{ event: { ...content, business }, key: null }]);
  }
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await deliveries.listDeliveries(ctx, ana, { cursor, limit: 1 });
    seen.push(...page.data.map(({ event_id }) => event_id));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  assert.equal(seen.length, 3);
  assert.equal(seen.at(-1), first);
});

onHouse("a business's test is its own event, whatever business its data names", async (house) => {
  const { ctx, a } = house;
  const data = { appointment: { id: "apt_1", business: { id: "bus_b" } } };
  const input = { event: "booking.created", data };
  const tested = await testEndpoint(ctx, ana, a, input, () => true);
  assert.equal(tested.delivery.test, true);
  assert.equal(tested.delivery.endpoint_id, a);
  assert.equal((await events.getEvent(ctx, ana, tested.event_id)).business, "bus_a");
  await refused("not_found", events.getEvent(ctx, bob, tested.event_id));
  // An operator's test of her endpoint, too.
  const by_ops = await testEndpoint(ctx, ops, a, input, () => true);
  assert.equal((await events.getEvent(ctx, ana, by_ops.event_id)).business, "bus_a");
});

onHouse("a business replays the deliveries of its own endpoints", async (house) => {
  const { ctx, a, b, event } = house;
  for (const [event_id, endpoint] of [[event.a, a], [event.b, b], [event.a, house.all]] as const) {
    await deliveries.cancelDelivery(ctx, ops, house.delivery(event_id, endpoint));
  }
  assert.equal((await replays.countReplay(ctx, ops, replayOf())).matched, 3);
  assert.equal((await replays.countReplay(ctx, ana, replayOf(a))).matched, 1);
  assert.equal((await replays.countReplay(ctx, ana, replayOf())).matched, 1);
  for (const endpoint of [b, house.all]) {
    await refused("invalid", replays.countReplay(ctx, ana, replayOf(endpoint)), "/endpoint");
    await refused("invalid", replays.createReplay(ctx, ana, replayOf(endpoint)), "/endpoint");
  }
  const mine = await replays.createReplay(ctx, ana, replayOf(a));
  const own = await replays.createReplay(ctx, ana, replayOf());
  const whole = await replays.createReplay(ctx, ops, replayOf());
  assert.deepEqual(
    ids(await replays.listReplays(ctx, ana, { limit: 10 })),
    [mine.id, own.id].toSorted(),
  );
  assert.deepEqual(ids(await replays.listReplays(ctx, bob, { limit: 10 })), []);
  assert.equal((await replays.listReplays(ctx, ops, { limit: 10 })).data.length, 3);
  for (const [by, id] of [[bob, mine.id], [ana, whole.id]] as const) {
    await refused("not_found", replays.getReplay(ctx, by, id));
    await refused("not_found", replays.cancelReplay(ctx, by, id));
  }
  assert.equal((await replays.cancelReplay(ctx, ana, mine.id)).state, "cancelled");
  await carryOut(ctx, own.id);
  const pending = await ctx.db.admin<{ id: string }[]>`
    select n.id from pending_deliveries p join endpoints n on n.no = p.endpoint_no
    where p.renewed_at is not null`;
  assert.deepEqual(pending.map(({ id }) => id), [a], "it takes the business's own");
  assert.equal((await replays.getReplay(ctx, ana, own.id)).replayed, 1);
  assert.equal((await replays.getReplay(ctx, ops, whole.id)).state, "running");
});

/** Carries out a replay, batch by batch. */
async function carryOut({ db: { admin } }: AdminContext, id: string): Promise<void> {
  // One of missing deliveries waits for older transactions, those of other tests included.
  const replay = await until(
    "the replay may begin",
    async () => (await runningReplays(admin)).find(({ uuid }) => uuid === parseReplayId(id)),
  );
  // Between batches it rests.
  await until("it is done", async () => (await stepReplay(admin, replay))?.state === "done");
}

onHouse("a business sends its waiting deliveries, and is owed its missing ones", async (house) => {
  const { ctx, a, event } = house;
  const waiting = { ...replayOf(), status: "pending" as const };
  // Up to now is up to the last millisecond, in which the last of them may have been stored.
  await until(
    "all of them are older than that",
    async () => (await replays.countReplay(ctx, ops, waiting)).matched === 9,
  );
  assert.equal((await replays.countReplay(ctx, ana, waiting)).matched, 1);
  await carryOut(ctx, (await replays.createReplay(ctx, ana, waiting)).id);
  const due = await ctx.db.admin<{ no: number }[]>`
    select endpoint_no as no from pending_deliveries where due_at <= now()`;
  assert.deepEqual(due.map(({ no }) => no), [house.no(a)]);
  const late = (await endpoints.createEndpoint(ctx, ana, { url: URL, events: ["*"] })).id;
  const missing = { missing: true, endpoint: late, since: SINCE, dry_run: false };
  await refused("invalid", replays.createReplay(ctx, bob, missing), "/endpoint");
  const made = await replays.createReplay(ctx, ana, missing);
  assert.equal(made.matched, 1);
  await carryOut(ctx, made.id);
  const owed = await ctx.db.admin<{ id: string }[]>`
    select shown_event(event_of(id)) as id from pending_deliveries
    where endpoint_no = ${await numberOf(ctx, late)}`;
  assert.deepEqual(owed.map(({ id }) => id), [event.a]);
});

async function numberOf({ db: { admin } }: AdminContext, id: string): Promise<number> {
  const [row] = await admin<{ no: number }[]>`select no from endpoints where id = ${id}`;
  return row?.no ?? 0;
}

onHouse("a business's statistics count its own endpoints", async ({ ctx, a, b, all }) => {
  await ctx.db.admin`
    insert into uncounted_attempts (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
    -- Outcomes 1 and 5: delivered and timeout.
    select array_agg(no), array_agg(case when id = ${a} then 1 else 5 end), array_agg(1), array_agg(1),
      array_agg(1), array_agg(0)
    from endpoints where id = any(string_to_array(${[a, b, all].join(" ")}, ' '))`;
  const stats = (by: Asker, endpoint?: string) =>
    getStats(ctx, by, { window_ms: 3_600_000, endpoint });
  const whole = await stats(ops);
  assert.deepEqual([whole.totals.attempts, whole.totals.pending], [3, 9]);
  assert.equal(whole.endpoints.length, 6);
  const own = await stats(ana);
  assert.deepEqual([own.totals.attempts, own.totals.delivered, own.totals.pending], [1, 1, 1]);
  assert.deepEqual(own.endpoints.map(({ endpoint_id }) => endpoint_id), [a]);
  assert.deepEqual((await stats(bob)).totals.failed, { timeout: 1 });
  assert.equal((await stats(ana, a)).totals.attempts, 1);
  for (const id of [b, all, "file"]) await refused("invalid", stats(ana, id), "/endpoint");
});

onHouse("the read model keeps the scope where no function has looked before", async (house) => {
  const { ctx: { db: { admin } }, b, event } = house;
  const uuid = deliveryUuid(parseEventId(event.b) ?? "", house.no(b));
  await admin`
    insert into attempts (delivery_id, number, endpoint_no, endpoint_version, started_at, ended_at,
      outcome)
    values (${uuid}::uuid, 1, ${house.no(b)}, 1, now(), now(), 'timeout')`;
  await admin`
    insert into uncounted_attempts (endpoint_nos, outcomes, numbers, durations_ms, ages_ms, lags_ms)
    values (array[${house.no(b)}::int], '{5}', '{1}', '{1}', '{1}', '{0}')`;
  await deliveries.cancelDelivery(house.ctx, ops, house.delivery(event.b, b));
  const selection = {
    statuses: ["cancelled" as const],
    missing: false,
    owner: null,
    endpoint_no: house.no(b),
    type: null,
    since: SINCE,
    until: "2099-01-01T00:00:00Z",
    first_uuid: firstUuidAt(0),
    last_uuid: firstUuidAt(Date.parse("2099-01-01T00:00:00Z")),
  };
  for (const [by, found] of [[bob, 1], [ana, 0], [ops, 1]] as const) {
    assert.equal((await attemptsOf(admin, by.scope, uuid)).length, found);
    assert.equal((await countReplay(admin, by.scope, selection, "whole")).matched.count, found);
    const { counts } = await attemptStats(admin, by.scope, 3_600_000, [house.no(b)]);
    assert.equal(counts.length, found);
  }
});

onHouse("a business sees the changes of its own endpoints", async ({ ctx, a, b }) => {
  await endpoints.pauseEndpoint(ctx, at("10.0.0.1", ana), a, {});
  await endpoints.pauseEndpoint(ctx, bob, b, {});
  await endpoints.resumeEndpoint(ctx, at("10.0.0.9", ops), a);
  const list = async (by: Asker, query: Partial<AuditQuery> = {}) =>
    (await listAudit(ctx, by, { limit: 50, ...query })).data;
  const lines = async (by: Asker, query: Partial<AuditQuery> = {}) =>
    (await list(by, query)).map(({ actor, address, action }) => `${actor} ${address} ${action}`);
  const own = await list(ana);
  assert.deepEqual(await lines(ana), [
    "operator null endpoint.resumed",
    "portal:ana 10.0.0.1 endpoint.paused",
    "portal:ana null endpoint.created",
  ]);
  assert.ok(own.every(({ object }) => object === a));
  assert.deepEqual(await list(ana, { object: b }), []);
  assert.deepEqual(await lines(ops, { actor: "ops", object: a }), [
    "ops 10.0.0.9 endpoint.resumed",
  ]);
  // Not even by guessing.
  assert.deepEqual(await list(ana, { actor: "ops" }), []);
  assert.deepEqual(await lines(ana, { actor: "operator" }), ["operator null endpoint.resumed"]);
  assert.equal((await list(ana, { actor: "portal:ana" })).length, 2);
  assert.ok((await list(ops)).length > own.length);
  // Ids sort by time, and count nothing.
  const ids = own.map(({ id }) => id);
  assert.ok(ids.every((id) => /^aud_[0-9a-z]{26}$/.test(id)), String(ids));
  assert.deepEqual(ids.toSorted().toReversed(), ids);
  assert.equal(new Set(ids.map((id) => id.slice(-10))).size, ids.length);
});

onHouse("a business sees where its own alerts went, and nobody else's", async ({ ctx, a, b }) => {
  const contacts = async (by: Asker, query: Partial<AuditQuery> = {}) =>
    (await listAudit(ctx, by, { limit: 50, action: "alert_contact.updated", ...query })).data
      .map(({ actor, object }) => `${actor} ${object}`);
  await alerts.setContact(ctx, ana, { endpoint: a, mail: null });
  await alerts.setContact(ctx, bob, { endpoint: b, mail: null });
  const [own] = await contacts(ana);
  assert.match(own ?? "", /^portal:ana bus_/);
  assert.equal((await contacts(ana)).length, 1);
  const [other] = await contacts(bob);
  assert.notEqual(other, own);
  assert.deepEqual(await contacts(ops), [other, own]);
  assert.deepEqual(await contacts(ana, { object: other?.split(" ")[1] }), []);
  const page = await listAudit(ctx, ana, { limit: 1 });
  assert.deepEqual(page.data.map(({ action }) => action), ["alert_contact.updated"]);
  const next = await listAudit(ctx, ana, { limit: 1, cursor: page.next_cursor ?? "" });
  assert.deepEqual(next.data.map(({ action }) => action), ["endpoint.created"]);
});

onHouse("a business reads of an automatic pause of its endpoint, and of its end", async (house) => {
  const { ctx, a, event } = house;
  const { db } = ctx;
  const no = house.no(a);
  await db.admin`
    insert into endpoint_runs (endpoint_no, failing_since, last_failure_at, failures)
    select no, now() - interval '6 days', now(), 9 from endpoints`;
  const [failing] = (await failingEndpoints(db.admin, 5 * 86_400_000)).filter((one) =>
    one.no === no
  );
  assert.ok(failing);
  const from = failing.failing_since;
  const paused = await pauseFailing(db.admin, [{
    no,
    from,
    reason: "Nothing but failures for 6 days",
  }]);
  assert.deepEqual(paused, [a]);

  const shown = await endpoints.getEndpoint(ctx, ana, a);
  assert.deepEqual([shown.paused_by, shown.pause_reason], [
    "automatic",
    "Nothing but failures for 6 days",
  ]);
  const mine = house.delivery(event.a, a);
  const { explanation } = await deliveries.getDelivery(ctx, ana, mine);
  assert.ok(explanation.includes(`is tried at ${shown.next_probe_at} (in `), explanation);
  await refused("not_found", endpoints.getEndpoint(ctx, bob, a));
  assert.equal((await endpoints.getEndpoint(ctx, bob, house.b)).next_probe_at, null);

  await db.admin`update endpoints set probe_at = now() where no = ${no}`;
  const [lease] = await claimProbes(db.engine, [no], { ms: 60_000, holder: 1 });
  assert.ok(lease);
  assert.equal(lease.uuid, parseDeliveryId(mine));
  await record(db.engine, [deliveredNow(lease)], 0);
  assert.deepEqual({ ...await resumeProbed(db.admin, 10) }, { spread: 0, resumed: a });
  const resumed = await endpoints.getEndpoint(ctx, ana, a);
  assert.deepEqual([resumed.paused, resumed.next_probe_at], [false, null]);

  const lines = async (by: Asker) =>
    (await listAudit(ctx, by, { limit: 10 })).data
      .filter(({ action }) => action !== "endpoint.created")
      .map(({ actor, action, object }) => `${actor} ${action} ${object}`);
  assert.deepEqual(await lines(ana), [
    `operator endpoint.resumed ${a}`,
    `operator endpoint.paused ${a}`,
  ]);
  assert.deepEqual(await lines(bob), []);
  assert.deepEqual(await lines(ops), [
    `the automatic pause endpoint.resumed ${a}`,
    `the automatic pause endpoint.paused ${a}`,
  ]);
});

/** The result of a probe that was accepted. */
function deliveredNow(lease: Lease): Result {
  return {
    lease,
    endpoint_version: 1,
    outcome: plainOutcome("delivered", 200),
    decision: { verdict: "delivered", counts: true },
    sent: null,
    ended_at: 0,
    promise: 0,
  };
}

onHouse("a business reads no operator's name", async (house) => {
  const { ctx, a, event } = house;
  await endpoints.pauseEndpoint(ctx, ops, a, {});
  const { id } = await replays.createReplay(ctx, ops, replayOf(a));
  const mine = house.delivery(event.a, a);
  const waiting = await deliveries.getDelivery(ctx, ana, mine);
  assert.match(waiting.explanation, /it is paused: Paused by operator$/);
  await deliveries.cancelDelivery(ctx, ops, mine);
  const shown = [
    await endpoints.getEndpoint(ctx, ana, a),
    await deliveries.getDelivery(ctx, ana, mine),
    await events.getEvent(ctx, ana, event.a),
    await replays.getReplay(ctx, ana, id),
    await replays.listReplays(ctx, ana, { limit: 10 }),
    await listAudit(ctx, ana, { limit: 10 }),
  ];
  assert.doesNotMatch(JSON.stringify(shown), /\bops\b/);
  assert.equal((await replays.getReplay(ctx, ana, id)).created_by, "operator");
  assert.equal((await replays.getReplay(ctx, ops, id)).created_by, "ops");
  // Where no business reads it, it is there.
  await endpoints.pauseEndpoint(ctx, ops, house.all, {});
  assert.equal((await endpoints.getEndpoint(ctx, ops, house.all)).pause_reason, "Paused by ops");
  const ours = await deliveries.cancelDelivery(ctx, ops, house.delivery(event.a, house.all));
  assert.equal(ours.cancel_reason, "Cancelled by ops");
});

onHouse("a business neither sees nor reloads the configuration", async ({ ctx }) => {
  await refused("forbidden", Promise.resolve().then(() => getConfig(ctx, ana)));
  await refused("forbidden", reloadConfig(ctx, ana, { dry_run: true }));
  assert.equal(getConfig(ctx, ops)["environment"], "development");
});
