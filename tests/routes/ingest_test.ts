import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { EVENT_TYPES } from "../../lib/core/event_types.ts";
import {
  type Answered,
  booking,
  endpoint,
  SECRET,
  startDaemon,
  type TestDaemon,
} from "../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../support/databases.ts";
import { type Receiver, startReceiver, statuses } from "../support/receiver.ts";
import { END, speak } from "../support/raw.ts";
import { sleep, until } from "../support/wait.ts";

const UNSUPPORTED = "unsupported_media_type";

/** Texts that a parser and a serializer would not give back as they were. */
const ODD_EVENTS: readonly string[] = [
  `{ "event" :\t"booking.created",\r\n  "timestamp":"2025-10-31T15:30:00Z" ,"data":{ "appointment":{"id":"apt_1"}\n}  }`,
  `{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z","data":{"appointment":{"id":"apt_é😀\u2028","notes":"\\u0000 \\ud800 \\/ \\u00e9 \\"]},{[\\\\"}}}`,
  `{"event":"business.created","event":"booking.created","timestamp":"2025-10-31T15:30:00Z","data":{"appointment":{"id":"a","id":"apt_3"},"x":1,"x":2}}`,
  `{"timestamp":"2025-10-31T15:30:00Z","data":{"n":[12345678901234567890,1e2,1E400,-0,0.10,1.0000000000000000001],"appointment":{"id":"apt_4"}},"event":"booking.created","":null}`,
];

/** The payload that the documentation has for a type. */
const sample = (name: string) => EVENT_TYPES.find((type) => type.name === name)?.sample;

async function rowsOf(database: TestDatabase) {
  const db = await database.open();
  const [row] = await db.admin<{ events: number; deliveries: number }[]>`
    select (select count(*)::int from events) as events,
      (select count(*)::int from pending_deliveries) +
      (select count(*)::int from ended_deliveries) as deliveries`;
  await db.close();
  return { ...row };
}

/** A daemon with one endpoint that wants everything. */
async function withOne(
  database: TestDatabase,
  use: (daemon: TestDaemon, receiver: Receiver) => Promise<void>,
  sections: Record<string, unknown> = {},
): Promise<void> {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
    ...sections,
  });
  await use(daemon, receiver);
}

function assertProblem(answer: Answered, status: number, code: string, detail?: RegExp): void {
  assert.equal(answer.status, status, JSON.stringify(answer.body));
  assert.equal(answer.headers.get("content-type"), "application/problem+json");
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.code, code);
  assert.equal(typeof answer.body.title, "string");
  if (detail !== undefined) assert.match(answer.body.detail, detail);
}

onServer("POST /ingest accepts every sample of the documentation", async (database) => {
  await withOne(database, async (daemon, receiver) => {
    for (const { sample } of EVENT_TYPES) {
      const { status, body } = await daemon.post(sample);
      assert.equal(status, 202);
      assert.match(body.id, /^evt_[0-9a-z]{20}$/);
      assert.deepEqual(body, { id: body.id, deliveries: 1, duplicate: false });
    }
    const requests = await receiver.received(EVENT_TYPES.length);
    const sent = requests.map(({ headers, body }) => [headers["x-bookme-event"], String(body)]);
    assert.deepEqual(
      sent.toSorted(),
      EVENT_TYPES.map(({ name, sample }) => [name, sample]).toSorted(),
    );
  });
});

onBoth(
  "POST /ingest delivers the bytes that came, cut out of arrays and lines",
  async (database) => {
    await withOne(database, async (daemon, receiver) => {
      for (const [index, text] of ODD_EVENTS.entries()) {
        const posted = Buffer.from(`\n ${text}\t\n`);
        assert.equal((await daemon.post(posted)).status, 202);
        const request = (await receiver.received(index + 1))[index];
        assert.deepEqual(request?.body, posted);
      }
      const lines = ODD_EVENTS.filter((text) => !text.includes("\n"));
      const array = await daemon.post(`[ ${ODD_EVENTS.join("\n,\t")} ]\n`);
      const ndjson = await daemon.post(`${lines.join("\n")}\r\n\n`, {
        "content-type": "application/x-ndjson; charset=utf-8",
      });
      assert.deepEqual([array.status, ndjson.status], [202, 202]);
      const ids: string[] = [...array.body, ...ndjson.body].map(({ id }) => id);
      const requests = await receiver.received(ODD_EVENTS.length + ids.length);
      const byId = new Map(requests.map((r) => [r.headers["x-bookme-event-id"], String(r.body)]));
      assert.deepEqual(ids.map((id) => byId.get(id)), [...ODD_EVENTS, ...lines]);
      for (const id of ids) {
        assert.equal((await daemon.api(`events/${id}`)).body.payload, byId.get(id));
      }
    });
  },
);

