import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeMention } from "../../lib/core/mention.ts";
import { parseDeliveryId } from "../../lib/core/ids.ts";
import type { Database } from "../../lib/store/database.ts";
import { retryNow } from "../../lib/store/deliveries.ts";
import { type CheckedApi, checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { endpoint, type Front, spawnDaemon, startDaemon } from "../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { type Plan, type Receiver, startReceiver } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

const PERSON = { name: "Zoë Müller", email: "zoe.mueller@example.org", phone: "+49 151 2345678" };
const TEXTS = Object.values(PERSON);

/** Ways to write a text that a payload, a form or a page may use. */
const WRITINGS: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => text.toUpperCase(),
  (text) => text.normalize("NFD"),
  (text) =>
    text.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
  encodeURIComponent,
  (text) => new URLSearchParams({ a: text }).toString().slice(2),
  (text) => text.replace(/[^a-z]/gi, (char) => `&#${char.codePointAt(0)};`),
  (text) => Buffer.from(text, "utf8").toString("latin1"),
];

/** Fails if the person is in these texts, by the program's own search and by a plain one. */
function assertGone(what: string, ...texts: string[]): void {
  const all = texts.join("\n");
  for (const text of TEXTS) {
    assert.equal(makeMention(text).inText(all), false, `${what} mentions ${text}`);
    for (const [i, write] of WRITINGS.entries()) {
      assert.ok(!all.includes(write(text)), `${what} has ${text}, writing ${i}`);
    }
  }
}

/** Every row of every table as text, and once more with its bytes decoded. */
async function dump({ admin }: Pick<Database, "admin">): Promise<string> {
  const tables = await admin<{ name: string }[]>`
    select c.relname as name from pg_class c
    where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace`;
  assert.ok(tables.some(({ name }) => name === "events"), "the dump has the tables");
  const lines: string[] = [];
  for (const { name } of tables) {
    const rows = await admin.unsafe<{ row: string }[]>(`select t::text as row from "${name}" t`);
    for (const { row } of rows) lines.push(`${name} ${row}`);
  }
  const text = lines.join("\n");
  const bytes = [...text.matchAll(/\\x([0-9a-f]{2,})/g)].map(([, hex = ""]) =>
    Buffer.from(hex, "hex")
  );
  return [
    text,
    ...bytes.flatMap((one) => [one.toString("utf8"), one.toString("latin1")]),
  ].join("\n");
}

/** What every list and every item of the API answers. */
async function readEverything(api: CheckedApi): Promise<string> {
  const answers: string[] = [];
  const get = async (path: string) => {
    const { body } = await api.expect(200, "GET", path);
    answers.push(JSON.stringify(body));
    return body;
  };
  for (const list of ["endpoints", "replays", "erasures", "audit", "config", "stats?window=1h"]) {
    await get(list);
  }
  for (const list of ["events", "deliveries"]) {
    for (const { id } of (await get(`${list}?limit=200`)).data) await get(`${list}/${id}`);
  }
  // Searched for by people: the answer may suggest similar names.
  answers.push(JSON.stringify((await api.call("GET", "events?q=BKZO")).body));
  return answers.join("\n");
}

function booking(id: string, customer: string, more = ""): string {
  return `{"event":"booking.created","timestamp":"2025-10-31T15:30:00Z",${more}` +
    `"data":{"appointment":{"id":"${id}","confirmationNumber":"BK${id}",` +
    `"business":{"id":"bus_1"},"customer":${customer}}}}`;
}

/** Events that mention the person, each with one text in one writing, or in a place of its own. */
function planted(): string[] {
  const json = (value: unknown) => JSON.stringify(value);
  const inside = WRITINGS.flatMap((write, i) =>
    TEXTS.map((text, j) => {
      const written = write(text);
      const string = written.includes("\\u") ? `"${written}"` : json(written);
      return booking(`apt_w${i}${j}`, `{"note":${string}}`);
    })
  );
  const { name, email, phone } = PERSON;
  return [
    ...inside,
    booking("apt_key", json({ [email]: true })),
    booking("apt_nested", json({ raw: json({ raw: json({ name }) }) })),
    booking("apt_twice", '{"name":"nobody"}', `"note":${json(phone)},"note":"other",`),
    booking("apt_id", json({}), `"id":${json(`order-of-${email}`)},`),
    booking(`apt_${name}`, json({})),
    `{"event":"booking.completed","timestamp":"2025-10-31T15:30:00Z","business":"bus_${email}",` +
    `"data":{"appointment":{"id":"apt_1"}}}`,
  ];
}

