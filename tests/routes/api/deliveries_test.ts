import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { OPERATIONAL_NAMES } from "../../../lib/core/event_types.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { until } from "../../support/wait.ts";

onServer("GET /api/deliveries/:id answers what was so at one moment", async (database) => {
  const held = Promise.withResolvers<void>();
  await using receiver = await startReceiver(() => held.promise.then(() => ({ status: 401 })));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "1h"] })],
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(event.id);
  await receiver.received(1);
  await using db = await database.open();
  const locked = Promise.withResolvers<void>();
  const recorded = Promise.withResolvers<void>();
  // Its attempts are read with the versions of its endpoint, after the delivery.
  const lock = db.admin.begin(async (sql) => {
    await sql`lock table endpoint_versions in access exclusive mode`;
    locked.resolve();
    await recorded.promise;
  });
  await locked.promise;
  const asked = daemon.api(`deliveries/${id}`);
  await until("it has read the delivery", async () => {
    const waiting = await db.ingest`
      select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'from attempts_all'
        and datname = current_database()`;
    return waiting.length > 0;
  });
  held.resolve();
  await until("the attempt is recorded", async () => {
    const [row] = await db.ingest<{ attempts: number }[]>`select attempts from pending_deliveries`;
    return row?.attempts === 1;
  });
  recorded.resolve();
  await lock;
  const { body } = await asked;
  assert.deepEqual([body.attempt_count, body.hints, body.attempts], [0, [], []]);
  const { body: later } = await daemon.api(`deliveries/${id}`);
  assert.deepEqual([later.attempt_count, later.attempts.length], [1, 1]);
});

onServer("POST /api/deliveries/:id/retry works from every end state", async (database) => {
  await using receiver = await startReceiver(statuses(500));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { retry: ["0s"] })],
  });
  const api = await checkedApi(daemon);
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(event.id);
  assert.equal(
    (await daemon.delivery(id)).explanation,
    "Failed after 1 attempt; the last ended with http_5xx (status 500); only a retry or a replay " +
      "sends it again",
  );
  receiver.answer(statuses(200));
  const { body: retried } = await api.expect(200, "POST", `deliveries/${id}/retry`);
  assert.equal(retried.id, id);
  const delivered = await daemon.delivery(id, ({ status }) => status === "delivered");
  assert.equal(delivered.attempt_count, 2, "attempts are added to the same delivery");
  await api.expect(200, "POST", `deliveries/${id}/retry`);
  await receiver.received(3);
  await daemon.delivery(id, (delivery) => delivery.attempt_count === 3);
  await api.expect(200, "POST", "endpoints/crm/pause");
  await api.expect(200, "POST", `deliveries/${id}/retry`);
  const { body: cancelled } = await api.expect(200, "POST", `deliveries/${id}/cancel`);
  assert.equal(cancelled.status, "cancelled");
  assert.equal(
    cancelled.explanation,
    "Cancelled after 3 attempts: Cancelled by ops; only a retry or a replay sends it again",
  );
  assert.equal((await api.expect(200, "POST", `deliveries/${id}/cancel`)).body.status, "cancelled");
  await api.expect(200, "POST", `deliveries/${id}/retry`);
  await api.expect(200, "POST", "endpoints/crm/resume");
  await daemon.delivery(id, ({ status }) => status === "delivered");
  await api.expect(409, "POST", `deliveries/${id}/cancel`);
  const { body: audit } = await api.expect(200, "GET", `audit?object=${id}`);
  assert.deepEqual(
    audit.data.map((entry: { action: string }) => entry.action.split(".")[1]),
    ["retried", "cancelled", "retried", "retried", "retried"],
  );
});

onServer("POST /api/deliveries/:id/retry sends a pending one before its time", async (database) => {
  await using receiver = await startReceiver(statuses(503, 200));
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "1h"] })],
  });
  const api = await checkedApi(daemon);
  const { body: event } = await daemon.post(booking("apt_1"));
  const id = await daemon.deliveryId(event.id);
  const waiting = await daemon.delivery(id, (delivery) => delivery.attempt_count === 1);
  assert.deepEqual([waiting.counted_attempts, waiting.max_attempts], [1, 2]);
  assert.match(
    waiting.explanation,
    /^Attempt 2 follows at \S+Z \(in 1 h( \d min)?\); attempt 1 ended with http_5xx \(status 503\)$/,
  );
  await api.expect(200, "POST", `deliveries/${id}/retry`);
  assert.equal((await daemon.delivery(id)).status, "delivered");
});

