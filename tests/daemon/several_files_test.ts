import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import type { Sql } from "postgres";
import { CHANNEL, DAEMONS } from "../../lib/store/changes.ts";
import { cancelRetired } from "../../lib/store/deliveries.ts";
import { checkedApi } from "../support/checked.ts";
import {
  ADMIN,
  booking,
  endpoint,
  type Front,
  type LogLine,
  SECRET,
  type Sections,
  spawnDaemon,
  startDaemon,
  type TestDaemon,
} from "../support/daemon.ts";
import { embeddedDatabase, onServer, server, type TestDatabase } from "../support/databases.ts";
import { connectTo } from "../support/postgres.ts";
import { type Received, startReceiver } from "../support/receiver.ts";
import { travelDatabase } from "../support/travel.ts";
import { until } from "../support/wait.ts";

const SECOND = "second-secret-of-the-tests-1";
const secrets = { main: SECRET, second: SECOND };

/** A configuration file on a database, with these endpoints and sections. */
function file(
  database: Pick<TestDatabase, "section"> | string,
  endpoints: Record<string, unknown>[],
  more: Record<string, unknown> = {},
): Sections {
  const section = typeof database === "string" ? { url: database } : database.section;
  return { database: section, secrets, delivery: { retry: ["0s", "300ms"] }, endpoints, ...more };
}

function idOf({ log }: { readonly log: readonly LogLine[] }): string {
  return String(log.find(({ message }) => message === "Listening")?.daemon);
}

/** Has every daemon look who is there, as each does every ten seconds. */
async function look(sql: Sql): Promise<void> {
  await sql.notify(CHANNEL, DAEMONS);
}

/** Lets two minutes pass for a daemon that is gone. */
async function forget(sql: Sql, id: string): Promise<void> {
  await sql`update daemons set seen_at = seen_at - interval '2 minutes' where id = ${id}`;
  await look(sql);
}

async function inForce(front: Front): Promise<string[]> {
  const { body } = await front.api("endpoints");
  return body.data.map(({ id }: { id: string }) => id).sort();
}

/** The stored endpoints that are not retired, and how often each was changed. */
async function stored(sql: Sql): Promise<string> {
  const rows = await sql<{ id: string; version: number }[]>`
    select id, version from endpoints where retired_at is null order by id`;
  return rows.map(({ id, version }) => `${id} ${version}`).join(", ");
}