onServer("POST /ingest stores 1,000 events of one body", async (database) => {
  await withOne(database, async (daemon, receiver) => {
    const events = Array.from({ length: 1000 }, (_, nth) => booking(`apt_${nth}`));
    const { status, body } = await daemon.post(events);
    assert.equal(status, 202);
    assert.equal(new Set(body.map(({ id }: { id: string }) => id)).size, 1000);
    const requests = await receiver.received(1000);
    assert.equal(new Set(requests.map(({ headers }) => headers["x-bookme-event-id"])).size, 1000);
  });
});

for (const how of ["id of the body", "Idempotency-Key"] as const) {
  onServer(`POST /ingest knows a repetition by the ${how}`, async (database) => {
    await withOne(database, async (daemon, receiver) => {
      const post = (appointment: string) =>
        how === "Idempotency-Key"
          ? daemon.post(booking(appointment), { "idempotency-key": "key 1" })
          : daemon.post({ id: "key 1", ...booking(appointment) });
      const first = await post("apt_1");
      assert.equal(first.status, 202);
      assert.equal(first.body.duplicate, false);
      const again = await post("apt_1");
      assert.equal(again.status, 200);
      assert.deepEqual(again.body, { id: first.body.id, deliveries: 1, duplicate: true });
      const other = await post("apt_2");
      assertProblem(other, 409, "conflict", /"key 1" was used before with other bytes/);
      assert.equal((await daemon.post(booking("apt_1"))).body.duplicate, false);
      // Also once it is delivered, and has left the table of what is pending.
      await receiver.received(2);
      await daemon.delivery(await daemon.deliveryId(first.body.id));
      assert.deepEqual((await post("apt_1")).body, again.body);
      await daemon.stop();
      assert.deepEqual(await rowsOf(database), { events: 2, deliveries: 2 });
    });
  });

  // A server has many sessions that may meet, the embedded database one.
  const on = how === "Idempotency-Key" ? onServer : onBoth;
  on(`POST /ingest stores one of 20 at once with the same ${how}`, async (database) => {
    await withOne(database, async (daemon, receiver) => {
      const event = booking("apt_1");
      const answers = await Promise.all(
        Array.from(
          { length: 20 },
          () =>
            how === "Idempotency-Key"
              ? daemon.post(event, { "idempotency-key": "k" })
              : daemon.post({ id: "k", ...event }),
        ),
      );
      assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1);
      assert.deepEqual(answers.map(({ status }) => status).toSorted(), [
        ...Array(19).fill(200),
        202,
      ]);
      assert.equal(answers.filter(({ body }) => !body.duplicate).length, 1);
      await receiver.received(1);
      await daemon.stop();
      assert.equal(receiver.requests.length, 1);
      assert.deepEqual(await rowsOf(database), { events: 1, deliveries: 1 });
    });
  });
}

onServer("POST /ingest recognises duplicates within an array", async (database) => {
  await withOne(database, async (daemon) => {
    const a = { id: "a", ...booking("apt_1") };
    const b = { id: "b", ...booking("apt_2") };
    const first = await daemon.post([a, b, a]);
    assert.equal(first.status, 202);
    assert.deepEqual(
      first.body.map((answer: { duplicate: boolean }) => answer.duplicate),
      [false, false, true],
    );
    assert.equal(first.body[2].id, first.body[0].id);
    const c = { id: "c", ...booking("apt_3") };
    const partly = await daemon.post([a, c]);
    assert.equal(partly.status, 202, "one of them is new");
    assert.deepEqual(
      partly.body.map((answer: { duplicate: boolean }) => answer.duplicate),
      [true, false],
    );
    assert.equal((await daemon.post([b, a])).status, 200);
    const contradiction = await daemon.post([
      { id: "d", ...booking("apt_4") },
      { id: "d", ...booking("apt_5") },
    ]);
    assertProblem(contradiction, 409, "conflict", /event 1/);
    const late = await daemon.post([booking("apt_6"), { id: "a", ...booking("apt_7") }]);
    assertProblem(late, 409, "conflict", /event 1/);
    await daemon.stop();
    assert.deepEqual(await rowsOf(database), { events: 3, deliveries: 3 });
  });
});

