import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { deliveryId } from "../../../lib/core/ids.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onBoth, onServer } from "../../support/databases.ts";
import { readerOf } from "../../../routes/stream_reader.ts";
import { MAX_UNSENT_BYTES } from "../../../lib/admin/stream.ts";
import { connectTo } from "../../support/postgres.ts";
import { startReceiver, statuses } from "../../support/receiver.ts";
import { follow, followed, heard } from "../../support/stream.ts";
import { until } from "../../support/wait.ts";

onBoth("GET /api/stream shows what changes, as it is now", async (database) => {
  await using receiver = await startReceiver(statuses(503, 200));
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["0s", "1h"] },
    endpoints: [endpoint("crm", receiver.url)],
  });
  using stream = await followed(daemon, { token: VIEWER });
  assert.equal(stream.status, 200);
  assert.equal(stream.headers["content-type"], "text/event-stream");
  assert.equal(stream.headers["cache-control"], "no-store");
  assert.equal(stream.headers["x-accel-buffering"], "no");
  const { body: { id } } = await daemon.post(booking("apt_1", "bus_1"));
  const event = await heard(stream, "event");
  assert.deepEqual(event, { id, type: "booking.created", business: "bus_1", test: false });
  const failed = await heard(stream, "delivery", ({ attempts }) => attempts === 1);
  const facts = { id: failed.id, event_id: id, type: "booking.created", endpoint_id: "crm" };
  const last = { attempts: 1, last_outcome: "http_5xx", last_status: 503 };
  assert.deepEqual(failed, { ...facts, status: "pending", ...last });
  await daemon.api(`deliveries/${failed.id}/retry`, ADMIN, "POST");
  const delivered = await heard(stream, "delivery", ({ status }) => status === "delivered");
  const again = { attempts: 2, last_outcome: "delivered", last_status: 200 };
  assert.deepEqual(delivered, { ...facts, status: "delivered", ...again });
  await daemon.api("endpoints/crm/pause", ADMIN, "POST");
  assert.deepEqual(await heard(stream, "endpoint"), {
    id: "crm",
    version: 1,
    paused: true,
    retired: false,
  });
  assert.ok(!stream.ended);
});

onServer(
  "a stream resumes at another daemon, and misses nothing that commits late",
  async (database) => {
    await using receiver = await startReceiver();
    const sections = { database: database.section, endpoints: [endpoint("crm", receiver.url)] };
    await using one = await startDaemon(sections);
    await using other = await startDaemon(sections);
    await using sql = connectTo((database.section as { url: string }).url);
    using first = await followed(one);
    const { body: { id } } = await other.post(booking("apt_1"));
    await heard(first, "event", (event) => event.id === id);
    await heard(first, "delivery", ({ status }) => status === "delivered");
    // Takes a number now, and is committed after the ones that follow it.
    const [row] = await sql<{ id: string }[]>`select id from ended_deliveries`;
    assert.ok(row !== undefined);
    const late = await sql.reserve();
    try {
      await late`begin`;
      await late`insert into changes (deliveries) values (array[${row.id}::uuid])`;
      const { body: { id: next } } = await one.post(booking("apt_2"));
      await heard(first, "event", (event) => event.id === next);
      first[Symbol.dispose]();
      using second = await followed(other, { last_id: first.last_id ?? "" });
      await heard(second, "event", (event) => event.id === next);
      const before = second.messages.length;
      await late`commit`;
      const said = await until(
        "what was committed late is shown",
        () =>
          second.messages.slice(before).find((message) =>
            message.said["id"] === deliveryId(row.id)
          ),
      );
      assert.equal(said?.event, "delivery");
      assert.ok(
        !second.messages.some((message) => message.event === "reset"),
      );
    } finally {
      late.release();
    }
  },
);

