import assert from "node:assert/strict";
import { type CheckedApi, checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { booking, endpoint, type Front, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { sleep, until } from "../support/wait.ts";

const HOUR_AGO = () => new Date(Date.now() - 3_600_000).toISOString();

/** Of a dry run that leaves nothing out. */
const NOTHING_ELSE = {
  left_out: {
    delivered: { value: 0, exact: true },
    without_payload: { value: 0, exact: true },
  },
  notes: [],
};

async function isIdle(api: CheckedApi): Promise<boolean> {
  return (await api.expect(200, "GET", "deliveries?status=pending&limit=1")).body.data.length === 0;
}

async function post(front: Front, count: number, from = 0): Promise<void> {
  const events = Array.from({ length: count }, (_, i) => booking(`apt_${from + i}`));
  assert.equal((await front.post(events)).status, 202);
}

async function ended(api: CheckedApi, id: string) {
  return await until("the replay has ended", async () => {
    const { body } = await api.expect(200, "GET", `replays/${id}`);
    return body.state !== "running" && body;
  });
}

onServer("POST /api/replays resends all failed deliveries and no others", async (database) => {
  await using receiver = await startReceiver(({ body }) => ({
    status: /apt_\d*[05]"/.test(body.toString()) ? 200 : 500,
  }));
  await using other = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [endpoint("crm", receiver.url), endpoint("other", other.url)],
  });
  const api = await checkedApi(daemon);
  await post(daemon, 700);
  await until("all have ended", () => isIdle(api));
  assert.equal(receiver.requests.length, 700);
  receiver.answer(statuses(200));
  const selection = { endpoint: "crm", since: HOUR_AGO() };
  const counted = await api.expect(200, "POST", "replays", { ...selection, dry_run: true });
  assert.deepEqual(counted.body, { matched: 560, matched_exact: true, ...NOTHING_ELSE });
  const none = { ...selection, type: "service.created", dry_run: true };
  assert.equal((await api.expect(200, "POST", "replays", none)).body.matched, 0);
  assert.equal(receiver.requests.length, 700, "a dry run does nothing");
  const { body: replay } = await api.expect(201, "POST", "replays", selection);
  assert.match(replay.id, /^rpl_[0-9a-z]{20}$/);
  assert.deepEqual([replay.matched, replay.status, replay.created_by], [560, ["failed"], "ops"]);
  const done = await ended(api, replay.id);
  assert.deepEqual([done.state, done.replayed], ["done", 560]);
  await receiver.received(1_260);
  await until("all have ended", () => isIdle(api));
  assert.equal(other.requests.length, 700);
  const failed = await api.expect(200, "GET", "deliveries?endpoint=crm&status=failed");
  assert.deepEqual(failed.body.data, []);
  const { body: again } = await api.expect(201, "POST", "replays", {
    ...selection,
    status: ["delivered"],
    type: "booking.created",
  });
  assert.equal((await ended(api, again.id)).replayed, 700);
  await receiver.received(1_960);
  assert.equal((await api.expect(200, "GET", "replays")).body.data[0].id, again.id);
  await api.expect(409, "POST", `replays/${again.id}/cancel`);
});

onServer("POST /api/replays does not replay what fails again", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  await post(daemon, 30);
  await until("all have ended", () => isIdle(api));
  const { body } = await api.expect(201, "POST", "replays", { since: HOUR_AGO() });
  assert.equal((await ended(api, body.id)).replayed, 30);
  await receiver.received(60);
  await until("all have ended", () => isIdle(api));
  await sleep(1_100);
  assert.equal(receiver.requests.length, 60, "each once");
});