/** An erasure that has ended. */
async function erased(api: CheckedApi, what: Record<string, unknown>) {
  const { body: { id } } = await api.expect(201, "POST", "erasures", what);
  return await ended(api, id);
}

function ended(api: CheckedApi, id: string) {
  return until(`the erasure ${id} has ended`, async () => {
    const { body } = await api.expect(200, "GET", `erasures/${id}`);
    return body.state !== "running" && body;
  });
}

/** Answers with what was posted, in the head as well, and with the person in a page. */
const echo = (status: number): Plan => ({ body }) => ({
  status,
  headers: { "X-Customer": encodeURIComponent(PERSON.name) },
  body: status === 500 ? `<p>${WRITINGS[6]?.(PERSON.email)}</p>` : body,
});

/** Answers with a status line that is none, and has the person in it. */
function startGarbage() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const conn of listener) {
      await conn.read(new Uint8Array(65_536));
      await conn.write(Buffer.from(`Hello ${PERSON.name}\r\n\r\n`, "utf8"));
      conn.close();
    }
  })();
  return {
    url: `http://127.0.0.1:${listener.addr.port}/`,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
    },
  };
}

async function postAll(front: Front, events: readonly string[]): Promise<string[]> {
  const { status, body } = await front.post(`[${events.join(",")}]`);
  assert.equal(status, 202, JSON.stringify(body));
  return body.map(({ id }: { id: string }) => id);
}

async function countOf(api: CheckedApi, query: string): Promise<number> {
  return (await api.expect(200, "GET", `deliveries?limit=200&${query}`)).body.data.length;
}

async function withPeople(
  database: TestDatabase,
  test: (house: {
    readonly daemon: Awaited<ReturnType<typeof startDaemon>>;
    readonly api: CheckedApi;
    readonly slow: Receiver;
    readonly events: readonly string[];
    readonly others: readonly string[];
    /** Lets the slow receiver answer. */
    release(): void;
  }) => Promise<void>,
): Promise<void> {
  {
    await using db = await database.open();
    await db.admin`update fleet set streamed_until = now() + interval '1 hour'`;
  }
  const held = Promise.withResolvers<void>();
  await using good = await startReceiver(echo(200));
  await using bad = await startReceiver(echo(500));
  await using garbage = startGarbage();
  await using slow = await startReceiver(async (request, nth) => {
    await held.promise;
    return await echo(200)(request, nth);
  });
  const one = { events: ["booking.created"] };
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
    endpoints: [
      endpoint("good", good.url),
      endpoint("failing", bad.url, { retry: ["0s", "0s"] }),
      endpoint("waiting", bad.url, { retry: ["0s", "1h"] }),
      endpoint("garbage", garbage.url, { retry: ["0s", "1h"] }),
      endpoint("slow", slow.url, { ...one, concurrency: 4 }),
    ],
  });
  const api = await checkedApi(daemon);
  const { body: paused } = await api.expect(201, "POST", "endpoints", {
    url: good.url,
    events: ["*"],
  });
  await api.expect(200, "POST", `endpoints/${paused.id}/pause`, {});
  try {
    const events = await postAll(daemon, planted());
    await daemon.post(booking("apt_header", JSON.stringify(PERSON)), {
      "idempotency-key": `of ${PERSON.email}`,
    });
    const others = await postAll(daemon, [
      booking("apt_other", '{"name":"Zoë Müllner","email":"zoe@example.org"}'),
    ]);
    await slow.received(4);
    const tried = events.length + 2;
    await until(
      "all that can be tried has been",
      async () =>
        await countOf(api, "endpoint=good&status=delivered") === tried &&
        await countOf(api, "endpoint=failing&status=failed") === tried &&
        await countOf(api, "endpoint=waiting&reason=any") === tried &&
        await countOf(api, "endpoint=garbage&reason=protocol") === tried,
    );
    await test({ daemon, api, slow, events, others, release: () => held.resolve() });
  } finally {
    held.resolve();
  }
}

