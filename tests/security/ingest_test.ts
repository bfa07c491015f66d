import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { parseCidr } from "../../lib/core/address.ts";
import { makeEventTypes } from "../../lib/core/event_types.ts";
import { makeSigner } from "../../lib/core/signature.ts";
import { HTTP_LIMITS, listen } from "../../lib/http/server.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { countRefusals } from "../support/refusals.ts";
import { makeLog } from "../../lib/observe/log.ts";
import { clientOf } from "../../routes/middleware/client.ts";
import type { RouteContext } from "../../routes/context.ts";
import { makeIngest } from "../../routes/ingest.ts";
import { booking, endpoint, SECRET, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { type Part, portIn, speak, type Spoken } from "../support/raw.ts";
import { type Receiver, startReceiver } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { until } from "../support/wait.ts";

const OTHER_SECRET = "the secret before that one, still in force";
const GOOD = sampleOf("booking.created");

type Bytes = string | Uint8Array;

/** The bytes of a post: `headers` are whole lines. */
function request(body: Bytes, headers: readonly string[] = [], type = "application/json"): Part[] {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const lines = [
    "POST /ingest HTTP/1.1",
    "Host: x",
    ...(type === "" ? [] : [`Content-Type: ${type}`]),
    `Content-Length: ${bytes.length}`,
    ...headers,
  ];
  return [lines.join("\r\n") + "\r\n\r\n", bytes];
}

function sign(body: Bytes, secret = SECRET): string {
  return "X-BookMe-Signature: sha256=" + createHmac("sha256", secret).update(body).digest("hex");
}

interface Setting {
  readonly daemon: TestDaemon;
  readonly receiver: Receiver;
  readonly say: (parts: readonly Part[], answers?: number) => Promise<Spoken>;
}

/** Runs a daemon with one endpoint. In the end `stored` events must be stored and no error logged. */
async function withDaemon(
  database: TestDatabase,
  sections: Record<string, unknown>,
  stored: number,
  test: (setting: Setting) => Promise<void>,
) {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("all", receiver.url)],
    ...sections,
  });
  await test({
    daemon,
    receiver,
    say: (parts, answers) => speak(portIn(daemon.url), parts, answers),
  });
  const alive = await fetch(`${daemon.url}/livez`);
  assert.equal(alive.status, 200);
  await alive.body?.cancel();
  await daemon.stop();
  assert.deepEqual(daemon.log.filter(({ level }) => level === "error"), []);
  const db = await database.open();
  const [row] = await db.admin<{ count: number }[]>`select count(*)::int from events`;
  await db.close();
  assert.equal(row?.count, stored, "events stored");
}

function assertProblem(
  { statuses, body, text }: Spoken,
  status: number,
  code: string,
  about: string,
) {
  assert.deepEqual(statuses, [status], `${about}: ${text}`);
  assert.match(text, /\r\ncontent-type: application\/problem\+json\r\n/i, about);
  assert.equal(JSON.parse(body).code, code, about);
}

// ---- Authentication