onServer("a stream that cannot resume says reset", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using sql = connectTo((database.section as { url: string }).url);
  const events = async (last_id: string) => {
    using stream = await followed(daemon, { last_id });
    return stream.messages.map((message) => message.event);
  };
  const stream = await followed(daemon);
  const id = Number(stream.last_id);
  stream[Symbol.dispose]();
  assert.deepEqual(await events(String(id)), ["ready"], "nothing has happened since");
  for (const last_id of [String(id + 1), String(id - 1), "-1", "abc", "1".repeat(30)]) {
    assert.deepEqual(await events(last_id), ["ready", "reset"], last_id);
  }
  await sql`insert into changes (endpoints) select '{}' from generate_series(1, 3)`;
  assert.deepEqual(await events(String(id)), ["ready"], "nothing to be shown");
  await sql`update fleet set streamed_until = now() - interval '1 s'`;
  await using other = await startDaemon({ database: database.section });
  using after = await followed(other, { last_id: String(id + 3) });
  assert.deepEqual(after.messages.map(({ event }) => event), ["ready", "reset"], "after a pause");
});

onServer("a stream starts again if changes were lost while it was open", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using sql = connectTo((database.section as { url: string }).url);
  using stream = await followed(daemon);
  // At once: the stream must not read them in between.
  const insert = "insert into changes (endpoints) values ('{}')";
  const lose = "delete from changes where no < (select max(no) from changes)";
  await sql.unsafe(`begin; ${insert}; ${insert}; ${lose}; commit`);
  await heard(stream, "reset");
  await until(
    "it is ready again",
    () => stream.messages.filter(({ event }) => event === "ready").length === 2,
  );
  const { body: { id } } = await daemon.post(booking("apt_1"));
  await heard(stream, "event", (event) => event.id === id);
});

onServer("a stream narrowed to an endpoint shows nothing of others", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url), endpoint("shop", receiver.url)],
  });
  const unknown = await follow(daemon, { query: "?endpoint=nobody" });
  assert.equal(unknown.status, 422);
  using stream = await followed(daemon, { query: "?endpoint=shop" });
  using all = await followed(daemon);
  await daemon.post(booking("apt_1"));
  await daemon.api("endpoints/crm/pause", ADMIN, "POST");
  await daemon.api("endpoints/shop/pause", ADMIN, "POST");
  await heard(all, "delivery", ({ endpoint_id }) => endpoint_id === "crm");
  await heard(stream, "delivery", ({ status }) => status === "delivered");
  await heard(stream, "endpoint");
  const shown = stream.messages.filter(({ event }) => event !== "ready");
  assert.deepEqual(
    new Set(shown.map(({ said }) => said["endpoint_id"] ?? said["id"])),
    new Set(["shop"]),
  );
});

onServer("many changes at once are counted", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  using stream = await followed(daemon);
  await daemon.post(Array.from({ length: 201 }, (_, n) => booking(`apt_${n}`)));
  const none = { deliveries: 0, endpoints: 0, replays: 0, alerts: 0 };
  assert.deepEqual(await heard(stream, "many"), { events: 201, ...none });
  assert.ok(!stream.messages.some(({ event }) => event === "event"));
});

onServer(
  "HEAD /api/stream answers the head alone, and wrong queries are refused",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const head = await follow(daemon, { method: "HEAD" });
    await until("it has ended", () => head.ended);
    assert.deepEqual([head.status, head.text], [200, ""]);
    assert.equal(head.headers["content-type"], "text/event-stream");
    const wrong = await follow(daemon, { query: "?type=booking.created" });
    assert.equal(wrong.status, 422);
    const nobody = await follow(daemon, { token: "nobody-has-this-token-0000" });
    assert.equal(nobody.status, 401);
  },
);