onBoth(
  "nothing that people, queries or a dump can see mentions an erased person",
  async (database) => {
    await withPeople(database, async ({ daemon, api, slow, events, others, release }) => {
      const [other = ""] = others;
      const before = (await api.expect(200, "GET", `events/${other}`)).body.payload;
      const everything = await readEverything(api);
      assert.ok(
        TEXTS.every((text) => makeMention(text).inText(everything)),
        "they are there before",
      );
      const counted = await erased(api, { containing: PERSON.name, dry_run: true });
      assert.deepEqual([counted.dry_run, counted.scanned, counted.state], [
        true,
        events.length + 2,
        "done",
      ]);
      assert.ok(counted.matched > WRITINGS.length, `${counted.matched}`);
      assert.deepEqual([counted.attempts, counted.cancelled], [0, 0], "a dry run changes nothing");

      const { body: first } = await api.expect(201, "POST", "erasures", {
        containing: PERSON.name,
      });
      await until("only attempts under way are left", async () => {
        const { body } = await api.expect(200, "GET", `erasures/${first.id}`);
        return body.matched === counted.matched && body.waiting > 0 && body.waiting <= 4;
      });
      assert.equal((await api.expect(200, "GET", `erasures/${first.id}`)).body.state, "running");
      release();
      assert.equal((await ended(api, first.id)).matched, counted.matched);
      // The rest is found by these; answers of the receivers mention the name and the address everywhere.
      for (const containing of [PERSON.email, PERSON.phone]) await erased(api, { containing });

      assert.equal(
        (await api.expect(200, "GET", `events/${other}`)).body.payload,
        null,
        "by its answers",
      );
      assert.ok(before.includes("Müllner"));
      await until("nothing is pending", async () => await countOf(api, "status=pending") === 0);
      assertGone("the API", await readEverything(api));
      assertGone("the log", JSON.stringify(daemon.log));
      const sent = slow.requests.length;
      const [one = ""] = events;
      const { body: { deliveries } } = await api.expect(200, "GET", `events/${one}`);
      for (const { id } of deliveries) {
        assert.equal((await api.expect(409, "POST", `deliveries/${id}/retry`)).body.code, "erased");
      }
      await api.expect(201, "POST", "replays", {
        status: ["delivered", "failed", "cancelled"],
        since: "2020-01-01T00:00:00Z",
      });
      await until(
        "the replay has ended",
        async () => (await api.expect(200, "GET", "replays")).body.data[0].state === "done",
      );
      assert.equal(await countOf(api, "status=pending"), 0, "nothing comes back");
      assert.equal(slow.requests.length, sent);
    });
    await using db = await database.open();
    assertGone("a dump", await dump(db));
  },
);

onServer("an answer that mentions the person is enough, even if it was cut", async (database) => {
  const answers: Record<string, string | Uint8Array> = {
    apt_json: `{"name":"${WRITINGS[3]?.(PERSON.name)}"}`,
    apt_latin: Buffer.from(`<p>${PERSON.name}</p>`, "latin1"),
    // 64 KiB are kept: of the name only its first five letters.
    apt_cut: "x".repeat(65_536 - 7) + PERSON.name,
    apt_none: "<p>Zoë M.</p>",
  };
  await using receiver = await startReceiver(({ body }) => ({
    status: 200,
    body: answers[JSON.parse(body.toString()).data.appointment.id] ?? "",
  }));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const api = await checkedApi(daemon);
  const ids = await postAll(daemon, Object.keys(answers).map((id) => booking(id, "{}")));
  for (const id of ids) await daemon.delivery(await daemon.deliveryId(id));
  const { matched, attempts } = await erased(api, { containing: PERSON.name });
  assert.deepEqual([matched, attempts], [3, 3]);
  const kept = await Promise.all(
    ids.map(async (id) => (await api.expect(200, "GET", `events/${id}`)).body.payload !== null),
  );
  assert.deepEqual(kept, [false, false, false, true]);
});