onServer("POST /ingest takes an Idempotency-Key for the whole request", async (database) => {
  await withOne(database, async (daemon) => {
    const post = (key: string, body: unknown) => daemon.post(body, { "idempotency-key": key });
    const [a, b] = [booking("apt_1"), booking("apt_2")];
    const first = await post("K", [a, b]);
    assert.equal(first.status, 202);
    const again = await post("K", [a, b]);
    assert.equal(again.status, 200);
    assert.deepEqual(
      again.body,
      first.body.map((answer: Record<string, unknown>) => ({ ...answer, duplicate: true })),
    );
    for (const other of [[a], [a, b, b], [b, a], a]) {
      assertProblem(await post("K", other), 409, "conflict", /Idempotency-Key "K"/);
    }
    assert.equal((await post("K#0", a)).status, 202);
    assert.equal((await post("L", a)).status, 202);
    assertProblem(await post("L", [a, b]), 409, "conflict", /Idempotency-Key "L"/);
    await daemon.stop();
    assert.deepEqual(await rowsOf(database), { events: 4, deliveries: 4 });
  });
});

onBoth("POST /ingest remembers keys across a restart", async (database) => {
  const post = async () => {
    await using daemon = await startDaemon({ database: database.section });
    return await daemon.post({ id: "k", ...booking("apt_1") });
  };
  const first = await post();
  assert.equal(first.status, 202);
  assert.deepEqual((await post()).body, { ...first.body, duplicate: true });
});

onBoth("POST /ingest gives the first answer although the event is gone", async (database) => {
  await withOne(database, async (daemon, receiver) => {
    const keyed = { id: "k", ...booking("apt_1") };
    const first = await daemon.post(keyed);
    const header = { "idempotency-key": "k".repeat(255) };
    const all = await daemon.post([booking("apt_2"), booking("apt_3")], header);
    assert.deepEqual([first.status, all.status], [202, 202]);
    await receiver.received(3);
    await daemon.stop();
    const db = await database.open();
    for (const table of ["events", "pending_deliveries", "ended_deliveries", "attempts"]) {
      await db.admin.unsafe(`delete from ${table}`);
    }
    await db.close();
    await using later = await startDaemon({ database: database.section });
    const repeated = (answer: Record<string, unknown>) => ({ ...answer, duplicate: true });
    const again = await later.post(keyed);
    assert.deepEqual([again.status, again.body], [200, repeated(first.body)]);
    assert.deepEqual([first.body.deliveries, first.body.duplicate], [1, false]);
    const all_again = await later.post([booking("apt_2"), booking("apt_3")], header);
    assert.deepEqual([all_again.status, all_again.body], [200, all.body.map(repeated)]);
    const other = await later.post({ id: "k", ...booking("apt_4") });
    assertProblem(other, 409, "conflict", /"k" was used before with other bytes/);
  });
});