Deno.test("ingest.hops: the right-most hop that is no trusted proxy is the sender", () => {
  const trusted = ["10.0.0.0/24", "fd00::/64", "127.0.0.1/32"].map(parseCidr);
  const cases: [peer: string, forwarded: string, client: string | undefined][] = [
    ["192.0.2.1", "10.1.2.3", "192.0.2.1"],
    ["10.0.0.1", "10.1.2.3", "10.1.2.3"],
    ["::ffff:10.0.0.1", "10.1.2.3", "10.1.2.3"],
    ["::ffff:a00:1", "10.1.2.3", "10.1.2.3"],
    ["10.0.0.1", "10.1.2.3, 10.0.0.9", "10.1.2.3"],
    ["10.0.0.1", "10.1.2.3,fd00::7,10.0.0.9", "10.1.2.3"],
    ["10.0.0.1", "6.6.6.6, 10.1.2.3", "10.1.2.3"],
    ["10.0.0.1", "10.1.2.3, 6.6.6.6", "6.6.6.6"],
    ["10.0.0.1", "10.1.2.3, 6.6.6.6, 10.0.0.2", "6.6.6.6"],
    ["10.0.0.1", "junk, <script>, 10.1.2.3", "10.1.2.3"],
    ["10.0.0.1", "", "10.0.0.1"],
    ["10.0.0.1", " , ,, ", "10.0.0.1"],
    ["10.0.0.1", "10.0.0.7, 10.0.0.2", "10.0.0.7"],
    ["10.0.0.1", "10.1.2.3:50123", "10.1.2.3"],
    ["10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"],
    ["10.0.0.1", "[2001:db8::7]", "2001:db8::7"],
    ["10.0.0.1", "::ffff:10.1.2.3", "::ffff:10.1.2.3"],
    ["10.0.0.1", "unknown", undefined],
    ["10.0.0.1", "_hidden", undefined],
    ["10.0.0.1", "10.1.2.3, unknown", undefined],
    ["10.0.0.1", "10.1.2.3 10.1.2.4", undefined],
    ["10.0.0.1", "10.1.2.3;10.1.2.4", undefined],
    ["10.0.0.1", "for=10.1.2.3", undefined],
    ["10.0.0.1", '"10.1.2.3"', undefined],
    ["10.0.0.1", "10.1.2.3/32", undefined],
    ["10.0.0.1", "10.1.2", undefined],
    ["10.0.0.1", "010.1.2.3", undefined],
    ["10.0.0.1", "0x0a.1.2.3", undefined],
    ["10.0.0.1", "167838211", undefined],
    ["10.0.0.1", "10.1.2.256", undefined],
    ["10.0.0.1", "127.999.1.1", undefined],
    ["10.0.0.1", "fe80::1%eth0", undefined],
    ["10.0.0.1", "10.1.2.3:", undefined],
    ["10.0.0.1", "10.1.2.3:port", undefined],
    ["10.0.0.1", "[10.1.2.3", undefined],
    ["10.0.0.1", "10.1.2.3\0", undefined],
    ["", "10.1.2.3", undefined],
    ["fe80::1%eth0", "10.1.2.3", undefined],
  ];
  for (const [peer, forwarded, client] of cases) {
    assert.equal(clientOf(peer, forwarded, trusted), client, `${peer} ${forwarded}`);
  }
});

onServer(
  "ingest.loop: a delivery that comes back is refused, whoever sends it",
  (database) =>
    withDaemon(database, {}, 1, async ({ daemon, say, receiver }) => {
      assert.equal((await daemon.post(GOOD)).status, 202);
      const [delivered] = await receiver.received(1);
      const id = delivered?.headers["x-bookme-delivery-id"];
      const ids = [
        `X-BookMe-Delivery-Id: ${id}`,
        "x-bookme-delivery-id: x",
        "X-BOOKME-DELIVERY-ID:",
      ];
      for (const line of ids) {
        assertProblem(await say(request(GOOD, [line])), 403, "loop", line);
      }
    }),
);