async function cancelled(sql: Sql): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select distinct n.id from ended_deliveries d join endpoints n on n.no = d.endpoint_no
    where d.status = 'cancelled' order by n.id`;
  return rows.map(({ id }) => id);
}

function warned({ log }: { readonly log: readonly LogLine[] }): string {
  return log.filter(({ level }) => level === "warn").map((line) => JSON.stringify(line)).join("\n");
}

function isSigned({ headers, body }: Received, secret: string): boolean {
  const signature = createHmac("sha256", secret).update(body).digest("hex");
  return headers["x-bookme-signature"] === `sha256=${signature}`;
}

const sqlOf = (database: TestDatabase) =>
  connectTo("url" in database.section ? database.section.url : "");

/** Posts an event that is owed to one endpoint, and waits until its first attempt has failed. */
async function postAndFail(front: Front): Promise<void> {
  const { body } = await front.post(booking("apt_1"));
  assert.equal(body.deliveries, 1);
  const failed = (found: { attempt_count: number; sending: boolean }) =>
    found.attempt_count === 1 && !found.sending;
  await front.delivery(await front.deliveryId(body.id), failed);
}

onServer("a daemon started with an older file changes nothing and says why", async (database) => {
  await using receiver = await startReceiver();
  await using sql = sqlOf(database);
  const crm = endpoint("crm", `${receiver.url}/crm`);
  const old = file(database, [crm, endpoint("old", `${receiver.url}/old`)]);
  const fresh = file(database, [crm, endpoint("erp", `${receiver.url}/erp`)]);
  await using first = await startDaemon(old);
  await using second = await startDaemon(fresh);
  assert.deepEqual(await inForce(second), ["crm", "erp"], "a newer file is in force at once");
  const now = await stored(sql);
  await first.stop();
  await using third = await startDaemon(old);
  assert.equal(await stored(sql), now);
  const { body } = await third.post(booking("apt_1"));
  assert.equal(body.deliveries, 2, "it owes what the file in force says");
  const erp = await second.delivery(await second.deliveryId(body.id, "erp"));
  assert.equal(erp.status, "delivered", "by the daemon that has the secret");
  const said = "endpoint erp is missing, endpoint old is not in force";
  assert.match(warned(third), /Another daemon's file is in force/);
  assert.ok(warned(third).includes(said), warned(third));
  assert.ok(warned(third).includes(idOf(second)));
  await until("the other says so too", () => warned(second).includes(said));
  assert.match(warned(second), /is older than this daemon's/);

  const api = await checkedApi(third);
  const { body: { data } } = await api.expect(200, "GET", "daemons");
  assert.deepEqual(
    data.map((one: Record<string, unknown>) => [one.id, one.in_force, one.differences]),
    [[idOf(third), false, said.split(", ")], [idOf(second), true, []]],
  );
  const { body: page } = await api.expect(200, "GET", "daemons?limit=1");
  const { body: rest } = await api.expect(200, "GET", `daemons?cursor=${page.next_cursor}`);
  assert.deepEqual([...page.data, ...rest.data].map(({ id }) => id), [idOf(third), idOf(second)]);
  await api.expect(422, "GET", "daemons?cursor=dmn_0000000000");
  const { body: own } = await api.expect(200, "GET", "config");
  assert.deepEqual(own.endpoints.map(({ id }: { id: string }) => id), ["crm", "old"]);
  const { body: endpoints } = await api.expect(200, "GET", "endpoints/erp");
  assert.equal(endpoints.sendable, false);
  assert.match(endpoints.unsendable_reason, /does not name the endpoint/);
  const ready = await fetch(`${third.url}/readyz`);
  assert.equal(ready.status, 200, await ready.text());
  assert.deepEqual(await cancelled(sql), []);
});

onServer("a file comes in force once those with a newer one are gone", async (database) => {
  await using sql = sqlOf(database);
  const retry = { delivery: { retry: ["0s", "1h"] } };
  const at = (id: string) => file(database, [endpoint(id, "http://127.0.0.1:9/")], retry);
  await using first = await startDaemon(at("one"));
  await using second = await startDaemon(at("two"));
  await using third = await spawnDaemon(at("three"));
  assert.deepEqual(await inForce(first), ["three"]);
  await postAndFail(first);
  third.kill("SIGKILL");
  await third.status;
  await look(sql);
  await until("the others have looked", async () => {
    const [row] = await sql`select count(*)::int as n from daemons
      where seen_at > (select seen_at from daemons where id = ${idOf(third)})`;
    return row?.n === 2;
  });
  assert.deepEqual(await inForce(first), ["three"], "it may be restarting");
  await forget(sql, idOf(third));
  await until("the next one is", async () => (await inForce(first)).join() === "two");
  assert.match(await stored(sql), /^two/);
  const warning =
    /Endpoint retired: not in the file","endpoint":"three","cancels":1,"when":"in 24 h/;
  await until("it warns", () => warning.test(warned(second)));
  const pending = async () =>
    (await first.api("deliveries?status=pending")).body.data.map((
      { endpoint_id }: { endpoint_id: string },
    ) => endpoint_id);
  assert.equal((await cancelRetired(sql, 1_000)).found, 0, "it may still come back");
  assert.deepEqual(await pending(), ["three"]);
  {
    await using _back = await startDaemon(at("three"));
    assert.deepEqual(await inForce(first), ["three"]);
    assert.deepEqual(await pending(), ["three"], "and is owed what it was");
  }

  // It stopped, which may be a restart in the middle of a change.
  const last = async () => {
    const [row] = await sql<{ id: string }[]>`
      select id from daemons order by started_at desc limit 1`;
    return row?.id ?? "";
  };
  await forget(sql, await last());
  await until("the next one is again", async () => (await inForce(first)).join() === "two");
  await until("what the last one is owed is cancelled", async () => (await pending()).length === 0);
  await second.stop();
  await look(sql);
  await until("the first has looked", async () => {
    const [row] = await sql`select from daemons a join daemons b on b.id = ${idOf(second)}
      where a.id = ${idOf(first)} and a.seen_at > b.seen_at`;
    return row !== undefined;
  });
  assert.deepEqual(await inForce(first), ["two"]);
  await forget(sql, idOf(second));
  await until("the last one is", async () => (await inForce(first)).join() === "one");
});

onServer("a reload cancels what waited for a daemon that is gone", async (database) => {
  await using sql = sqlOf(database);
  const retry = { delivery: { retry: ["0s", "1h"] } };
  const at = (id: string) => file(database, [endpoint(id, "http://127.0.0.1:9/")], retry);
  await using first = await startDaemon(at("one"));
  await using second = await spawnDaemon(at("two"));
  await postAndFail(first);
  second.kill("SIGKILL");
  await second.status;
  await forget(sql, idOf(second));
  await until("the first file is in force", async () => (await inForce(first)).join() === "one");
  assert.equal((await cancelRetired(sql, 1_000)).found, 0);
  assert.equal((await first.api("reload", ADMIN, "POST")).status, 200);
  await until("it is cancelled", async () => (await cancelled(sql)).join() === "two");
});

onServer(
  "a daemon that starts alone after a graceful stop has its file in force",
  async (database) => {
    const at = (id: string) => file(database, [endpoint(id, "http://127.0.0.1:9/")]);
    for (const id of ["one", "two", "one", "two"]) {
      await using daemon = await startDaemon(at(id));
      assert.deepEqual(await inForce(daemon), [id]);
      assert.equal(warned(daemon), "");
    }
  },
);

Deno.test("an embedded database has no other daemon, also after a kill -9", async () => {
  await using database = await embeddedDatabase();
  const at = (id: string) => file(database, [endpoint(id, "http://127.0.0.1:9/")]);
  {
    await using first = await startDaemon(at("one"));
    assert.deepEqual(await inForce(first), ["one"]);
  }
  {
    await using second = await spawnDaemon(at("two"));
    assert.deepEqual(await inForce(second), ["two"]);
    second.kill("SIGKILL");
    await second.status;
  }
  await using third = await startDaemon(at("one"));
  assert.deepEqual(await inForce(third), ["one"]);
  const { body } = await third.api("daemons");
  assert.deepEqual(body.data.map(({ id }: { id: string }) => id), [idOf(third)]);
});

onServer("a reload puts even an older, unchanged file in force", async (database) => {
  const at = (id: string) => file(database, [endpoint(id, "http://127.0.0.1:9/")]);
  await using first = await startDaemon(at("one"));
  await using second = await startDaemon(at("two"));
  assert.deepEqual(await inForce(first), ["two"]);
  assert.equal((await first.api("reload", ADMIN, "POST")).status, 200);
  assert.deepEqual(await inForce(second), ["one"]);
  await until("the second says so", () => /endpoint one is missing/.test(warned(second)));
  await using third = await startDaemon(at("two"));
  assert.deepEqual(await inForce(third), ["one"], "it was seen before");
  assert.equal((await third.api("reload", ADMIN, "POST")).status, 200);
  assert.deepEqual(await inForce(first), ["two"]);
  await until("the first says so", () => /this daemon's is older/.test(warned(first)));
  assert.equal(
    (await second.api("daemons")).body.data.filter(
      (one: { in_force: boolean }) => one.in_force,
    ).length,
    2,
  );
});

onServer(
  "no daemon sends with secrets, headers or policies of a file not in force",
  async (database) => {
    await using receiver = await startReceiver();
    await using sql = sqlOf(database);
    const before = [
      endpoint("secret", `${receiver.url}/secret`),
      endpoint("headers", `${receiver.url}/headers`, { headers: { "X-Key": "old-value" } }),
      endpoint("url", `${receiver.url}/before`),
      endpoint("retry", `${receiver.url}/retry`, { retry: ["0s", "1s"] }),
      endpoint("events", `${receiver.url}/events`),
      endpoint("businesses", `${receiver.url}/businesses`),
      endpoint("same", `${receiver.url}/same`),
    ];
    const after = before.map((one) => ({
      ...one,
      ...{
        secret: { secret: "second" },
        headers: { headers: { "X-Key": "new-value" } },
        url: { url: `${receiver.url}/after` },
        retry: { retry: ["0s", "2s"] },
        events: { events: ["service.*"] },
        businesses: { businesses: ["bus_1"] },
      }[one.id],
    }));
    await using old = await startDaemon(file(database, before));
    await using fresh = await startDaemon(file(database, after, {
      delivery: { retry: ["0s", "1m", "1m"], timeout: "7s" },
      retention: { events: "7d", attempts: "7d" },
    }));
    const said = [
      "businesses differs in businesses",
      "events differs in events",
      "headers differs in headers",
      "retry differs in policy",
      "secret differs in secret",
      "url differs in url",
    ].map((one) => `endpoint ${one}`);
    await until("it says what differs", () =>
      warned(old).includes(
        [...said, "delivery differs", "retention differs"].join(", "),
      ));
    const { body } = await old.post(booking("apt_1", "bus_2"));
    assert.equal(body.deliveries, 5, "what the file in force selects");
    for (const id of ["secret", "headers", "url", "retry", "same"]) {
      const delivery = await old.delivery(await old.deliveryId(body.id, id));
      assert.equal(delivery.status, "delivered", id);
    }
    const paths = new Map(receiver.requests.map((request) => [request.path, request]));
    assert.deepEqual([...paths.keys()].sort(), [
      "/after",
      "/headers",
      "/retry",
      "/same",
      "/secret",
    ]);
    assert.equal(paths.get("/headers")?.headers["x-key"], "new-value");
    for (const [path, request] of paths) {
      assert.ok(isSigned(request, path === "/secret" ? SECOND : SECRET), path);
    }
    const sendable = async (id: string) => (await old.api(`endpoints/${id}`)).body;
    for (const id of ["secret", "headers"]) {
      assert.match(
        (await sendable(id)).unsendable_reason,
        /another secret, header value or TLS key/,
      );
    }
    assert.deepEqual((await sendable("retry")).retry_ms, [0, 2_000]);
    assert.equal((await sendable("same")).timeout_ms, 7_000);
    // The new one leaves; what only it could send waits, and its own file is not used for it.
    await fresh.stop();
    const { body: late } = await old.post(booking("apt_2", "bus_2"));
    const same = await old.delivery(await old.deliveryId(late.id, "same"));
    assert.equal(same.status, "delivered");
    const [waiting] = await sql`select count(*)::int as n from pending_deliveries`;
    assert.equal(waiting?.n, 2, "secret and headers");
    await forget(sql, idOf(fresh));
    await until("they are sent by the old file", async () => {
      const [left] = await sql`select count(*)::int as n from pending_deliveries`;
      return left?.n === 0;
    });
    assert.ok(isSigned(receiver.requests.findLast(({ path }) => path === "/secret")!, SECRET));
  },
);

onServer("an event of a type that only one daemon knows is sent by another", async (database) => {
  await using receiver = await startReceiver();
  const crm = endpoint("crm", receiver.url);
  const stock = { events: [{ name: "stock.low", description: "Low" }] };
  await using _old = await startDaemon(file(database, [crm]));
  await using fresh = await startDaemon(file(database, [{ ...crm, concurrency: 1 }], stock));
  const { status } = await fresh.post(Array.from({ length: 20 }, () => ({
    event: "stock.low",
    timestamp: "2025-10-31T15:30:00Z",
    data: {},
  })));
  assert.equal(status, 202);
  await fresh.stop();
  await receiver.received(20);
});

onServer("of two files that come at the same moment one is in force for both", async (database) => {
  await using sql = sqlOf(database);
  for (let round = 0; round < 4; round++) {
    const [one, two] = await Promise.all(
      ["a", "b"].map((id) =>
        startDaemon(file(database, [endpoint(`${id}${round}`, "http://127.0.0.1:9/")]))
      ),
    ) as [TestDaemon, TestDaemon];
    const digest = await until("one is in force", async () => {
      const [row] = await sql`
        select digest, digest = newest_held_file() as is_settled from file_in_force`;
      return row?.is_settled && row.digest;
    });
    const ids = [one, two].map(({ log }) =>
      log.find(({ message }) => message === "Listening")?.file === digest
    );
    const id = ids[0] ? `a${round}` : `b${round}`;
    assert.deepEqual(await inForce(one), [id]);
    assert.deepEqual(await inForce(two), [id]);
    await Promise.all([one, two].map((daemon) => daemon[Symbol.asyncDispose]()));
  }
});

Deno.test("a step of the database's clock changes no file in force", async () => {
  const database = await travelDatabase(server);
  {
    await using sql = connectTo(database.url);
    const at = (id: string) => file(database.url, [endpoint(id, "http://127.0.0.1:9/")]);
    await using first = await startDaemon(at("one"));
    await using second = await startDaemon(at("two"));
    const lives = async () => {
      const { body } = await first.api("daemons");
      return body.data.length === 2;
    };
    const now = await stored(sql);
    for (const step_ms of [600_000, -1_200_000, 7_200_000, -14_400_000]) {
      await database.forward(step_ms);
      await look(sql);
      await until("both live by the new time", lives);
      assert.equal(await stored(sql), now, "nobody came in force in between");
    }
    assert.equal((await first.api("reload", ADMIN, "POST")).status, 200);
    assert.deepEqual(await inForce(second), ["one"], "a reload is the last word, by any clock");
    await using third = await startDaemon(at("three"));
    assert.deepEqual(await inForce(third), ["three"]);
  }
  await database.drop();
});

onServer(
  "a rolling change over three daemons and its rollback lose and cancel nothing",
  async (database) => {
    await using receiver = await startReceiver();
    await using sql = sqlOf(database);
    const to = (id: string, path: string, more = {}) => endpoint(id, receiver.url + path, more);
    // The new file moves and re-keys one endpoint, narrows none, and brings another.
    const v1 = file(database, [to("crm", "/main/1"), to("all", "/main/all")]);
    const v2 = file(database, [
      to("crm", "/second/2", { secret: "second" }),
      to("all", "/main/all"),
      to("erp", "/main/erp"),
    ]);
    const running = new Map<string, TestDaemon>();
    const accepted = new Map<string, number>();
    await using stack = new AsyncDisposableStack();
    stack.defer(async () => {
      for (const daemon of running.values()) await daemon[Symbol.asyncDispose]();
    });
    const restart = async (name: string, sections: Sections | undefined): Promise<void> => {
      const before = running.get(name);
      running.delete(name);
      await before?.[Symbol.asyncDispose]();
      if (sections === undefined) return;
      running.set(name, await startDaemon(sections));
    };
    let posting = true;
    const post = async (name: string) => {
      for (let nth = 0; posting; nth++) {
        const daemon = running.get(name);
        if (daemon === undefined) await until("it is back", () => running.has(name) || !posting);
        else {
          // One that stops refuses connections at the end.
          const answer = await daemon.post(booking(`${name}_${nth}`)).catch(() => undefined);
          if (answer?.status === 202) accepted.set(answer.body.id, answer.body.deliveries);
        }
      }
    };
    const more = async () => {
      const { size } = accepted;
      await until("more is accepted", () => accepted.size > size + 20);
    };
    const names = ["a", "b", "c"];
    for (const name of names) await restart(name, v1);
    const load = Promise.all(names.map(post));
    await more();

    await restart("c", undefined); // down for an hour
    await restart("a", v2);
    await more();
    await restart("b", v1); // out of turn
    await more();
    assert.match(await stored(sql), /^all 1, crm 2, erp 1$/);
    await restart("b", v2);
    await sql`update daemons set seen_at = seen_at - interval '1 hour' where stopped_at is not null`;
    await restart("c", v1);
    await more();
    await restart("c", v2);
    await more();
    assert.match(await stored(sql), /^all 1, crm 2, erp 1$/);
    assert.deepEqual(await cancelled(sql), []);

    for (const name of names) {
      await restart(name, v1);
      await more();
    }
    assert.match(await stored(sql), /^all 1, crm 2, erp 1$/, "the last of v2 may be restarting");
    const settled = async () => {
      const [row] = await sql`select count(*)::int as n from pending_deliveries p
      join endpoints e on e.no = p.endpoint_no where e.id <> 'all'`;
      return Number(row?.n);
    };
    assert.ok(await settled() > 0, "crm and erp wait for a daemon that has their secrets");
    await sql`update daemons set seen_at = seen_at - interval '2 minutes'
    where stopped_at is not null`;
    await look(sql);
    await until("v1 is in force", async () => /^all 1, crm 3$/.test(await stored(sql)));
    await more();
    posting = false;
    await load;
    await until("everything has ended", async () => {
      const [row] = await sql`select from pending_deliveries limit 1`;
      return row === undefined;
    });
    assert.deepEqual(await cancelled(sql), ["erp"], "taken out of the file in force");
    const [owed] = await sql`
    select count(*)::int as n, count(*) filter (where d.status = 'delivered')::int as delivered,
      count(*) filter (where d.status = 'delivered' or e.id = 'erp')::int as right
    from ended_deliveries d join endpoints e on e.no = d.endpoint_no`;
    assert.equal(owed?.right, owed?.n, JSON.stringify(owed));
    const received = Map.groupBy(receiver.requests, (request) => request.headers["webhook-id"]);
    for (const [id, deliveries] of accepted) {
      assert.ok(deliveries >= 2);
      const paths = received.get(id)?.map(({ path }) => path) ?? [];
      assert.ok(paths.includes("/main/all"), `${id}: ${paths}`);
      assert.ok(paths.includes("/main/1") || paths.includes("/second/2"), `${id}: ${paths}`);
    }
    for (const request of receiver.requests) {
      assert.ok(isSigned(request, request.path.startsWith("/second") ? SECOND : SECRET));
    }
  },
);
