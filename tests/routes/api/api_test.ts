import assert from "node:assert/strict";
import {
  type Answered,
  booking,
  endpoint,
  type Front,
  startDaemon,
  type TestDaemon,
  VIEWER,
} from "../../support/daemon.ts";
import { onServer, type TestDatabase } from "../../support/databases.ts";
import { type Receiver, startReceiver } from "../../support/receiver.ts";
import { sampleOf } from "../../support/samples.ts";
import { until } from "../../support/wait.ts";

/** A daemon with an endpoint that takes everything and one that refuses everything. */
async function withTwo(
  database: TestDatabase,
  use: (daemon: TestDaemon, receiver: Receiver) => Promise<void>,
): Promise<void> {
  await using receiver = await startReceiver(({ path }) => ({
    status: path === "/bad" ? 500 : 200,
  }));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [
      endpoint("good", `${receiver.url}/good`),
      endpoint("bad", `${receiver.url}/bad`, { events: ["booking.*"] }),
      endpoint("later", `${receiver.url}/later`, { events: ["business.*"], retry: ["1h"] }),
    ],
  });
  await use(daemon, receiver);
}

interface Listed {
  readonly id: string;
  readonly status: string;
  readonly endpoint_id: string;
  readonly event_type: string;
  readonly event_id: string;
  readonly created_at: string;
}

async function list(daemon: Front, query = ""): Promise<Listed[]> {
  const { status, body } = await daemon.api(`deliveries?${query}`);
  assert.equal(status, 200, JSON.stringify(body));
  return body.data;
}

const isIdle = async (daemon: Front) =>
  (await list(daemon, "status=pending")).every((d) => d.endpoint_id === "later");

function assertProblem(answer: Answered, status: number, code: string): void {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.equal(answer.body.code, code);
}

onServer("the admin API wants a token, and more than a viewer's for changes", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  for (const token of [null, "", "wrong", `${VIEWER}x`, VIEWER.slice(1)]) {
    const answer = await daemon.api("deliveries", token);
    assertProblem(answer, 401, "unauthorized");
    assert.match(answer.headers.get("www-authenticate") ?? "", /^Bearer/);
  }
  assertProblem(await daemon.api("nothing/here", null), 401, "unauthorized");
  const basic = await fetch(`${daemon.url}/api/deliveries`, {
    headers: { authorization: `Basic ${btoa(`ops:${VIEWER}`)}` },
  });
  await basic.body?.cancel();
  assert.equal(basic.status, 401);
  assert.equal((await daemon.api("deliveries", VIEWER)).status, 200);
  for (const method of ["POST", "PATCH", "PUT", "DELETE"]) {
    assertProblem(await daemon.api("deliveries", VIEWER, method), 403, "forbidden");
  }
  assertProblem(await daemon.api("nothing/here"), 404, "not_found");
  const elsewise = await daemon.api("deliveries/dlv_1/retry");
  assertProblem(elsewise, 405, "method_not_allowed");
  assert.equal(elsewise.headers.get("allow"), "POST");
});

onServer("GET /api/deliveries filters", async (database) => {
  await withTwo(database, async (daemon) => {
    const before = new Date(Date.now() - 60_000).toISOString();
    const { body: first } = await daemon.post(booking("apt_1"));
    await daemon.post(sampleOf("service.created"));
    await daemon.post(sampleOf("business.created"));
    await until("what can be sent is sent", () => isIdle(daemon));
    const names = async (query: string) =>
      (await list(daemon, query)).map((d) => `${d.endpoint_id} ${d.event_type}`).toSorted();
    assert.deepEqual(await names(""), [
      "bad booking.created",
      "good booking.created",
      "good business.created",
      "good service.created",
      "later business.created",
    ]);
    assert.deepEqual(await names("status=failed"), ["bad booking.created"]);
    assert.deepEqual(await names("status=pending"), ["later business.created"]);
    assert.deepEqual(await names("status=cancelled"), []);
    assert.equal((await names("status=delivered")).length, 3);
    assert.equal((await names("endpoint=good")).length, 3);
    assert.deepEqual(await names("endpoint=good&type=service.created"), ["good service.created"]);
    assert.deepEqual(await names("reason=http_5xx"), ["bad booking.created"]);
    assert.deepEqual(await names("reason=timeout"), []);
    assert.equal((await names(`since=${before}`)).length, 5);
    assert.equal((await names(`until=${before}`)).length, 0);
    assert.equal((await names("since=2999-01-01T00:00:00Z")).length, 0);
    const [bad] = await list(daemon, "status=failed");
    assert.equal(bad?.event_id, first.id);
    const exactly = encodeURIComponent(bad?.created_at ?? "");
    assert.equal((await names(`since=${exactly}&status=failed`)).length, 1, "since is inclusive");
  });
});

onServer("GET /api/deliveries pages from the newest on while more arrive", async (database) => {
  await withTwo(database, async (daemon) => {
    for (let nth = 0; nth < 5; nth++) {
      await daemon.post(Array.from({ length: 10 }, () => booking("apt_1")));
    }
    await until("all of them are sent", () => isIdle(daemon));
    const all = await list(daemon, "limit=200");
    assert.equal(all.length, 100);
    const times = all.map((d) => Date.parse(d.created_at));
    // Within one body the order is free.
    assert.ok(times.every((time, at) => at === 0 || time <= (times[at - 1] ?? 0) + 100));
    const seen: string[] = [];
    let cursor: string | null = "";
    for (let pages = 0; cursor !== null; pages++) {
      assert.ok(pages < 20, "the pages end");
      const query = cursor === "" ? "limit=7" : `limit=7&cursor=${encodeURIComponent(cursor)}`;
      const { body } = await daemon.api(`deliveries?${query}`);
      seen.push(...body.data.map((d: Listed) => d.id));
      if (body.next_cursor !== null) assert.equal(body.data.length, 7);
      cursor = body.next_cursor;
      await daemon.post(booking("apt_new"));
    }
    assert.deepEqual(seen, all.map((d) => d.id), "none is missed, and none is there twice");
    // A page that ends exactly with the last row says so.
    const failed = await daemon.api("deliveries?limit=5&until=2000-01-01T00:00:00Z");
    assert.deepEqual(failed.body, { data: [], next_cursor: null });
  });
});