onServer("an erasure outlives a daemon that is killed, and is done by two", async (database) => {
  await using receiver = await startReceiver(echo(200));
  const sections = {
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url)],
  };
  assert.ok("url" in database.section);
  await using sql = connectTo(database.section.url);
  await using one = await spawnDaemon(sections);
  await using other = await spawnDaemon(sections);
  const api = await checkedApi(other);
  const person = JSON.stringify(PERSON);
  const ids: string[] = [];
  for (let i = 0; i < 6; i++) {
    const some = Array.from({ length: 500 }, (_, j) => booking(`apt_${i}_${j}`, person));
    ids.push(...await postAll(other, some));
  }
  await until("all are delivered", async () => {
    const [row] = await sql`select count(*)::int as count from ended_deliveries`;
    return row?.["count"] === ids.length;
  });
  // A transaction that holds one of them keeps the erasure from its end.
  {
    // One connection, so that its statements are of one transaction.
    await using last = connectTo(database.section.url);
    await last`begin`;
    await last`select from events where subject = 'apt_5_499' for key share`;
    const { body: { id } } = await api.expect(201, "POST", "erasures", {
      containing: PERSON.email,
    });
    await until(
      "the erasure is on its way",
      async () => (await api.expect(200, "GET", `erasures/${id}`)).body.matched > 0,
    );
    one.kill("SIGKILL");
    await one.status;
    // If it had the turn, that ends now, and not in half a minute.
    await sql`update erasures set next_batch_at = now()`;
    await until("all but the last are erased", async () => {
      const { body } = await api.expect(200, "GET", `erasures/${id}`);
      return body.matched === ids.length && body.waiting === 1;
    });
    await last`commit`;
    const done = await ended(api, id);
    assert.deepEqual(
      [done.state, done.scanned, done.matched, done.attempts, done.waiting],
      ["done", ids.length, ids.length, ids.length, 0],
    );
  }
  await using db = await database.open();
  assertGone("a dump", await dump(db));
  assertGone("the logs", JSON.stringify([one.log, other.log]));
});

onServer("a retry that began before the erasure is cancelled by it", async (database) => {
  await using receiver = await startReceiver(echo(200));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", receiver.url)],
  });
  assert.ok("url" in database.section);
  const api = await checkedApi(daemon);
  const [event = ""] = await postAll(daemon, [booking("apt_1", JSON.stringify(PERSON))]);
  const { id } = await daemon.delivery(await daemon.deliveryId(event));
  await api.expect(200, "POST", "endpoints/crm/pause", {});
  {
    // One connection, so that its statements are of one transaction.
    await using session = connectTo(database.section.url);
    await session`begin`;
    const change = {
      actor: { name: "ops", address: null },
      action: "delivery.retried",
      object: id,
    };
    assert.ok(await retryNow(session, parseDeliveryId(id) ?? "", change) !== undefined);
    const { body: { id: erasure } } = await api.expect(201, "POST", "erasures", { event });
    await until(
      "the erasure waits for it",
      async () => (await api.expect(200, "GET", `erasures/${erasure}`)).body.waiting === 1,
    );
    assert.notEqual((await api.expect(200, "GET", `events/${event}`)).body.payload, null);
    await session`commit`;
    const { matched, cancelled, attempts } = await ended(api, erasure);
    assert.deepEqual([matched, cancelled, attempts], [1, 1, 1]);
  }
  const { body: delivery } = await api.expect(200, "GET", `deliveries/${id}`);
  assert.deepEqual([delivery.status, delivery.attempts.length], ["cancelled", 1]);
  const listed = await api.expect(200, "GET", "deliveries?reason=erased");
  assert.deepEqual(listed.body.data.map((one: { id: string }) => one.id), [id]);
  assert.equal(receiver.requests.length, 1);
});

onServer("retries and replays under way bring nothing back that is erased", async (database) => {
  await using receiver = await startReceiver(echo(500));
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s", "0s", "0s"] },
    endpoints: [endpoint("crm", receiver.url), endpoint("erp", receiver.url)],
  });
  assert.ok("url" in database.section);
  await using sql = connectTo(database.section.url);
  const api = await checkedApi(daemon);
  const some = (name: string) =>
    Array.from({ length: 400 }, (_, i) => booking(`apt_${name}${i}`, JSON.stringify({ name })));
  await postAll(daemon, some("Ana Person").flatMap((one, i) => [one, some("Bob Other")[i] ?? ""]));
  const replay = async () =>
    await api.expect(201, "POST", "replays", {
      status: ["failed", "cancelled", "delivered"],
      since: "2020-01-01T00:00:00Z",
    });
  await replay();
  const { body: { id } } = await api.expect(201, "POST", "erasures", { containing: "ana person" });
  await until("the erasure has ended", async () => {
    await replay();
    return (await api.expect(200, "GET", `erasures/${id}`)).body.state === "done";
  });
  const ofAna = () => receiver.requests.filter(({ body }) => body.includes("Ana Person")).length;
  const before = ofAna();
  await replay();
  await until("nothing is pending", async () =>
    await countOf(api, "status=pending") === 0 &&
    (await api.expect(200, "GET", "replays?limit=1")).body.data[0].state === "done");
  assert.equal(ofAna(), before);
  const [left] = await sql`
    select (select count(*) from events where payload is null)::int as erased,
      (select count(*) from events where payload like '%Ana%')::int as kept,
      (select count(*) from attempts_all a join events e on e.id = event_of(a.delivery_id)
        where e.erased_at is not null and num_nonnulls(response_head, response_body, cause) > 0)::int
        as told`;
  assert.deepEqual(left, { erased: 400, kept: 0, told: 0 });
});