onServer("POST /ingest owes an event to those who selected it", async (database) => {
  await using receiver = await startReceiver();
  const at = (id: string, more: Record<string, unknown>) =>
    endpoint(id, `${receiver.url}/${id}`, more);
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [
      at("all", {}),
      at("exact", { events: ["booking.created", "service.updated"] }),
      at("bookings", { events: ["booking.*"] }),
      at("bella", { businesses: ["bus_123", "bus_124"] }),
      at("services", { events: ["service.*"], businesses: ["bus_9"] }),
    ],
  });
  const owed = async (event: unknown, headers?: Record<string, string>) => {
    const { body } = await daemon.post(event, headers);
    const { body: stored } = await daemon.api(`events/${body.id}`);
    const to = stored.deliveries.map((d: { endpoint_id: string }) => d.endpoint_id).toSorted();
    assert.equal(body.deliveries, to.length);
    return to.join(" ");
  };
  const header = { "x-bookme-business": "bus_124" };
  assert.equal(await owed(sample("booking.created")), "all bella bookings exact");
  assert.equal(await owed(sample("booking.confirmed")), "all bella bookings");
  assert.equal(await owed(sample("booking.confirmed"), header), "all bella bookings");
  assert.equal(
    await owed({ ...booking("unheard of"), event: "booking.completed" }),
    "all bookings",
  );
  assert.equal(await owed({ business: "bus_123", ...booking("a") }), "all bella bookings exact");
  assert.equal(await owed(booking("a", "bus_1")), "all bookings exact");
  assert.equal(await owed(sample("business.updated")), "all bella");
  assert.equal(await owed(sample("service.created")), "all bella");
  assert.equal(
    await owed({
      ...JSON.parse(sample("service.updated") ?? ""),
      data: { service: { id: "s", businessId: "bus_9" } },
    }),
    "all exact services",
  );
});

onServer(
  "POST /ingest follows a booking to its business, across daemons and restarts",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = {
      database: database.section,
      endpoints: [
        endpoint("bella", receiver.url, { events: ["booking.*"], businesses: ["bus_123"] }),
      ],
    };
    const types = ["booking.confirmed", "booking.cancelled", "booking.completed"];
    const deliveries = ({ body }: Answered) =>
      [body].flat().map((one: { deliveries: number }) => one.deliveries);
    {
      await using one = await startDaemon(sections);
      await using two = await startDaemon(sections);
      const before = await one.post(sample("booking.confirmed"));
      assert.deepEqual([before.status, before.body.deliveries], [202, 0], "nothing is known yet");
      const { body } = await one.api(`events/${before.body.id}`);
      assert.equal(body.business, null);
      assert.equal(body.endpoints[0].state, "no_business_known");
      assert.match(body.endpoints[0].explanation, /^No business known: .* wants bus_123 only$/);
      assert.deepEqual(deliveries(await two.post(sample("booking.created"))), [1]);
      for (const type of types) {
        for (const daemon of [one, two]) {
          assert.deepEqual(deliveries(await daemon.post(sample(type))), [1], type);
        }
      }
      const array = ["booking.confirmed", "booking.created", "booking.cancelled"]
        .map((type) => sample(type)?.replace("apt_789", "apt_790"));
      assert.deepEqual(deliveries(await one.post(`[${array}]`)), [0, 1, 1], "in an array's order");
      const key = { "idempotency-key": "k" };
      const first = await one.post(sample("booking.completed"), key);
      await one.post(booking("apt_789", "bus_124"));
      assert.deepEqual(deliveries(await two.post(sample("booking.completed"))), [0], "moved");
      const again = await two.post(sample("booking.completed"), key);
      assert.deepEqual(again.body, { ...first.body, duplicate: true });
      await two.post({ ...JSON.parse(sample("booking.confirmed") ?? ""), business: "bus_123" });
    }
    await using daemon = await startDaemon(sections);
    const { body } = await daemon.post(sample("booking.completed"));
    assert.equal(body.deliveries, 1, "after a restart");
    assert.equal((await daemon.api(`events/${body.id}`)).body.business, "bus_123");
    const service = JSON.parse(sample("service.updated") ?? "");
    await daemon.post(service);
    delete service.data.service.businessId;
    const updated = await daemon.post(service);
    assert.equal((await daemon.api(`events/${updated.body.id}`)).body.business, "bus_123");
  },
);