onServer(
  "a delivery that is due says which limit of its endpoint it waits for",
  async (database) => {
    const held = Promise.withResolvers<{ status: number }>();
    await using receiver = await startReceiver(() => held.promise);
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [
        endpoint("hourly", receiver.url, { rate_limit: "1/h" }),
        endpoint("single", receiver.url, { concurrency: 1 }),
      ],
    });
    await daemon.post(booking("apt_1"));
    await receiver.received(2);
    const { body: event } = await daemon.post(booking("apt_2"));
    const explanationOf = async (id: string) =>
      (await daemon.delivery(await daemon.deliveryId(event.id, id), () => true)).explanation;
    assert.match(
      await explanationOf("hourly"),
      /^Attempt 1 (is due now|has been due for \d+ s) and waits for the endpoint's rate limit of 1\/h, which lets the next one begin at \S+Z \(in (1 h|\d+ min)\)$/,
    );
    assert.match(
      await explanationOf("single"),
      /^Attempt 1 (is due now|has been due for \d+ s) and waits: the endpoint has 1 under way, as many as its concurrency allows$/,
    );
    await using db = await database.open();
    await db.admin`update pending_deliveries set due_at = due_at - interval '3 min'
      where leased_until is null`;
    const api = await checkedApi(daemon);
    const listed = async () => {
      const { body: { data } } = await api.expect(200, "GET", "deliveries?status=pending");
      return data.filter(({ event_id }: { event_id: string }) => event_id === event.id)
        .map((one: Record<string, unknown>) =>
          `${one["endpoint_id"]} ${one["state"]} ${Number(one["overdue_ms"]) >= 180_000}`
        ).toSorted();
    };
    assert.deepEqual(await listed(), ["hourly rate_limited true", "single overdue true"]);
    await api.expect(200, "POST", "endpoints/single/pause");
    assert.deepEqual(await listed(), ["hourly rate_limited true", "single paused true"]);
    held.resolve({ status: 200 });
  },
);

onServer(
  "a delivery that is being sent cannot be retried, and its cancelling waits for the answer",
  async (database) => {
    const held = Promise.withResolvers<{ status: number }>();
    await using receiver = await startReceiver(() => held.promise);
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url, { retry: ["0s", "100ms"] })],
    });
    const api = await checkedApi(daemon);
    const { body: event } = await daemon.post(booking("apt_1"));
    const id = await daemon.deliveryId(event.id);
    await receiver.received(1);
    assert.equal(
      (await api.expect(200, "GET", `deliveries/${id}`)).body.explanation,
      "Attempt 1 is under way",
    );
    assert.match(
      (await api.expect(409, "POST", `deliveries/${id}/retry`)).body.detail,
      /being sent right now/,
    );
    const { body: cancelling } = await api.expect(200, "POST", `deliveries/${id}/cancel`);
    assert.deepEqual([cancelling.status, cancelling.cancelling, cancelling.sending], [
      "pending",
      true,
      true,
    ]);
    assert.match(
      cancelling.explanation,
      /^Attempt 1 is under way and is the last: .*: Cancelled by ops$/,
    );
    await api.expect(200, "POST", `deliveries/${id}/cancel`);
    held.resolve({ status: 500 });
    const ended = await daemon.delivery(id);
    assert.deepEqual([ended.status, ended.attempt_count], ["cancelled", 1]);
    const { body: audit } = await api.expect(200, "GET", `audit?object=${id}`);
    assert.equal(audit.data.length, 1, "asked twice, done once");
  },
);

onServer(
  "deliveries say 404 to ids that are none, and 422 to bodies that are not asked for",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const api = await checkedApi(daemon);
    for (
      const id of ["x", "dlv_", `dlv_${"0".repeat(26)}`, `evt_${"0".repeat(20)}`, "%27%20or%201=1"]
    ) {
      for (const action of ["retry", "cancel"]) {
        await api.expect(404, "POST", `deliveries/${id}/${action}`);
      }
    }
    await api.expect(422, "POST", `deliveries/x/retry`, { force: true });
  },
);