onBoth("a replay keeps its pace, survives a restart and can be cancelled", async (database) => {
  const EVENTS = 600; // half a minute of them, in which a slow machine gets round to cancelling
  await using receiver = await startReceiver();
  const sections = {
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  };
  let id = "";
  let started = 0;
  {
    await using daemon = await startDaemon(sections);
    const api = await checkedApi(daemon);
    await post(daemon, EVENTS);
    await until("all have ended", () => isIdle(api));
    started = performance.now();
    const { body } = await api.expect(201, "POST", "replays", {
      status: ["delivered"],
      since: HOUR_AGO(),
      rate: "20/s",
    });
    id = body.id;
    await receiver.received(EVENTS + 10);
    assert.equal((await api.expect(200, "GET", `replays/${id}`)).body.state, "running");
  }
  await using daemon = await startDaemon(sections);
  const api = await checkedApi(daemon);
  await receiver.received(EVENTS + 40);
  const elapsed_s = (performance.now() - started) / 1000;
  assert.ok(elapsed_s > 1.5, `40 at 20 a second took ${elapsed_s} s`);
  const { body: cancelled } = await api.expect(200, "POST", `replays/${id}/cancel`);
  assert.equal(cancelled.state, "cancelled");
  assert.ok(cancelled.replayed >= 40 && cancelled.replayed < EVENTS);
  await until("all have ended", () => isIdle(api));
  await sleep(1_100);
  assert.equal(receiver.requests.length, EVENTS + cancelled.replayed, "each once, and no more");
  assert.equal((await api.expect(200, "POST", `replays/${id}/cancel`)).body.state, "cancelled");
});

onServer("a replay over two daemons sends each delivery once", async (database) => {
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("crm", receiver.url)] };
  await using one = await startDaemon(sections);
  await using two = await startDaemon(sections);
  const api = await checkedApi(one);
  for (let i = 0; i < 3; i++) await post(two, 1_000, i * 1_000);
  await until("all have ended", () => isIdle(api));
  const { body } = await api.expect(201, "POST", "replays", {
    status: ["delivered"],
    since: HOUR_AGO(),
  });
  assert.equal((await ended(api, body.id)).replayed, 3_000);
  await until("all have ended", () => isIdle(api));
  assert.equal(receiver.requests.length, 6_000);
});

onServer("replays over the same deliveries wait for each other", async (database) => {
  const EVENTS = 2_000;
  await using receiver = await startReceiver();
  await using other = await startReceiver();
  const sections = {
    database: database.section,
    endpoints: [endpoint("crm", receiver.url), endpoint("other", other.url)],
  };
  await using one = await startDaemon(sections);
  await using two = await startDaemon(sections);
  const api = await checkedApi(one);
  for (let from = 0; from < EVENTS; from += 1_000) await post(two, 1_000, from);
  await until("all have ended", () => isIdle(api));
  for (const id of ["crm", "other"]) {
    await api.expect(200, "POST", `endpoints/${id}/pause`, {});
  }
  // In two orders: by time, and endpoint by endpoint.
  const all = { status: ["delivered"], since: HOUR_AGO() };
  const made = await Promise.all(
    [all, { ...all, endpoint: "crm" }, { ...all, endpoint: "other" }, all].map((selection) =>
      api.expect(201, "POST", "replays", selection)
    ),
  );
  const done = await Promise.all(made.map(({ body }) => ended(api, body.id)));
  const replayed = done.map((replay) => replay.replayed);
  assert.equal(replayed.reduce((sum, one) => sum + one, 0), 2 * EVENTS, `${replayed}: each once`);
  for (const replay of done) assert.equal(replay.without_payload, 0);
  assert.deepEqual([...one.log, ...two.log].filter(({ level }) => level === "error"), []);
  for (const id of ["crm", "other"]) await api.expect(200, "POST", `endpoints/${id}/resume`);
  await receiver.received(2 * EVENTS);
  await other.received(2 * EVENTS);
  await until("all have ended", () => isIdle(api));
  assert.deepEqual([receiver.requests.length, other.requests.length], [2 * EVENTS, 2 * EVENTS]);
});