onServer("a stream ends once its token does, and at most ten have one token", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "127.0.0.1:0" },
    endpoints: [endpoint("crm", receiver.url)],
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const link = await api.expect(201, "POST", "portal-links", { business: "bus_1" });
  const { id, token } = link.body;
  const streams = await Promise.all(Array.from({ length: 10 }, () => followed(daemon, { token })));
  const more = await follow(daemon, { token });
  assert.equal(more.status, 429);
  assert.equal(more.headers["retry-after"], "15");
  using of_other = await followed(daemon);
  const [first] = streams;
  first?.[Symbol.dispose]();
  using another = await until("there is room again", async () => {
    const stream = await follow(daemon, { token });
    return stream.status === 200 ? stream : undefined;
  });
  const { body: mine } = await daemon.post(booking("apt_1", "bus_1"));
  await heard(of_other, "event", (event) => event.id === mine.id);
  await heard(another, "event", (event) => event.id === mine.id);
  await api.expect(200, "DELETE", `portal-links/${id}`);
  const { body: late } = await daemon.post(booking("apt_2", "bus_1"));
  await heard(of_other, "event", (event) => event.id === late.id);
  await until(
    "all of the link have ended",
    () => [another, ...streams].every(({ ended }) => ended),
  );
  assert.ok(![another, ...streams].some(({ text }) => text.includes(late.id)));
  assert.ok(!of_other.ended);
  streams.forEach((stream) => stream[Symbol.dispose]());
});

onServer("a business sees and counts its own alone", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    delivery: { retry: ["1h", "1h"] },
    endpoints: [endpoint("crm", "http://127.0.0.1:9/", { businesses: ["bus_1"] })],
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const made = async (business: string) => {
    const { body: { token } } = await api.expect(201, "POST", "portal-links", { business });
    const fields = { url: "https://receiver.example.com/", events: ["*"] };
    const { body } = await api.call("POST", "endpoints", fields, token);
    return { token, endpoint: body.id };
  };
  const [one, two] = [await made("bus_1"), await made("bus_2")];
  assert.ok(one.endpoint !== undefined && two.endpoint !== undefined);
  using all = await followed(daemon);
  using own = await followed(daemon, { token: one.token });
  const hidden = await follow(daemon, { token: one.token, query: `?endpoint=${two.endpoint}` });
  const never = await follow(daemon, { token: one.token, query: "?endpoint=ep_00000000000000" });
  await until("both have answered", () => hidden.ended && never.ended);
  assert.deepEqual([hidden.status, never.status], [422, 422]);
  assert.equal(
    hidden.text.replaceAll(two.endpoint, "X"),
    never.text.replaceAll("ep_00000000000000", "X"),
  );
  const others = Array.from({ length: 150 }, (_, n) => booking(`apt_a${n}`, "bus_2"));
  const mine = Array.from({ length: 110 }, (_, n) => booking(`apt_b${n}`, "bus_1"));
  const { body: posted } = await daemon.post([...others, ...mine]);
  await heard(all, "many");
  await api.call("POST", `endpoints/${two.endpoint}/pause`);
  await api.call("POST", "endpoints/crm/pause");
  await api.call("POST", "replays", { endpoint: two.endpoint, since: "2020-01-01T00:00:00Z" });
  await heard(all, "replay");
  await daemon.post(booking("apt_last", "bus_1"));
  const last = await heard(own, "delivery", ({ endpoint_id }) => endpoint_id === one.endpoint);
  assert.equal(last["type"], "booking.created");
  const many = own.messages.filter(({ event }) => event === "many").map(({ said }) => said);
  assert.deepEqual(many, [{ events: 110, deliveries: 110, endpoints: 0, replays: 0, alerts: 0 }]);
  const strangers = [
    two.endpoint,
    "crm",
    ...posted.slice(0, 150).map(({ id }: { id: string }) => id),
  ];
  assert.ok(!strangers.some((id) => own.text.includes(id)));
  // A number would count what others do.
  assert.match(own.last_id ?? "", /^t\d{13}$/);
  own[Symbol.dispose]();
  const { body: missed } = await daemon.post(booking("apt_missed", "bus_1"));
  using resumed = await follow(daemon, { token: one.token, last_id: own.last_id ?? "" });
  await heard(resumed, "event", ({ id }) => id === missed.id);
  assert.ok(!resumed.messages.some(({ event }) => event === "reset"));
  using guessing = await follow(daemon, { token: one.token, last_id: all.last_id ?? "" });
  await heard(guessing, "reset");
});