onServer("POST /ingest refuses an event with two businesses", async (database) => {
  await withOne(database, async (daemon) => {
    const header = { "x-bookme-business": "bus_1" };
    const refusals: [unknown, Record<string, string>, ...string[]][] = [
      [booking("a", "bus_2"), header, "/data/appointment/business/id"],
      [{ ...booking("a"), business: "bus_2" }, header, "/business"],
      [{ ...booking("a", "bus_1"), business: "bus_2" }, {}, "/business"],
      [sample("business.updated"), header, "/data/business/id"],
      [sample("service.updated"), header, "/data/service/businessId"],
      [
        [booking("a", "bus_1"), booking("b", "bus_2"), { ...booking("c"), business: "bus_3" }],
        header,
        "/1/data/appointment/business/id",
        "/2/business",
      ],
    ];
    for (const [body, headers, ...expected] of refusals) {
      const answer = await daemon.post(body, headers);
      assertProblem(answer, 422, "invalid");
      const found = answer.body.errors.map(({ pointer }: { pointer: string }) => pointer);
      assert.deepEqual(found, expected);
    }
    for (const business of [undefined, "bus_1"]) {
      assert.equal((await daemon.post(booking("a", business), header)).status, 202);
    }
    await daemon.stop();
    assert.deepEqual(await rowsOf(database), { events: 2, deliveries: 2 });
  });
});

onServer("POST /ingest reads its own headers as UTF-8, like the payload", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url, { businesses: ["bus_ö", "bus_à", "漢字 𝄞"] })],
  });
  // As a client that sends UTF-8 puts it on the wire.
  const bytes = (text: string) => Buffer.from(text).toString("latin1");
  for (const business of ["bus_ö", "bus_à", "漢字 𝄞"]) {
    const headers = { "x-bookme-business": bytes(business) };
    const { status, body } = await daemon.post(sample("booking.confirmed"), headers);
    assert.deepEqual([status, body.deliveries], [202, 1], business);
    const { body: stored } = await daemon.api(`events/${body.id}`);
    assert.equal(stored.business, business);
  }
  const key = { "idempotency-key": bytes("ключ №1") };
  const first = await daemon.post(booking("apt_1"), key);
  assert.deepEqual([first.status, (await daemon.post(booking("apt_1"), key)).status], [202, 200]);
  for (const name of ["x-bookme-business", "idempotency-key"]) {
    assertProblem(
      await daemon.post(booking("apt_2"), { [name]: "bus_\xf6" }),
      422,
      "invalid",
      /must be UTF-8$/,
    );
  }
});

onServer("POST /ingest stores events that no endpoint is owed", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const { status, body } = await daemon.post(booking("apt_1"));
  assert.equal(status, 202);
  assert.equal(body.deliveries, 0);
  assert.deepEqual((await daemon.api(`events/${body.id}`)).body.deliveries, []);
  await daemon.stop();
  assert.deepEqual(await rowsOf(database), { events: 1, deliveries: 0 });
});

onServer("POST /ingest stores nothing of a request it refuses", async (database) => {
  await withOne(database, async (daemon, receiver) => {
    const good = booking("apt_1");
    const refusals: [unknown, Record<string, string>, number, string, RegExp][] = [
      ["", {}, 400, "malformed", /line 1, column 1/],
      ['{"event":\n "booking.created",}', {}, 400, "malformed", /line 2, column 20/],
      [JSON.stringify(good) + "x", {}, 400, "malformed", /expected nothing more/],
      [new Uint8Array([0x7b, 0xff, 0x7d]), {}, 400, "malformed", /Invalid UTF-8 at byte 1/],
      ["\ufeff" + JSON.stringify(good), {}, 400, "malformed", /byte order mark/],
      [good, { "content-type": "text/plain" }, 415, UNSUPPORTED, /"text\/plain"/],
      [good, { "content-type": "application/json; charset=utf-16" }, 415, UNSUPPORTED, /UTF-8/],
      [[], {}, 422, "invalid", /at least one/],
      [{ ...good, event: "booking.exploded" }, {}, 422, "invalid", /"booking.exploded"/],
      [{ ...good, id: "" }, {}, 422, "invalid", /\/id/],
      [{ ...good, id: "x".repeat(256) }, {}, 422, "invalid", /\/id/],
      [good, { "idempotency-key": "x".repeat(256) }, 422, "invalid", /idempotency-key/],
      [good, { "x-bookme-business": "x".repeat(256) }, 422, "invalid", /x-bookme-business/],
      [{ ...booking("x".repeat(3000)) }, {}, 413, "too_large", /2048 bytes/],
    ];
    for (const [body, headers, status, code, detail] of refusals) {
      assertProblem(await daemon.post(body, headers), status, code, detail);
    }
    const some = await daemon.post([good, {
      event: 1,
      data: { appointment: { id: 7, notes: 1 } },
    }]);
    assertProblem(some, 422, "invalid");
    assert.deepEqual(some.body.errors.map((error: { pointer: string }) => error.pointer), [
      "/1/event",
      "/1/timestamp",
    ]);
    const typed = await daemon.post(booking(7 as unknown as string, undefined, { notes: [] }));
    assertProblem(typed, 422, "invalid");
    assert.deepEqual(
      typed.body.errors.map((error: { pointer: string }) => error.pointer).toSorted(),
      [
        "/data/appointment/id",
        "/data/appointment/notes",
      ],
    );
    await daemon.stop();
    assert.equal(receiver.requests.length, 0);
    assert.deepEqual(await rowsOf(database), { events: 0, deliveries: 0 });
  }, { ingest: { max_body: "2KiB" } });
});