onServer(
  "GET /api/events/:id explains for each endpoint why it was or was not owed",
  async (database) => {
    await using good = await startReceiver();
    await using bad = await startReceiver(statuses(503));
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      delivery: { retry: ["0s", "5m"] },
      endpoints: [
        endpoint("good", good.url),
        endpoint("bad", bad.url),
        endpoint("once", bad.url, { retry: ["0s"] }),
        endpoint("paused", good.url),
        endpoint("services", good.url, { events: ["service.*"] }),
        endpoint("elsewhere", good.url, { businesses: ["bus_2", "bus_3"] }),
        endpoint("refused", "http://127.0.0.1:1/", { retry: ["0s", "10m"] }),
      ],
    });
    const api = await checkedApi(daemon);
    await api.expect(200, "POST", "endpoints/paused/pause", { reason: "Moving house" });
    const { body: narrow } = await api.expect(201, "POST", "endpoints", {
      url: good.url,
      events: ["service.created"],
    });
    const { body: event } = await daemon.post(booking("apt_1", "bus_1"));
    const { body: later } = await api.expect(201, "POST", "endpoints", {
      url: good.url,
      events: ["*"],
    });
    await api.expect(200, "PATCH", `endpoints/${narrow.id}`, { events: ["*"] });
    // deno-lint-ignore no-explicit-any
    const verdicts = await until("all that can be sent is", async (): Promise<any> => {
      const { body } = await api.expect(200, "GET", `events/${event.id}`);
      const busy = body.endpoints.some((one: { state: string }) => /sending|due/.test(one.state));
      return !busy && Object.fromEntries(
        body.endpoints.map((one: { endpoint_id: string }) => [one.endpoint_id, one]),
      );
    });
    const expected: Record<string, [owed: boolean, state: string, explanation: RegExp]> = {
      good: [true, "delivered", /^Delivered after 1 attempt, with status 200$/],
      bad: [
        true,
        "waiting",
        /^Attempt 2 follows at .*Z \(in [56] min\); attempt 1 ended with http_5xx \(status 503\)$/,
      ],
      once: [
        true,
        "failed",
        /^Failed after 1 attempt; the last ended with http_5xx \(status 503\); only a retry/,
      ],
      paused: [true, "paused", /^Waits until the endpoint is resumed; it is paused: Moving house$/],
      services: [
        false,
        "type_not_selected",
        /^The endpoint does not select booking.created; it selects service.\*$/,
      ],
      elsewhere: [
        false,
        "other_business",
        /^The event is of the business bus_1; the endpoint wants bus_2, bus_3 only$/,
      ],
      refused: [true, "waiting", /; attempt 1 ended with connection \(.*ECONNREFUSED.*\)$/],
      [narrow.id]: [
        false,
        "changed_later",
        /^The endpoint did not select booking\.created; it selected service\.created\. It selects it now \(changed at .*\), but did not when the event was stored/,
      ],
      [later.id]: [false, "made_later", /^The endpoint was made later, at \d{4}-/],
    };
    assert.deepEqual(Object.keys(verdicts).toSorted(), Object.keys(expected).toSorted());
    for (const [id, [owed, state, explanation]] of Object.entries(expected)) {
      assert.equal(verdicts[id].owed, owed, id);
      assert.equal(verdicts[id].state, state, id);
      assert.match(verdicts[id].explanation, explanation);
      assert.equal(verdicts[id].delivery_id === null, !owed, id);
    }
    await api.expect(404, "GET", "events/evt_00000000000000000000");
    await api.expect(404, "GET", "events/nothing");
  },
);

onServer(
  "GET /api/events finds by type, business, time, id, confirmation number and subject",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const api = await checkedApi(daemon);
    const before = new Date(Date.now() - 3_600_000).toISOString();
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const body = booking(`apt_${i}`, `bus_${i % 2}`, { confirmationNumber: `BK${i}` });
      ids.push((await daemon.post(body)).body.id);
    }
    const { body: other } = await daemon.post({
      event: "service.created",
      timestamp: "2025-10-31T15:30:00Z",
      data: { service: { id: "svc_1", businessId: "bus_0" } },
    });
    const find = async (query: string) => {
      const { body } = await api.expect(200, "GET", `events?${query}`);
      return body.data.map((event: { id: string }) => event.id);
    };
    assert.deepEqual(await find(""), [other.id, ...ids.toReversed()]);
    assert.deepEqual(await find("type=service.created"), [other.id]);
    assert.deepEqual(await find("type=nothing"), []);
    assert.deepEqual(await find("business=bus_1"), [ids[3], ids[1]]);
    assert.deepEqual(await find("business=bus_0&type=booking.created"), [ids[4], ids[2], ids[0]]);
    assert.deepEqual(await find(`q=${ids[2]}`), [ids[2]]);
    assert.deepEqual(await find("q=BK3"), [ids[3]]);
    assert.deepEqual(await find("q=apt_1"), [ids[1]]);
    assert.deepEqual(await find("q=svc_1&type=service.created"), [other.id]);
    assert.deepEqual(await find(`q=${encodeURIComponent("x' or '1'='1")}`), []);
    assert.deepEqual(await find(`since=${before}&limit=1`), [other.id]);
    assert.deepEqual(await find(`until=${before}`), []);
    const seen: string[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const { body }: { body: { data: { id: string }[]; next_cursor: string | null } } = await api
        .expect(200, "GET", `events?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`);
      seen.push(...body.data.map(({ id }) => id));
      cursor = body.next_cursor;
      await daemon.post(booking("apt_more"));
    }
    assert.deepEqual(seen, [other.id, ...ids.toReversed()], "each once, whatever arrives");
    for (const query of ["q=", "limit=x", "since=now", "types=x", "cursor=dlv_1", "q=a%00"]) {
      await api.expect(422, "GET", `events?${query}`);
    }
  },
);