onServer(
  "a repetition of an erased event is still one, whatever its bytes are now",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const api = await checkedApi(daemon);
    const post = (subject: string, key: string) =>
      daemon.post(booking(subject, "{}"), { "idempotency-key": key });
    const { body: first } = await post("apt_1", "one");
    await post("apt_2", "other");
    assert.equal((await post("apt_9", "one")).status, 409);
    const { matched, scanned } = await erased(api, { subject: "appointment:apt_1" });
    assert.deepEqual([matched, scanned], [1, 1]);
    for (const subject of ["apt_1", "apt_9"]) {
      const { status, body } = await post(subject, "one");
      assert.deepEqual([status, body], [200, { ...first, duplicate: true }]);
    }
    assert.equal((await post("apt_9", "other")).status, 409, "others are compared as before");
    await receiver.received(2);
    await erased(api, { subject: "apt_2" });
    assert.equal((await post("apt_9", "other")).status, 200);
    assert.equal(receiver.requests.length, 2);
  },
);

onServer(
  "POST /api/erasures wants exactly one thing to look for, and says where it errs",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    const api = await checkedApi(daemon);
    const pointers = async (body: unknown) =>
      (await api.expect(422, "POST", "erasures", body)).body.errors
        .map(({ pointer }: { pointer: string }) => pointer);
    assert.deepEqual(await pointers({}), [""]);
    assert.deepEqual(await pointers({ dry_run: true }), [""]);
    assert.deepEqual(await pointers({ containing: " Zoë " }), ["/containing"]);
    assert.deepEqual(await pointers({ containing: "Zoë?", subject: "apt_1" }), ["/containing"]);
    assert.deepEqual(await pointers({ event: "evt_0000000000000000000z" }), ["/event"]);
    assert.deepEqual(await pointers({ event: "apt_1" }), ["/event"]);
    const refused = await api.expect(422, "POST", "erasures", {
      containing: PERSON.name,
      dry: true,
    });
    assertGone("the refusal", JSON.stringify(refused.body));
    await erased(api, { containing: PERSON.name });
    const { body } = await api.expect(200, "GET", "audit?limit=2");
    assert.deepEqual(
      body.data.map((
        one: { actor: string; action: string; after: unknown },
      ) => [one.actor, one.action, one.after]),
      [
        ["the eraser", "erasure.done", {
          kind: "containing",
          scanned: 0,
          matched: 0,
          attempts: 0,
          cancelled: 0,
        }],
        ["ops", "erasure.created", { kind: "containing", dry_run: false }],
      ],
    );
  },
);

onServer(
  "an erasure needs a key, and fails once nobody has had it for an hour",
  async (database) => {
    assert.ok("url" in database.section);
    await using sql = connectTo(database.section.url);
    {
      await using daemon = await startDaemon({ database: database.section });
      const api = await checkedApi(daemon);
      const { body } = await api.expect(409, "POST", "erasures", { containing: PERSON.name });
      assert.match(body.detail, /encryption_key: env:NAME/);
    }
    const id = await (async () => {
      await using daemon = await startDaemon({
        database: database.section,
        encryption_key: ENCRYPTION_KEY,
      });
      const api = await checkedApi(daemon);
      const { body } = await api.expect(201, "POST", "erasures", { containing: PERSON.name });
      await ended(api, body.id);
      // As it was before, but sealed under a key that no daemon has.
      await sql`
      update erasures set state = 'running', ended_at = null, sealed = decode('01ffffffff', 'hex'),
        next_batch_at = now() - interval '50 minutes'`;
      return body.id;
    })();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    const api = await checkedApi(daemon);
    assert.equal((await api.expect(200, "GET", `erasures/${id}`)).body.state, "running");
    await sql`update erasures set next_batch_at = now() - interval '61 minutes'`;
    const { state, failure } = await ended(api, id);
    assert.equal(state, "failed");
    assert.match(failure, /key/);
    assert.ok(daemon.log.some(({ message }) => message.startsWith("An erasure failed")));
    const [row] = await sql`select sealed from erasures`;
    assert.equal(row?.["sealed"], null);
  },
);