onServer(
  "ingest.address: who is not in ip_ranges gets 403, however he claims to be",
  async (database) => {
    const server = { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32", "192.168.1.250/32"] };
    const forwarded: [headers: string[], status: number][] = [
      [["X-Forwarded-For: 10.0.0.5"], 403],
      [["X-Forwarded-For: 192.168.2.5"], 403],
      [["X-Forwarded-For: 192.168.1.5, 203.0.113.7"], 403],
      [["X-Forwarded-For: 192.168.1.5", "X-Forwarded-For: 203.0.113.7"], 403],
      [["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 192.168.1.250"], 403],
      [["X-Forwarded-For: 127.999.0.1"], 403],
      [["X-Forwarded-For: localhost"], 403],
      [["X-Forwarded-For: unknown"], 403],
      [["X-Forwarded-For: ::ffff:203.0.113.7"], 403],
      [["X-Forwarded-For: 203.0.113.7", "X-Real-IP: 192.168.1.5"], 403],
      [["X-Forwarded-For: 203.0.113.7", "Forwarded: for=192.168.1.5"], 403],
      [["X-Forwarded-For: 203.0.113.7", "X-Client-IP: 127.0.0.1", "True-Client-IP: ::1"], 403],
      [["X-Forwarded-For: 192.168.1.5"], 202],
      [["X-Forwarded-For: ::ffff:192.168.1.5"], 202],
      [["X-Forwarded-For: ::ffff:c0a8:105"], 202],
      [["X-Forwarded-For: 192.168.1.5:4711"], 202],
      [["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 192.168.1.5, 192.168.1.250"], 202],
    ];
    const accepted = forwarded.filter(([, status]) => status === 202).length;
    await withDaemon(database, { server }, accepted, async ({ say, daemon }) => {
      for (const [headers, status] of forwarded) {
        const spoken = await say(request(GOOD, headers));
        if (status === 403) assertProblem(spoken, 403, "forbidden", headers.join());
        else assert.deepEqual(spoken.statuses, [202], headers.join());
      }
      const lines = daemon.log.filter(({ message }) => message.startsWith("Ingest refused"));
      assert.equal(lines.length, forwarded.length - accepted, "one line for each");
      assert.equal(lines[2]?.address, "203.0.113.7");
      assert.ok(!JSON.stringify(daemon.log).includes("apt_789"), "nothing of the payload");
    });
  },
);

onServer(
  "ingest.signature: anything but a signature of the exact bytes gets 401",
  async (database) => {
    const sections = {
      secrets: { main: SECRET, before: OTHER_SECRET },
      ingest: { secret: ["main", "before"] },
    };
    const right = sign(GOOD);
    const hex = right.slice(-64);
    const wrong: [headers: string[], body?: Bytes][] = [
      [[]],
      [["X-BookMe-Signature:"]],
      [["X-BookMe-Signature: sha256="]],
      [[`X-BookMe-Signature: ${hex}`]],
      [[`X-BookMe-Signature: sha256=${hex.slice(1)}`]],
      [[`X-BookMe-Signature: sha256=${hex}0`]],
      [[`X-BookMe-Signature: sha256=${hex.toUpperCase()}`]],
      [[`X-BookMe-Signature: SHA256=${hex}`]],
      [[`X-BookMe-Signature: sha1=${createHmac("sha1", SECRET).update(GOOD).digest("hex")}`]],
      [[`X-BookMe-Signature: sha512=${createHmac("sha512", SECRET).update(GOOD).digest("hex")}`]],
      [[`X-BookMe-Signature: sha256=${Buffer.from(hex, "hex").toString("base64")}`]],
      [[`X-BookMe-Signature: sha256=${"0".repeat(64)}`]],
      [[`X-BookMe-Signature: sha256=${"a".repeat(10_000)}`]],
      [[`X-BookMe-Signature: sha256=\xff\xfe${hex}`]],
      [[right, right]],
      [[sign(GOOD, "some other secret of somebody"), right]],
      [[`X-Bookme-Signature2: sha256=${hex}`, "Authorization: Bearer " + SECRET]],
      [[right.replace("X-BookMe-Signature", "webhook-signature")]],
      [[sign(GOOD, SECRET.slice("whsec_".length))]],
      [[sign(GOOD, SECRET.toLowerCase())]],
      [[sign(GOOD, OTHER_SECRET + " ")]],
      [[sign(GOOD, "")]],
      [[right], GOOD + "\n"],
      [[right], " " + GOOD],
      [[right], JSON.stringify(JSON.parse(GOOD))],
      [[right], GOOD.replace("apt_789", "apt_780")],
      [[right], "\ufeff" + GOOD],
      [[right], ""],
      [[sign("")], GOOD],
    ];
    await withDaemon(database, sections, 3, async ({ say, daemon }) => {
      for (const [headers, body = GOOD] of wrong) {
        assertProblem(await say(request(body, headers)), 401, "unauthorized", headers.join());
      }
      const lines = daemon.log.filter(({ message }) => message.startsWith("Ingest refused"));
      assert.equal(lines.length, wrong.length, "one line for each");
      assert.equal(lines[0]?.address, "127.0.0.1");
      assert.ok(!JSON.stringify(daemon.log).includes(hex), "no signature that would be right");
      assert.ok(!JSON.stringify(daemon.log).includes("apt_789"), "nothing of the payload");
      for (const headers of [[right], [sign(GOOD, OTHER_SECRET)], [right.toLowerCase()]]) {
        assert.deepEqual((await say(request(GOOD, headers))).statuses, [202]);
      }
      // With a wrong signature, the answer does not reveal whether the payload is valid.
      assertProblem(await say(request("{", [])), 401, "unauthorized", "malformed");
    });
  },
);

onServer("ingest.replay: with ingest.max_age old and future events get 422", async (database) => {
  const at = (offset_ms: number) => new Date(Date.now() + offset_ms).toISOString();
  const event = (timestamp: string) => ({ ...booking("apt_1"), timestamp });
  const old = [at(-3_700_000), at(-86_400_000), "2025-10-31T15:30:00Z", "0001-01-01T00:00:00Z"];
  const ahead = [at(400_000), at(86_400_000), "9999-12-31T23:59:60Z"];
  const zoned = (hours: number, suffix: string) =>
    at(hours * 3_600_000).replace("Z", suffix).replace("T", "t");
  const fresh = [at(0), at(-3_500_000), at(200_000), zoned(2, "+02:00"), zoned(-11, "-11:00")];
  await withDaemon(database, { ingest: { max_age: "1h" } }, fresh.length, async ({ daemon }) => {
    for (const [list, message] of [[old, /older than the 3600 s/], [ahead, /future/]] as const) {
      for (const timestamp of list) {
        const { status, body } = await daemon.post(event(timestamp));
        assert.equal(status, 422, timestamp);
        assert.deepEqual(body.errors.map((e: { pointer: string }) => e.pointer), ["/timestamp"]);
        assert.match(body.errors[0].message, message);
      }
    }
    const mixed = await daemon.post([event(at(0)), event(at(-4_000_000)), event(at(0))]);
    assert.equal(mixed.status, 422);
    assert.deepEqual(mixed.body.errors.map((e: { pointer: string }) => e.pointer), [
      "/1/timestamp",
    ]);
    for (const timestamp of fresh) {
      assert.equal((await daemon.post(event(timestamp))).status, 202, timestamp);
    }
  });
});

onServer("ingest.once: a replayed post is recognised by its Idempotency-Key", async (database) => {
  await withDaemon(database, { ingest: { secret: "main" } }, 1, async ({ say, receiver }) => {
    const recorded = request(GOOD, [sign(GOOD), "Idempotency-Key: 42"]);
    assert.deepEqual((await say(recorded)).statuses, [202]);
    for (let nth = 0; nth < 3; nth++) assert.deepEqual((await say(recorded)).statuses, [200]);
    await receiver.received(1);
  });
});

// ---- Size and form

onServer(
  "ingest.size: a body over the limit is refused before it has arrived",
  async (database) => {
    await withDaemon(database, { ingest: { max_body: "4KiB" } }, 2, async ({ say }) => {
      const head = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
      const chunk = `400\r\n${"a".repeat(1024)}\r\n`;
      const attacks: Record<string, Part[]> = {
        "one byte more": request(" ".repeat(4097)),
        "only announced": [`${head}Content-Length: 4097\r\n\r\n`],
        "announced, with 100-continue": [
          `${head}Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n`,
        ],
        "terabytes": [`${head}Content-Length: 9999999999999\r\n\r\nab`],
        "in chunks": [`${head}Transfer-Encoding: chunked\r\n\r\n${chunk.repeat(5)}0\r\n\r\n`],
        "in endless chunks": [
          `${head}Transfer-Encoding: chunked\r\n\r\n`,
          ...Array<string>(200).fill(chunk.repeat(10)),
        ],
        "in tiny chunks": [
          `${head}Transfer-Encoding: chunked\r\n\r\n${"1\r\n \r\n".repeat(4100)}0\r\n\r\n`,
        ],
      };
      for (const [name, parts] of Object.entries(attacks)) {
        // An unfinished request is cut off; a finished one may be followed by another.
        const goes_on = /announced|terabytes|endless/.test(name);
        const spoken = await say(parts, goes_on ? Infinity : 1);
        assertProblem(spoken, 413, "too_large", name);
        assert.equal(spoken.closed, goes_on, name);
      }
      assert.deepEqual((await say(request(GOOD.padEnd(4096)))).statuses, [202], "4 KiB are taken");
      const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n${
        Buffer.byteLength(GOOD).toString(16)
      };ext=1\r\n${Buffer.from(GOOD).toString("latin1")}\r\n0\r\nX-Trailer: 1\r\n\r\n`;
      assert.deepEqual((await say([chunked])).statuses, [202]);
    });
  },
);

onServer("ingest.encoding: compressed bodies get 415, bombs and all", async (database) => {
  await withDaemon(database, {}, 2, async ({ say }) => {
    const bomb = gzipSync(Buffer.alloc(20_000_000, " "));
    for (
      const coding of [
        ...["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "compress", "identity, gzip"],
        ...["gzip, identity", "none", "utf-8", "*", "aws-chunked"],
      ]
    ) {
      const spoken = await say(request(bomb, [`Content-Encoding: ${coding}`]));
      assertProblem(spoken, 415, "unsupported_media_type", coding);
    }
    const twice = ["Content-Encoding: identity", "Content-Encoding: gzip"];
    assertProblem(await say(request(bomb, twice)), 415, "unsupported_media_type", "twice");
    assertProblem(await say(request(bomb)), 400, "malformed", "not even said");
    assert.deepEqual((await say(request(GOOD, ["Content-Encoding: identity"]))).statuses, [202]);
    assert.deepEqual((await say(request(GOOD, ["Accept-Encoding: gzip"]))).statuses, [202]);
  });
});

onServer("ingest.type: a body not declared as JSON gets 415", async (database) => {
  await withDaemon(database, {}, 3, async ({ say }) => {
    const types = [
      "",
      "text/plain",
      "text/json",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/json, text/plain",
      "application/json application/json",
      "application/jsonp",
      "application/problem+json",
      "application/ld+json",
      "*/*",
      "json",
      ";application/json",
    ];
    for (const type of types) {
      assertProblem(await say(request(GOOD, [], type)), 415, "unsupported_media_type", type);
    }
    for (const type of ["application/json", "Application/JSON; charset=utf-8"]) {
      assert.deepEqual((await say(request(GOOD, [], type))).statuses, [202], type);
    }
    const line = JSON.stringify(JSON.parse(GOOD));
    assert.deepEqual((await say(request(line, [], "application/x-ndjson"))).statuses, [202]);
  });
});

onServer(
  "ingest.headers: identities that could not be shown or searched get 422",
  async (database) => {
    await withDaemon(database, {}, 0, async ({ say }) => {
      for (const name of ["Idempotency-Key", "X-BookMe-Business"]) {
        for (const value of ["", "x".repeat(256), "\x80", "a\xc2\x85b"]) {
          assertProblem(await say(request(GOOD, [`${name}: ${value}`])), 422, "invalid", value);
        }
      }
    });
  },
);

onServer(
  "ingest.method: everything but POST gets 405, and no page of another site may read",
  async (database) => {
    await withDaemon(database, {}, 0, async ({ say }) => {
      for (const method of ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]) {
        const spoken = await say([
          `${method} /ingest HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n` +
          "Access-Control-Request-Method: POST\r\nContent-Length: 0\r\n\r\n",
        ]);
        assertProblem(spoken, 405, "method_not_allowed", method);
        assert.doesNotMatch(spoken.text, /access-control-/i, method);
      }
      for (
        const path of ["/ingest/", "/INGEST", "/ingest/x", "//ingest", "/%69ngest2", "/ingest%00"]
      ) {
        const spoken = await say([
          `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`,
        ]);
        assertProblem(spoken, 404, "not_found", path);
      }
      for (const target of ["/a\\b", "/..\\x"]) {
        const spoken = await say([`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`]);
        assertProblem(spoken, 400, "malformed", target);
      }
      for (const host of ["a b", "a/b", "a@b", "[::1", "x:99999", "<script>", "a\\b"]) {
        const spoken = await say([`GET /livez HTTP/1.1\r\nHost: ${host}\r\n\r\n`]);
        assert.ok((spoken.statuses[0] ?? 0) >= 400, `${host}: ${spoken.text}`);
        assert.ok((spoken.statuses[0] ?? 0) < 500, `${host}: ${spoken.text}`);
      }
    });
  },
);

onServer("ingest.cut: a post that is cut off leaves nothing behind", async (database) => {
  await withDaemon(database, {}, 0, async ({ daemon }) => {
    const [head = "", body = ""] = request(GOOD);
    const bytes = Buffer.concat([Buffer.from(String(head)), body as Uint8Array]);
    for (const end of ["destroy", "end"] as const) {
      for (const share of [0.1, 0.6, 0.9, 0.99]) {
        const socket = connect({ host: "127.0.0.1", port: portIn(daemon.url) });
        const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
        socket.on("error", () => {});
        socket.resume();
        await new Promise<void>((said) =>
          socket.write(bytes.subarray(0, bytes.length * share), () => said())
        );
        if (end === "destroy") socket.destroy();
        else socket.end();
        await closed;
      }
    }
  });
});

onServer(
  "ingest.ways: however its target and Host are written, a post is treated alike",
  async (database) => {
    const targets = ["/ingest", "/ingest?x=1", "/%69ngest", "/a/../ingest"];
    const hosts = ["127.0.0.1:8080", "localhost", "[::1]:8080", "HOOKS.example:443"];
    const ways = targets.flatMap((target) => hosts.map((host) => [target, host] as const));
    const cases: Record<string, [lines: string[], body: string, type?: string]> = {
      accepted: [[], GOOD],
      "not JSON": [[], "{"],
      "no event": [[], "{}"],
      "two types, one of them right": [["Content-Type: text/plain"], GOOD],
      "a loop": [["X-BookMe-Delivery-Id: x"], GOOD],
      "too large": [[], GOOD.padEnd(2_000_000)],
    };
    await withDaemon(database, {}, ways.length, async ({ say }) => {
      for (const [name, [lines, body, type]] of Object.entries(cases)) {
        const seen = new Map<string, string>();
        for (const [target, host] of ways) {
          const [head = "", bytes = ""] = request(body, lines, type);
          const own = String(head).replace("/ingest", target).replace(/Host: .*/, `Host: ${host}`);
          const { text } = await say([own, bytes]);
          // Ids and dates differ; the order of fields means nothing.
          const [fields = "", answer] = text.replace(/evt_\w+/, "ID").split("\r\n\r\n");
          const sorted = fields.split("\r\n").filter((line) => !/^date:/i.test(line)).sort();
          seen.set([...sorted, answer].join("\n").toLowerCase(), `${target} ${host}`);
        }
        assert.deepEqual([...seen.values()].length, 1, `${name}: ${[...seen].join("\n---\n")}`);
        assert.match([...seen.keys()].join(), /x-content-type-options: nosniff/, name);
      }
    });
  },
);

// ---- The route alone: counters, and memory held

interface Alone {
  readonly ctx: RouteContext;
  readonly refusals: Record<string, number>;
  readonly port: number;
}

const MAX_BODY = 100_000;

async function withRoute(
  bytes: number,
  test: (alone: Alone) => Promise<void>,
  request_ms = 2_000,
) {
  const signals = makeSignals();
  const refusals = countRefusals(signals, "ingest");
  const log = makeLog(() => {}, "json");
  const event_types = makeEventTypes([]);
  const config = {
    environment: "development",
    ip_ranges: { development: [] },
    server: { trusted_proxies: ["127.0.0.1/32"].map(parseCidr) },
    ingest: { max_body_bytes: MAX_BODY, max_age_ms: null },
  };
  const ctx = {
    in_force: () => ({ config, event_types, ingest_signers: [makeSigner(SECRET)] }),
    log,
    signals,
    now: Date.now,
    accept: () => Promise.resolve([{ id: "evt_1", uuid: "1", deliveries: 0, duplicate: false }]),
  } as unknown as RouteContext;
  const server = await listen({ host: "127.0.0.1", port: 0, tls: null }, signals, log, {
    ...HTTP_LIMITS,
    headers_ms: 2_000,
    request_ms,
    check_ms: 50,
  });
  server.serve(makeIngest(ctx, { bytes, patience_ms: 100, waiting: 1 }));
  try {
    await test({ ctx, refusals, port: server.port });
  } finally {
    await server.close();
  }
}

Deno.test("ingest.counted: every refusal is counted by its code", async () => {
  await withRoute(MAX_BODY, async ({ refusals, port }) => {
    const post = (parts: Part[]) => speak(port, parts);
    await post(request(GOOD, [sign(GOOD)]));
    assert.deepEqual(refusals, {});
    await post(request(GOOD));
    await post(request(GOOD));
    await post(request(GOOD, [sign(GOOD), "X-Forwarded-For: 1.2.3.4"]));
    await post(request("{", [sign("{")]));
    await post(request("{}", [sign("{}")]));
    await post(request(GOOD, [sign(GOOD)], "text/plain"));
    await post(request("x".repeat(MAX_BODY + 1)));
    assert.deepEqual(
      refusals,
      {
        unauthorized: 2,
        forbidden: 1,
        malformed: 1,
        invalid: 1,
        unsupported_media_type: 1,
        too_large: 1,
      },
    );
  });
});

Deno.test("ingest.held: many large bodies at once get 503, and room is made again", async () => {
  await withRoute(100_000, async ({ port }) => {
    const head = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
      "Content-Length: 60001\r\n\r\n";
    const holders = await Promise.all(
      [1, 2, 3].map(() => speak(port, [head + "x".repeat(45_000)], Infinity)),
    );
    // One waits in vain, one finds another waiting, and the one that got in does not stay for long.
    const [stalled, ...refused] = holders.toSorted((a, b) =>
      Number(a.statuses) - Number(b.statuses)
    );
    assert.deepEqual(stalled?.statuses, [408]);
    for (const spoken of refused) {
      assertProblem(spoken, 503, "unavailable", "busy");
      assert.match(spoken.text, /\r\nretry-after: 1\r\n/i);
    }
    const body = GOOD.padEnd(60_000);
    for (let nth = 0; nth < 5; nth++) {
      await until("there is room again", async () => {
        const { statuses } = await speak(port, request(body, [sign(body)]));
        return statuses[0] === 202;
      });
    }
  });
});

Deno.test("ingest.reserved: announcing much and sending nothing blocks nobody for long", async () => {
  await withRoute(100_000, async ({ ctx, port }) => {
    const head = "POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
      "Content-Length: 90000\r\n\r\n";
    // The route reads it for every request, just before the body.
    let looked = 0;
    const { in_force } = ctx;
    Object.assign(ctx, { in_force: () => (looked++, in_force()) });
    const silent = await Deno.connect({ port });
    await silent.write(new TextEncoder().encode(head + "x"));
    await until("it is being read", () => looked > 0);
    const body = GOOD.padEnd(60_000);
    await until("there is room", async () => {
      const { statuses } = await speak(port, request(body, [sign(body)]));
      return statuses[0] === 202;
    });
    silent.close();
  }, 600_000);
});

Deno.test("a body above the budget is accepted while it is alone, chunked or not", async () => {
  await withRoute(50_000, async ({ port }) => {
    const body = GOOD.padEnd(90_000);
    const [head = "", bytes = ""] = request(body, [sign(body)]);
    const half = body.slice(45_000);
    const ways: Record<string, Part[]> = {
      "at once": [head, bytes],
      "longer than its room is held": [head, body.slice(0, 45_000), 300, half],
      "in chunks": [
        String(head).replace(/Content-Length: \d+/, "Transfer-Encoding: chunked"),
        `${(45_000).toString(16)}\r\n${body.slice(0, 45_000)}\r\n`,
        50,
        `${half.length.toString(16)}\r\n${half}\r\n0\r\n\r\n`,
      ],
    };
    for (const [way, parts] of Object.entries(ways)) {
      assert.deepEqual((await speak(port, parts)).statuses, [202], way);
    }
  });
});