onServer("GET /api/events?q= finds numbers that look like another kind of id", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const api = await checkedApi(daemon);
  const post = async (subject: string, confirmationNumber: string) =>
    (await daemon.post(booking(subject, "bus_1", { confirmationNumber }))).body.id;
  const find = async (q: string) => {
    const { body } = await api.expect(200, "GET", `events?q=${encodeURIComponent(q)}`);
    return body.data.map((event: { id: string }) => event.id);
  };
  const first = await post("apt_1", "BK1");
  const twin = await post("apt_2", first);
  assert.deepEqual(await find(first), [twin, first], "an id, and a confirmation number");
  assert.deepEqual(await find(twin), [twin]);
  const odd = [
    `evt_${"0".repeat(20)}`,
    `EVT_${"0".repeat(20)}`,
    "evt_1",
    `dlv_${"0".repeat(26)}`,
    "019a3b1c-0000-7abc-8def-012300000000",
    "12345678",
    "0",
    "%",
    "BK_1",
    "null",
    "😀".repeat(255),
  ];
  for (const text of odd) {
    const id = await post("apt_3", text);
    assert.deepEqual(await find(text), [id], text);
    const subject = `${text.slice(0, 26)}…`;
    const of_subject = await post(subject, "BK9");
    assert.deepEqual(await find(subject), [of_subject], subject);
  }
  const subject = `evt_${"1".repeat(20)}`;
  assert.deepEqual(await find(subject), []);
  const of_subject = await post(subject, "BK9");
  assert.deepEqual(await find(subject), [of_subject], "a subject");
});

onServer("identifiers have 255 code points at every door", async (database) => {
  const longest = "😀".repeat(255);
  const too_long = `${longest}😀`;
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", "http://127.0.0.1:1/", { businesses: [longest] })],
  });
  const api = await checkedApi(daemon);
  const { body } = await daemon.post({ id: longest, ...booking(longest, longest) });
  assert.equal(body.deliveries, 1);
  for (const query of ["business", "q"]) {
    const found = await api.expect(200, "GET", `events?${query}=${encodeURIComponent(longest)}`);
    assert.deepEqual(found.body.data.map(({ id }: { id: string }) => id), [body.id]);
    await api.expect(422, "GET", `events?${query}=${encodeURIComponent(too_long)}`);
  }
  const make = (businesses: string[], description: string) => ({
    url: "http://127.0.0.1:1/",
    events: ["*"],
    businesses,
    description,
  });
  const { body: made } = await api.expect(
    201,
    "POST",
    "endpoints",
    make([longest], "😀".repeat(500)),
  );
  assert.deepEqual(made.businesses, [longest]);
  const { body: refused } = await api.expect(
    422,
    "POST",
    "endpoints",
    make([too_long], "😀".repeat(501)),
  );
  const pointers = refused.errors.map(({ pointer }: { pointer: string }) => pointer);
  assert.deepEqual(pointers.toSorted(), ["/businesses/0", "/description"]);
  const headers = { "x-bookme-business": Buffer.from(longest).toString("latin1") };
  assert.equal((await daemon.post(booking("apt_1"), headers)).body.deliveries, 2, "both endpoints");
  for (
    const event of [
      { id: too_long, ...booking("a") },
      { business: too_long, ...booking("a") },
      booking("a", too_long),
      booking(too_long),
    ]
  ) assert.equal((await daemon.post(event)).status, 422);
  const odd = { "x-bookme-business": Buffer.from(too_long).toString("latin1") };
  assert.equal((await daemon.post(booking("a"), odd)).status, 422);
});