onBoth("status pending makes what waits due, as its next attempt", async (database) => {
  await using receiver = await startReceiver(statuses(503));
  await using other = await startReceiver(statuses(503));
  const sections = {
    database: database.section,
    delivery: { retry: ["0s", "1h", "1h"] },
    endpoints: [endpoint("crm", receiver.url), endpoint("other", other.url)],
  };
  const selection = { endpoint: "crm", status: "pending", since: "1970-01-01T00:00:00Z" };
  const EVENTS = 60;
  let id = "";
  {
    await using daemon = await startDaemon(sections);
    const api = await checkedApi(daemon);
    await post(daemon, EVENTS);
    await until("all wait", async () => {
      const { body } = await api.expect(200, "GET", "deliveries?limit=200&status=pending");
      return body.data.length === 2 * EVENTS &&
        body.data.every((one: { attempt_count: number }) => one.attempt_count === 1);
    });
    const count = async (more: unknown) =>
      (await api.expect(200, "POST", "replays", { ...selection, ...more as object, dry_run: true }))
        .body.matched;
    assert.equal(await count({}), EVENTS);
    assert.equal(await count({ reason: "http_5xx", code: "503" }), EVENTS);
    assert.equal(await count({ reason: "timeout" }), 0);
    assert.equal(await count({ code: "4xx" }), 0);
    // One of them is delivered meanwhile, and one cancelled.
    receiver.answer(statuses(200));
    const { body: { data: [first, second] } } = await api.expect(
      200,
      "GET",
      "deliveries?endpoint=crm",
    );
    await api.expect(200, "POST", `deliveries/${first.id}/retry`);
    await daemon.delivery(first.id);
    await api.expect(200, "POST", `deliveries/${second.id}/cancel`);
    // A paused endpoint's are due, and wait for its end.
    await api.expect(200, "POST", "endpoints/crm/pause", {});
    const { body } = await api.expect(201, "POST", "replays", { ...selection, rate: "40/s" });
    assert.deepEqual([body.status, body.matched], [["pending"], EVENTS - 2]);
    id = body.id;
    await until(
      "it has begun",
      async () => (await api.expect(200, "GET", `replays/${id}`)).body.replayed > 0,
    );
  }
  await using daemon = await startDaemon(sections);
  const api = await checkedApi(daemon);
  assert.equal((await ended(api, id)).replayed, EVENTS - 2);
  assert.equal(receiver.requests.length, EVENTS + 1, "the pause holds");
  await api.expect(200, "POST", "endpoints/crm/resume");
  await receiver.received(2 * EVENTS - 1);
  const attempts = receiver.requests.slice(EVENTS).map(({ headers }) =>
    headers["x-bookme-attempt"]
  );
  assert.deepEqual(new Set(attempts), new Set(["2"]));
  assert.equal(other.requests.length, EVENTS);
});

onServer(
  "any number of due deliveries leaves the count of waiting ones exact",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
    });
    const api = await checkedApi(daemon);
    await post(daemon, 3);
    await until("all wait", async () => {
      const { body } = await api.expect(200, "GET", "deliveries?status=pending");
      return body.data.filter((one: { attempt_count: number }) => one.attempt_count === 1)
        .length === 3;
    });
    await api.expect(200, "POST", "endpoints/crm/pause", {});
    {
      await using sql = connectTo("url" in database.section ? database.section.url : "");
      // Older than the waiting ones.
      await sql`
      insert into pending_deliveries (id, event_id, endpoint_no, created_at, due_at)
      select ('019a0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
        '019a0000-0000-7000-8000-000000000000', no, now(), now()
      from generate_series(1, 200000) n, endpoints`;
    }
    for (const more of [{}, { endpoint: "crm" }]) {
      const input = { status: "pending", since: "1970-01-01T00:00:00Z", dry_run: true, ...more };
      const { body } = await api.expect(200, "POST", "replays", input);
      const notes = "endpoint" in more
        ? ["crm is paused: what is replayed waits until it is resumed"]
        : [];
      assert.deepEqual(body, { matched: 3, matched_exact: true, ...NOTHING_ELSE, notes });
    }
  },
);

