import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeMention } from "../../lib/core/mention.ts";
import type { Database } from "../../lib/store/database.ts";
import { type CheckedApi, checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { endpoint, type Front, startDaemon } from "../support/daemon.ts";
import { onBoth, type TestDatabase } from "../support/databases.ts";
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
  // What people search for: the answer may suggest what is similar.
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
      endpoint("failing", bad.url),
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