onServer("a stop ends streams at once, while an attempt is under way", async (database) => {
  const hold = Promise.withResolvers<{ status: number }>();
  await using receiver = await startReceiver(() => hold.promise);
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  using stream = await followed(daemon);
  await daemon.post(booking("apt_1"));
  await until("the attempt is under way", () => receiver.requests.length === 1);
  const stopped = daemon.stop();
  await until("the stream has ended", () => stream.ended);
  hold.resolve({ status: 200 });
  await stopped;
});

onServer("nothing is left of a thousand streams that came and went", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  let left = 1_000;
  const comeAndGo = async () => {
    while (left-- > 0) {
      const stream = await follow(daemon);
      // While a place is still being given back, it is refused.
      if (![200, 429].includes(stream.status)) assert.fail(String(stream.status));
      if (stream.status === 429) left++;
      stream[Symbol.dispose]();
    }
  };
  await Promise.all(Array.from({ length: 8 }, comeAndGo));
  await until("no connection is open", async () => await openConnections(daemon.url) === 0);
  const streams = await Promise.all(Array.from({ length: 10 }, () => followed(daemon)));
  assert.deepEqual(streams.map(({ status }) => status), Array(10).fill(200));
  streams.forEach((stream) => stream[Symbol.dispose]());
});

/** Established connections to a port of this machine, as the kernel lists them. */
async function openConnections(url: string): Promise<number> {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, "0");
  const lines = (await Deno.readTextFile("/proc/net/tcp")).split("\n");
  return lines.filter((line) => new RegExp(`^ *\\d+: [0-9A-F]+:${port} \\S+ 01 `).test(line))
    .length;
}

Deno.test("a reader counts what its client has not taken, and does not wait for it at the end", async () => {
  const readers = Promise.withResolvers<ReturnType<typeof readerOf>>();
  const server = createServer((_, outgoing) => readers.resolve(readerOf(outgoing)));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  using client = await Deno.connect({ port, hostname: "127.0.0.1" });
  await client.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  const reader = await readers.promise;
  let left = 0;
  reader.onLeft(() => left++);
  reader.write("a");
  await until("that is taken", () => reader.unsent === 0);
  const text = "x".repeat(65_536);
  await until("the client is full", () => {
    for (let n = 0; n < 16 && reader.unsent <= MAX_UNSENT_BYTES; n++) reader.write(text);
    return reader.unsent > MAX_UNSENT_BYTES;
  });
  reader.end();
  await until("it has ended", () => left === 1);
  let again = 0;
  reader.onLeft(() => again++);
  assert.equal(again, 1, "whoever asks later hears it at once");
  await new Promise((closed) => server.close(closed));
});

onServer("a client that closes its half is gone, whenever it does", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const { hostname, port } = new URL(daemon.url);
  const ask = async (target: string) => {
    using conn = await Deno.connect({ hostname, port: Number(port) });
    const head =
      `GET ${target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ADMIN}\r\n\r\n`;
    await conn.write(new TextEncoder().encode(head));
    await conn.closeWrite();
    return await new Response(conn.readable).text();
  };
  const answers = await Promise.all([ask("/api/stream"), ask("/api/stream?endpoint=nobody")]);
  assert.match(answers[0] ?? "", /^HTTP\/1\.1 200 OK\r\n[^]*\r\n0\r\n\r\n$/);
  assert.match(answers[1] ?? "", /^HTTP\/1\.1 422 /);
});

Deno.test("a client that left before its stream began is not written to", async () => {
  const faults: unknown[] = [];
  const served = Promise.withResolvers<void>();
  const server = createServer((_, outgoing) => {
    outgoing.on("error", (error) => faults.push(error));
    const reader = readerOf(outgoing);
    void until("it closed its half", () => outgoing.req.socket.readableEnded).then(() => {
      reader.onLeft(() => {});
      // The first write after the client has left; the connection itself closes later.
      reader.write(":\n\n");
      served.resolve();
    });
  });
  // As on the daemon's server (lib/http/server.ts).
  Object.assign(server, { httpAllowHalfOpen: true });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", () => listening()));
  const { port } = server.address() as AddressInfo;
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  await conn.closeWrite();
  await served.promise;
  assert.match(await new Response(conn.readable).text(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.deepEqual(faults, []);
  await new Promise((closed) => server.close(closed));
});