onServer(
  "a replay says what it leaves out: before, and of what changed meanwhile",
  async (database) => {
    await using receiver = await startReceiver(({ body, headers }) => {
      const attempt = Number(headers["x-bookme-attempt"]);
      const [, n = ""] = /apt_(\d+)/.exec(body.toString()) ?? [];
      // 10 to 19 are refused for good, 20 to 24 at first; 25 and 26 at first do not fit.
      const status = n < "20" ? 500 : attempt > 1 ? 200 : n < "25" ? 500 : 404;
      return { status };
    });
    await using daemon = await startDaemon({
      database: database.section,
      delivery: { retry: ["0s", "0s"] },
      endpoints: [endpoint("crm", receiver.url)],
    });
    const api = await checkedApi(daemon);
    await post(daemon, 17, 10);
    await until("all have ended", () => isIdle(api));
    const dry = async (more: Record<string, unknown>) =>
      (await api.expect(200, "POST", "replays", { since: HOUR_AGO(), dry_run: true, ...more }))
        .body;
    const delivered = (value: number) => ({ value, exact: true });
    for (const endpoint of [undefined, "crm"]) {
      const { matched, left_out } = await dry({ endpoint });
      assert.deepEqual([matched, left_out.delivered], [10, delivered(7)]);
    }
    assert.deepEqual((await dry({ reason: "http_5xx" })).left_out.delivered, delivered(5));
    assert.deepEqual((await dry({ code: "404" })).left_out.delivered, delivered(2));
    assert.deepEqual((await dry({ type: "service.created" })).left_out.delivered, delivered(0));
    assert.deepEqual((await dry({ status: ["cancelled"] })).left_out.delivered, delivered(0));
    {
      await using sql = connectTo("url" in database.section ? database.section.url : "");
      await sql`update events set payload = null where payload like '%apt_10"%'`;
    }
    assert.deepEqual((await dry({})).left_out.without_payload, delivered(1));
    // One is delivered before the replay gets there, and one has no payload.
    receiver.answer(statuses(200));
    const { body: { id } } = await api.expect(201, "POST", "replays", {
      since: HOUR_AGO(),
      rate: "1/h",
    });
    const { body: { data: [last] } } = await api.expect(200, "GET", "deliveries?status=failed");
    await api.expect(200, "POST", `deliveries/${last.id}/retry`);
    await daemon.delivery(last.id);
    assert.equal((await api.expect(200, "GET", `replays/${id}`)).body.meanwhile, null);
    await until("its first batch is done", async () => {
      await using sql = connectTo("url" in database.section ? database.section.url : "");
      return (await sql`
      update replays set rate_per_s = null, next_batch_at = now()
      where position > first_id returning id`).length === 1;
    });
    const done = await ended(api, id);
    assert.deepEqual([done.matched, done.replayed], [10, 8]);
    assert.deepEqual([done.without_payload, done.meanwhile], [1, 1]);
  },
);

onServer("a dry run says what somebody may expect in vain", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
  });
  const api = await checkedApi(daemon);
  const input = { url: receiver.url, events: ["*"] };
  const make = async () => (await api.expect(201, "POST", "endpoints", input)).body;
  const notes = async (more: Record<string, unknown>) => {
    const body = { since: HOUR_AGO(), dry_run: true, ...more };
    return (await api.expect(200, "POST", "replays", body)).body.notes;
  };
  const first = await make();
  assert.deepEqual(await notes({ endpoint: first.id }), [], "nothing came before it");
  await post(daemon, 3);
  await until("all have ended", () => isIdle(api));
  assert.deepEqual(await notes({}), []);
  await api.expect(200, "DELETE", `endpoints/${first.id}`);
  const { body: { retired_at } } = await api.expect(200, "GET", `endpoints/${first.id}`);
  assert.deepEqual(await notes({}), [
    `Deliveries to retired endpoints are left out: ${first.id}`,
  ]);
  assert.deepEqual(await notes({ status: "delivered" }), [], "none of these");
  const second = await make();
  const made = `${second.id} was made at ${second.created_at}; it was never owed what came ` +
    "before: a replay with missing owes it that";
  const other =
    `${first.id} had the same URL until it was retired at ${retired_at}; ${second.id} is another ` +
    `endpoint, and deliveries to ${first.id} stay with that`;
  assert.deepEqual(await notes({ endpoint: second.id }), [made, other]);
  assert.deepEqual(await notes({ endpoint: second.id, missing: true }), [other]);
  assert.deepEqual(await notes({ endpoint: second.id, since: second.created_at }), []);
  await api.expect(200, "POST", `endpoints/${second.id}/pause`, {});
  assert.deepEqual(await notes({ endpoint: second.id, status: "pending" }), [other]);
  assert.deepEqual(await notes({ endpoint: second.id, missing: true }), [
    other,
    `${second.id} is paused: what is replayed waits until it is resumed`,
  ]);
});