onServer("POST /ingest refuses a body without a length", async (database) => {
  await withOne(database, async (daemon) => {
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(16_384).fill(0x20)),
    });
    const response = await fetch(`${daemon.url}/ingest`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: endless,
    }).catch((error) => error as Error);
    // The answer may be lost to a client that goes on writing; the daemon must not mind.
    if (response instanceof Response) {
      assert.equal(response.status, 413);
      await response.body?.cancel();
    }
    assert.equal((await daemon.post(booking("apt_1"))).status, 202);
  });
});

onServer("POST /ingest refuses more events than one body may have", async (database) => {
  await withOne(database, async (daemon) => {
    const events = Array.from({ length: 1001 }, () => booking("a"));
    assertProblem(await daemon.post(events), 413, "too_large", /at most 1000/);
    const lines = events.map((event) => JSON.stringify(event)).join("\n");
    const ndjson = { "content-type": "application/x-ndjson" };
    assertProblem(await daemon.post(lines, ndjson), 413, "too_large", /1000/);
    await daemon.stop();
    assert.deepEqual(await rowsOf(database), { events: 0, deliveries: 0 });
  });
});

onServer("POST /ingest asks for the signature of the exact bytes", async (database) => {
  await withOne(database, async (daemon) => {
    const body = ` ${JSON.stringify(booking("apt_é"))}\n`;
    const hmac = (secret: string, text = body) =>
      "sha256=" + createHmac("sha256", secret).update(text).digest("hex");
    const post = (signature?: string) =>
      daemon.post(body, signature === undefined ? {} : { "x-bookme-signature": signature });
    const wrong = [
      undefined,
      "",
      "sha256=",
      hmac(SECRET).slice(7),
      hmac(`${SECRET}x`),
      hmac(SECRET, body.trim()),
      hmac(SECRET).toUpperCase(),
    ];
    for (const signature of wrong) {
      assertProblem(await post(signature), 401, "unauthorized", /X-BookMe-Signature/);
    }
    assert.equal((await post(hmac(SECRET))).status, 202);
    await daemon.stop();
    assert.deepEqual(await rowsOf(database), { events: 1, deliveries: 1 });
  }, { ingest: { secret: "main" } });
});

onServer("POST /ingest believes X-Forwarded-For of trusted proxies only", async (database) => {
  const from = async (trusted: string[], forwarded: string) => {
    await using daemon = await startDaemon({
      database: database.section,
      server: { listen: "127.0.0.1:0", trusted_proxies: trusted },
    });
    const answer = await daemon.post(booking("apt_1"), { "x-forwarded-for": forwarded });
    if (answer.status !== 202) assertProblem(answer, 403, "forbidden", /ip_ranges.development/);
    return answer.status;
  };
  assert.equal(await from([], "203.0.113.7"), 202, "nobody asked; loopback may");
  assert.equal(await from(["127.0.0.0/8"], "203.0.113.7"), 403);
  assert.equal(await from(["127.0.0.0/8"], "192.168.1.77"), 202);
  assert.equal(await from(["127.0.0.0/8"], "203.0.113.7, 192.168.1.77"), 202);
  assert.equal(await from(["127.0.0.0/8"], "192.168.1.77, 203.0.113.7"), 403);
  assert.equal(await from(["127.0.0.0/8", "203.0.113.0/24"], "192.168.1.77, 203.0.113.7"), 202);
  assert.equal(await from(["127.0.0.0/8"], "192.168.1.77, unknown"), 403);
  assert.equal(await from(["127.0.0.0/8"], "10.0.0.5"), 403);
});