onServer("GET /api/deliveries matches filter values literally", async (database) => {
  await withTwo(database, async (daemon) => {
    await daemon.post(booking("apt_1"));
    await until("all of it is sent", () => isIdle(daemon));
    const nasty = [
      "' or '1'='1",
      "good'; drop table events; --",
      "%",
      "g_od",
      "\\",
      "$1",
      "good\n",
      "\u001e",
      "ünï",
      "\ud83d\ude00",
    ];
    for (const text of nasty) {
      for (const name of ["endpoint", "type"]) {
        const { status, body } = await daemon.api(
          `deliveries?${name}=${encodeURIComponent(text)}`,
        );
        assert.ok(status === 422 || (status === 200 && body.data.length === 0), `${name}=${text}`);
      }
    }
    assert.equal((await list(daemon)).length, 2);
  });
});

onServer("GET /api/deliveries refuses filters that make no sense", async (database) => {
  await withTwo(database, async (daemon) => {
    const queries = [
      "limit=0",
      "limit=201",
      "limit=-1",
      "limit=1.5",
      "limit=x",
      "limit=",
      "status=done",
      "reason=bad",
      "since=yesterday",
      "since=2026-13-01T00:00:00Z",
      "since=2026-02-30T00:00:00Z",
      "since=0000-01-01T00:00:00Z",
      "until=2026-01-01T00:00:00%2B99:00",
      "until=2026-01-01",
      "cursor=x",
      "cursor=evt_00000000000000000000",
      `cursor=dlv_${"z".repeat(26)}`,
      "endpoint=%00",
      "endpoint=goood",
      "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z",
      "since=2026-01-02T00:00:00Z&until=2026-01-02T01:00:00%2B01:00",
      "code=4x",
      "reason=erase",
      "type=a%00b",
      "limit=1&limit=2",
      "endpiont=good",
    ];
    for (const query of queries) {
      const answer = await daemon.api(`deliveries?${query}`);
      assertProblem(answer, 422, "invalid");
      const name = /^\w+/.exec(query)?.[0];
      assert.equal(answer.body.errors[0].pointer, `/${name}`, query);
    }
    const { body } = await daemon.api("deliveries?endpoint=goood");
    assert.equal(body.errors[0].message, 'There is no endpoint "goood"; did you mean good?');
    const empty = "since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z";
    for (const path of [`events?${empty}`, `audit?${empty}`]) {
      const answer = await daemon.api(path);
      assertProblem(answer, 422, "invalid");
      assert.match(answer.body.errors[0].message, /2026-01-01T.*; it is 2026-01-02T/);
    }
  });
});

onServer("GET /api/deliveries/:id and /api/events/:id show the whole story", async (database) => {
  await withTwo(database, async (daemon) => {
    const posted = sampleOf("booking.created");
    const { body: event } = await daemon.post(posted);
    await until("all of it is sent", () => isIdle(daemon));
    const shown = (await daemon.api(`events/${event.id}`)).body;
    assert.equal(shown.id, event.id);
    assert.equal(shown.type, "booking.created");
    assert.equal(shown.business, "bus_123");
    assert.equal(shown.confirmation_number, "BK7X9M2P");
    assert.equal(shown.payload, posted);
    assert.equal(shown.test, false);
    assert.match(shown.received_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const bad = await daemon.delivery(await daemon.deliveryId(event.id, "bad"));
    assert.equal(bad.event_id, event.id);
    assert.deepEqual([bad.subject, bad.confirmation_number], ["apt_789", "BK7X9M2P"]);
    assert.deepEqual([bad.counted_attempts, bad.max_attempts], [null, 1]);
    assert.equal(bad.status, "failed");
    assert.equal(bad.reason, "http_5xx");
    assert.equal(bad.attempts.length, 1);
    assert.equal(bad.attempts[0].request.headers["X-BookMe-Event-Id"], event.id);
    assert.equal(bad.attempts[0].response.status, 500);
    assert.match(bad.attempts[0].address, /^127\.0\.0\.1:\d+$/);
    // Ids are read as people type them.
    assert.equal((await daemon.api(`events/evt_${event.id.slice(4).toUpperCase()}`)).status, 200);
  });
});

onServer("GET /api/deliveries/:id answers 404 for an unknown id", async (database) => {
  await withTwo(database, async (daemon) => {
    const { body: event } = await daemon.post(booking("apt_1"));
    const id = await daemon.deliveryId(event.id, "good");
    const paths = [
      "deliveries/dlv_00000000000000000000000000",
      `deliveries/${event.id}`,
      "deliveries/x",
      `deliveries/${id}0`,
      `deliveries/${id}/nothing`,
      "events/evt_00000000000000000000",
      `events/${id}`,
      "events/%00",
      "events/%27",
    ];
    for (const path of paths) assertProblem(await daemon.api(path), 404, "not_found");
  });
});