onServer("lists find rare rows without reading the whole table at once", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:1/")],
  });
  const api = await checkedApi(daemon);
  await api.expect(200, "POST", "endpoints/crm/pause");
  const service = {
    event: "service.created",
    timestamp: "2025-10-31T15:30:00Z",
    data: { service: { id: "svc_rare" } },
  };
  const { body: rare } = await daemon.post(service);
  for (let i = 0; i < 21; i++) {
    const { status } = await daemon.post(Array.from({ length: 500 }, () => booking("apt_1")));
    assert.equal(status, 202);
  }
  for (
    const [list, expected] of [
      ["events?type=service.created", 2],
      ["deliveries?type=service.created", 11],
      ["events?q=svc_rare", 1],
    ] as const
  ) {
    const found: string[] = [];
    let pages = 0;
    for (let cursor: string | null = ""; cursor !== null; pages++) {
      const { body }: { body: { data: { id: string; event_id?: string }[]; next_cursor: string } } =
        await api.expect(200, "GET", `${list}${cursor === "" ? "" : `&cursor=${cursor}`}`);
      found.push(...body.data.map(({ id, event_id }) => event_id ?? id));
      cursor = body.next_cursor;
    }
    assert.deepEqual(found, [rare.id], list);
    assert.equal(pages, expected, list);
  }
  for (const list of ["events", "deliveries?endpoint=crm", "deliveries?status=pending"]) {
    const page = `${list}${list.includes("?") ? "&" : "?"}count=true&limit=1`;
    const { body } = await api.expect(200, "GET", page);
    assert.deepEqual([list, body.count], [list, { value: 1_000, exact: false }]);
  }
  for (const list of ["deliveries?status=failed", "events?q=svc_rare"]) {
    const { body } = await api.expect(200, "GET", `${list}&count=true&limit=1`);
    assert.deepEqual([list, body.count], [list, { value: body.data.length, exact: true }]);
  }
  const { body } = await api.expect(200, "GET", "deliveries?count=false");
  assert.equal(body.count, undefined);
});

onServer("GET /api/event-types has each type's schema and sample", async (database) => {
  const directory = Deno.makeTempDirSync();
  try {
    const schema = { type: "object", required: ["from"] };
    Deno.writeTextFileSync(`${directory}/moved.json`, JSON.stringify(schema));
    await using daemon = await startDaemon({
      database: database.section,
      events: [
        { name: "booking.moved", description: "Moved", schema: `${directory}/moved.json` },
        { name: "stock.low", description: "Low" },
      ],
    });
    const { body } = await (await checkedApi(daemon)).expect(200, "GET", "event-types");
    assert.equal(body.data.length, 13);
    const [created] = body.data;
    assert.equal(created.name, "booking.created");
    assert.equal(created.sample.data.appointment.id, "apt_789");
    assert.deepEqual(created.schema.required, ["appointment"]);
    assert.equal(created.schema.properties.appointment.properties.id.type, "string");
    const moved = body.data.find((type: { name: string }) => type.name === "booking.moved");
    assert.deepEqual(moved.schema, schema);
    assert.equal(moved.sample.event, "booking.moved");
    const operational = body.data.filter((type: { operational: boolean }) => type.operational);
    assert.deepEqual(
      operational.map(({ sample }: { sample: { event: string } }) => sample.event),
      OPERATIONAL_NAMES,
    );
    assert.ok(operational[0].schema.properties.alert.properties.summary);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

onServer("an explanation says that a refusal mentions a signature", async (database) => {
  const answers: Record<string, { status: number; body: string | Uint8Array; points: boolean }> = {
    plain: { status: 401, body: "Invalid Signature", points: true },
    json: { status: 403, body: '{"error":"bad_signature"}', points: true },
    digest: { status: 400, body: "HMAC mismatch", points: true },
    binary: {
      status: 422,
      body: new Uint8Array([0xff, 0, ...Buffer.from("signature")]),
      points: true,
    },
    token: { status: 401, body: "Token expired", points: false },
    empty: { status: 403, body: "", points: false },
    late: { status: 401, body: " ".repeat(5_000) + "signature", points: false },
    fault: { status: 500, body: "signature", points: false },
  };
  await using receiver = await startReceiver(({ path }) => answers[path.slice(1)] ?? "reset");
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: Object.keys(answers).map((id) => endpoint(id, `${receiver.url}/${id}`)),
  });
  const { body: event } = await daemon.post(booking("apt_1"));
  for (const [id, { points }] of Object.entries(answers)) {
    const { explanation } = await daemon.delivery(await daemon.deliveryId(event.id, id));
    assert.equal(/mentions a signature, which `verify` examines/.test(explanation), points, id);
  }
});