onServer("POST /ingest refuses loopback in production", async (database) => {
  await using daemon = await startDaemon({
    environment: "production",
    database: database.section,
    secrets: {},
    admin: {},
    server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
  });
  assertProblem(await daemon.post(booking("a")), 403, "forbidden", /127\.0\.0\.1/);
  const dev = await daemon.post(booking("a"), { "x-forwarded-for": "192.168.1.7" });
  assertProblem(dev, 403, "forbidden", /192\.168\.1\.7/);
  assert.equal((await daemon.post(booking("a"), { "x-forwarded-for": "10.1.2.3" })).status, 202);
});

onServer("POST /ingest does not wait for receivers", async (database) => {
  await withOne(database, async (daemon, receiver) => {
    receiver.answer(() => "hang");
    for (let nth = 0; nth < 40; nth++) {
      assert.equal((await daemon.post(booking(`apt_${nth}`))).status, 202);
    }
    await receiver.received(1);
    receiver.answer(statuses(200));
  }, { delivery: { timeout: "1s", retry: ["0s"] } });
});

onServer("two daemons accept the same ids in any order", async (database) => {
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("all", receiver.url)] };
  await using one = await startDaemon(sections);
  await using other = await startDaemon(sections);
  for (let round = 0; round < 12; round++) {
    const events = Array.from({ length: 400 }, (_, nth) => ({
      id: `round ${round} event ${nth}`,
      ...booking("apt_1"),
    }));
    const answers = await Promise.all([
      one.post(events),
      other.post(events.toReversed()),
      one.post(booking("apt_2")),
    ]);
    const taken = answers.map(({ status }) => status === 200 ? 202 : status);
    assert.deepEqual(taken, [202, 202, 202]);
  }
  await receiver.received(12 * 401);
});

onServer(
  "POST /ingest waits for no list and no purge when an endpoint changes",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("all", receiver.url)],
    });
    await using db = await database.open();
    let lists = 0;
    const asked: Promise<unknown>[] = [];
    await db.admin.begin(async (sql) => {
      await sql`lock table audit in access exclusive mode`;
      for (let nth = 0; nth < 4; nth++) asked.push(daemon.api("audit").then(() => lists++));
      await until("lists wait for the lock", async () => {
        const [row] = await db.engine<{ waiting: number }[]>`
          select count(*)::int as waiting from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`;
        return (row?.waiting ?? 0) >= 2;
      });
      await db.engine`update fleet set revision = revision + 1`;
      const { status } = await daemon.post(booking("apt_1"));
      assert.deepEqual([status, lists], [202, 0]);
    });
    await Promise.all(asked);
  },
);

onServer("an event that is committed after its 503 is delivered soon", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
  });
  await using db = await database.open();
  await db.admin.begin(async (sql) => {
    await sql`lock table events in share mode`;
    const { status, body } = await daemon.post(booking("apt_1"));
    assert.deepEqual([status, body.code], [503, "unavailable"]);
    await sleep(1_000); // what is given back at once is not there yet
  });
  // Its lease, under which nobody sends it, would last for a minute and a half.
  const [request] = await receiver.received(1);
  assert.equal(request?.headers["x-bookme-attempt"], "1");
});

onServer(
  "POST /ingest answers a client that has said that nothing more comes",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const body = JSON.stringify(booking("apt_1"));
    const head = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    const post = `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
    const { port } = new URL(daemon.url);
    const whole = await speak(Number(port), [post, END], Infinity);
    assert.deepEqual([whole.statuses, whole.closed], [[202], true]);
    const half = await speak(Number(port), [post.slice(0, -5), END], Infinity);
    assert.deepEqual([half.statuses, half.closed], [[], true]);
  },
);