onServer("a replay by reason brings back what was cancelled for it", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "1h"] },
  });
  const api = await checkedApi(daemon);
  const { body: made } = await api.expect(201, "POST", "endpoints", {
    url: receiver.url,
    events: ["*"],
  });
  await post(daemon, 3);
  const list = async (query: string) =>
    (await api.expect(200, "GET", `deliveries?${query}`)).body.data.length;
  await until("all wait", async () => await list("status=pending&code=500&reason=any") === 3);
  const { body: { data: [one] } } = await api.expect(200, "GET", "deliveries");
  await api.expect(200, "POST", `deliveries/${one.id}/cancel`);
  const { body: changed } = await api.expect(200, "PATCH", `endpoints/${made.id}`, {
    events: ["service.*"],
  });
  assert.equal(changed.cancels, 2);
  await until("they are cancelled", async () => await list("reason=deselected") === 2);
  assert.equal(await list("reason=cancelled"), 1);
  assert.equal(await list("reason=endpoint_retired"), 0);
  assert.equal(await list("reason=any"), 3);
  assert.equal(await list("code=5xx"), 3);
  assert.equal(await list("code=501"), 0);
  receiver.answer(statuses(200));
  const { body } = await api.expect(201, "POST", "replays", {
    since: HOUR_AGO(),
    reason: "deselected",
  });
  assert.deepEqual([body.status, body.reason, body.matched], [["cancelled"], "deselected", 2]);
  assert.equal((await ended(api, body.id)).replayed, 2);
  await receiver.received(5);
  await until("both are delivered", async () => await list("status=delivered") === 2);
  assert.equal(await list("reason=any"), 1);
});

onServer("POST /api/replays refuses contradictory filters", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  });
  const api = await checkedApi(daemon);
  const since = HOUR_AGO();
  for (
    const [pointer, body] of [
      ["/since", {}],
      ["/since", { since: "2h" }],
      ["/since", { since: "2090-01-01T00:00:00Z" }],
      ["/since", { since, until: since }],
      ["/until", { since, until: 5 }],
      ["/endpoint", { since, endpoint: "nobody" }],
      ["/status", { since, status: [] }],
      ["/status", { since, status: "failing" }],
      ["/status", { since, status: ["failed", "sent"] }],
      ["/status", { since, status: ["failed", "pending"] }],
      ["/reason", { since, reason: "http_6xx" }],
      ["/reason", { since, reason: "deselected", status: ["failed"] }],
      ["/reason", { since, reason: "tls", status: ["failed", "delivered"] }],
      ["/code", { since, code: "4x" }],
      ["/code", { since, code: 401 }],
      ["/status", { since, status: ["failed", "failed"] }],
      ["/missing", { since, missing: "yes" }],
      ["/endpoint", { since, missing: true }],
      ["/status", { since, missing: true, endpoint: "crm", status: "failed" }],
      ["/reason", { since, missing: true, endpoint: "crm", reason: "timeout" }],
      ["/code", { since, missing: true, endpoint: "crm", code: "4xx" }],
      ["/since", { missing: true, endpoint: "crm" }],
      ["/type", { since, type: "booking.*" }],
      ["/rate", { since, rate: 5 }],
      ["/rate", { since, rate: "0/s" }],
      ["/dry_run", { since, dry_run: "yes" }],
      ["/dryrun", { since, dryrun: true }],
    ] as const
  ) {
    const { body: problem } = await api.expect(422, "POST", "replays", body);
    const pointers = problem.errors.map((error: { pointer: string }) => error.pointer);
    assert.deepEqual(pointers, [pointer], JSON.stringify(body));
  }
  // Every mistake at once.
  const { body: several } = await api.expect(422, "POST", "replays", {
    since,
    a: 1,
    rate: 5,
    b: 2,
    endpoint: "nobody",
  });
  assert.deepEqual(
    several.errors.map((error: { pointer: string }) => error.pointer).toSorted(),
    ["/a", "/b", "/endpoint", "/rate"],
  );
  // A type that is in no configuration any more may still have its deliveries.
  await api.expect(200, "POST", "replays", { since, type: "booking.gone", dry_run: true });
  const { body: twice } = await api.expect(422, "GET", "deliveries?type=a&limit=1&type=b&limit=2");
  assert.deepEqual(
    twice.errors.map(({ pointer, message }: Record<string, string>) => `${pointer} ${message}`),
    ["/type Is given more than once", "/limit Is given more than once"],
  );
  await api.expect(404, "GET", "replays/rpl_00000000000000000000");
  await api.expect(404, "POST", "replays/x/cancel");
  await api.expect(422, "GET", "replays?cursor=x");
});
