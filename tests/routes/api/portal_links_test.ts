import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { OPERATIONS } from "../../../routes/api/routes.ts";
import { type CheckedApi, checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, endpoint, startDaemon, type TestDaemon, VIEWER } from "../../support/daemon.ts";
import { onBoth, onServer, type TestDatabase } from "../../support/databases.ts";
import { portIn, speak } from "../../support/raw.ts";

const URL = "https://example.com/hook";

interface House {
  readonly database: TestDatabase;
  readonly daemon: TestDaemon;
  readonly api: CheckedApi;
  /** Makes a link, and answers it with its token. */
  // deno-lint-ignore no-explicit-any
  link(input?: Record<string, unknown>): Promise<any>;
}

function onHouse(name: string, test: (house: House) => Promise<void>): void {
  onServer(name, async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("file", URL)],
    });
    const api = await checkedApi(daemon);
    const link = async (input: Record<string, unknown> = {}) =>
      (await api.expect(201, "POST", "portal-links", { business: "bus_1", ...input })).body;
    await test({ database, daemon, api, link });
  });
}

/** Everything in an answer that a client could tell two of them apart by, but for the path. */
async function answerTo(daemon: TestDaemon, method: string, path: string, token: string) {
  const response = await fetch(daemon.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(method === "GET" || method === "HEAD" ? {} : { body: "{}" }),
  });
  const { date: _, "content-length": __, ...headers } = Object.fromEntries(response.headers);
  const body = (await response.text()).replaceAll(path, "PATH");
  return { status: response.status, headers, body };
}

Deno.test("operations at one path are all within reach of portal tokens, or none is", () => {
  const reach = Map.groupBy(OPERATIONS, ({ path }) => path);
  for (const [path, operations] of reach) {
    assert.equal(new Set(operations.map(({ portal }) => portal)).size, 1, path);
  }
  const open = OPERATIONS.filter(({ portal }) => portal).map(({ path }) => path.split("/")[2]);
  assert.deepEqual(
    [...new Set(open)].toSorted(),
    [
      "audit",
      "deliveries",
      "endpoints",
      "event-types",
      "events",
      "replays",
      "stats",
      "stream",
      "verify",
    ],
  );
});

onHouse("a portal link shows its token once, and acts within its business", async (house) => {
  const { database, daemon, api, link } = house;
  const before = Date.now();
  const made = await link({ expires_in: "7d" });
  assert.match(made.id, /^lnk_[0-9a-z]{20}$/);
  assert.match(made.token, /^portal_[\w-]{43}$/);
  assert.equal(made.url, `${daemon.url}/portal/open/${made.token}`);
  assert.deepEqual(
    [made.business, made.read_only, made.state, made.created_by, made.revoked_at],
    ["bus_1", false, "active", "ops", null],
  );
  const lasts_ms = Date.parse(made.expires_at) - Date.parse(made.created_at);
  assert.equal(lasts_ms, 7 * 86_400_000);
  assert.ok(Math.abs(Date.parse(made.created_at) - before) < 60_000);
  const { token, url: _, ...shown } = made;
  assert.deepEqual((await api.expect(200, "GET", `portal-links/${made.id}`)).body, shown);
  assert.deepEqual((await api.expect(200, "GET", "portal-links")).body.data, [shown]);

  const own = await api.call("POST", "endpoints", { url: URL, events: ["*"] }, token);
  assert.equal(own.status, 201);
  assert.deepEqual([own.body.owner, own.body.businesses], ["bus_1", ["bus_1"]]);
  const list = await api.call("GET", "endpoints", undefined, token);
  assert.deepEqual(list.body.data.map(({ id }: { id: string }) => id), [own.body.id]);
  assert.equal((await api.call("GET", "endpoints/file", undefined, token)).status, 404);
  const { body: { data: [entry] } } = await api.expect(200, "GET", `audit?object=${own.body.id}`);
  assert.deepEqual([entry.actor, entry.address], [`portal:${made.id}`, "127.0.0.1"]);
  const { body: { data: [created] } } = await api.expect(200, "GET", `audit?object=${made.id}`);
  assert.equal(created.action, "portal_link.created");
  assert.deepEqual(created.after, {
    business: "bus_1",
    read_only: false,
    expires_in_ms: 604_800_000,
  });

  await daemon.stop();
  await using db = await database.open();
  const [row] = await db.admin`select encode(digest, 'hex') as digest from portal_links`;
  assert.equal(row?.digest, createHash("sha256").update(token).digest("hex"));
  for (const table of ["portal_links", "audit", "endpoints"]) {
    const rows = await db.admin`select ${db.admin.unsafe(table)}::text as row from ${
      db.admin.unsafe(table)
    }`;
    assert.ok(!JSON.stringify(rows).includes(token), table);
  }
  assert.ok(!JSON.stringify(daemon.log).includes(token.slice("portal_".length)));
});

onHouse("portal links are listed by business, the last made first", async ({ api, link }) => {
  const ids: string[] = [];
  for (const business of ["bus_1", "bus_2", "bus_1", "bus_1"]) {
    ids.unshift((await link({ business })).id);
  }
  const list = async (query: string) =>
    (await api.expect(200, "GET", `portal-links?${query}`)).body;
  const idsOf = ({ data }: { data: { id: string }[] }) => data.map(({ id }) => id);
  assert.deepEqual(idsOf(await list("")), ids);
  assert.deepEqual(idsOf(await list("business=bus_2")), [ids[2]]);
  const first = await list("business=bus_1&limit=2");
  assert.deepEqual(idsOf(first), [ids[0], ids[1]]);
  const rest = await list(`business=bus_1&limit=2&cursor=${first.next_cursor}`);
  assert.deepEqual([idsOf(rest), rest.next_cursor], [[ids[3]], null]);
  await api.expect(422, "GET", "portal-links?cursor=lnk_x");
  assert.equal((await api.call("GET", "portal-links/lnk_00000000000000000000")).status, 404);
  assert.equal((await api.call("DELETE", "portal-links/rpl_x")).status, 404);
  for (
    const mistaken of [
      {},
      { business: "" },
      { business: "bus_1", expires_in: "31d" },
      { business: "bus_1", expires_in: "59s" },
      { business: "bus_1", expires_in: 60 },
      { business: "bus_1", read_only: "yes" },
      { business: "bus_1", token: "portal_x" },
    ]
  ) await api.expect(422, "POST", "portal-links", mistaken);
  assert.equal((await api.call("POST", "portal-links", { business: "b" }, VIEWER)).status, 403);
});

onHouse(
  "a revocation counts from the next request on, also on an open connection",
  async ({ daemon, api, link }) => {
    const { id, token } = await link();
    const revoked = await link();
    const head = (method: string, path: string, bearer: string) =>
      `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${bearer}\r\n\r\n`;
    const ask = head("GET", "/api/endpoints", token);
    const { statuses, text } = await speak(
      portIn(daemon.url),
      [ask + head("DELETE", `/api/portal-links/${id}`, ADMIN) + ask],
      3,
    );
    assert.deepEqual(statuses, [200, 200, 401], text);
    assert.match(text, /The portal link has expired, was revoked, or never was/);
    const other = await api.call("GET", "endpoints", undefined, revoked.token);
    assert.equal(other.status, 200, "another link of the same business goes on");

    const shown = (await api.expect(200, "GET", `portal-links/${id}`)).body;
    assert.equal(shown.state, "revoked");
    const again = (await api.expect(200, "DELETE", `portal-links/${id}`)).body;
    assert.deepEqual(again, shown, "revoked once");
    const { body: audit } = await api.expect(200, "GET", `audit?object=${id}`);
    assert.deepEqual(
      audit.data.map(({ action }: { action: string }) => action),
      ["portal_link.revoked", "portal_link.created"],
    );
    assert.deepEqual(audit.data[0].before, { business: "bus_1" });
  },
);

onHouse("a link ends at its time, by the database's clock", async ({ database, api, link }) => {
  const { id, token } = await link();
  await using db = await database.open();
  const endsIn = (seconds: number) =>
    db.admin`update portal_links set expires_at = now() + ${seconds} * interval '1 s' where id = ${id}`;
  await endsIn(3_600);
  assert.equal((await api.call("GET", "endpoints", undefined, token)).status, 200);
  await endsIn(-1);
  assert.equal((await api.call("GET", "endpoints", undefined, token)).status, 401);
  assert.equal((await api.expect(200, "GET", `portal-links/${id}`)).body.state, "expired");
});

onHouse(
  "what a portal token does not reach is answered like a route that never was",
  async ({ daemon, link }) => {
    const { token } = await link();
    const { token: reader } = await link({ read_only: true });
    const closed = OPERATIONS.filter(({ portal }) => !portal);
    assert.ok(closed.some(({ path }) => path === "/api/portal-links/{id}"));
    const paths = [
      ...closed.map(({ path }) => path.replace("{id}", "lnk_00000000000000000000")),
      "/openapi.json",
    ];
    for (const path of new Set(paths)) {
      for (const method of ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"]) {
        const never = path.replace(/.$/, "X");
        for (const bearer of [token, reader]) {
          const found = await answerTo(daemon, method, path, bearer);
          assert.equal(found.status, 404, `${method} ${path}`);
          assert.deepEqual(
            { ...found, headers: {} },
            { ...await answerTo(daemon, method, never, bearer), headers: {} },
          );
          if (path.startsWith("/api")) {
            assert.deepEqual(found, await answerTo(daemon, method, never, bearer));
          }
        }
      }
    }
    const wrong = await answerTo(daemon, "PUT", "/api/endpoints", token);
    assert.equal(wrong.status, 405);
    assert.equal((wrong.headers as { allow?: string }).allow, "GET, HEAD, POST");
  },
);

onHouse("the token of a read-only link reads, and changes nothing", async ({ daemon, link }) => {
  const { token } = await link();
  const { token: reader } = await link({ read_only: true });
  for (const { method, path, portal } of OPERATIONS) {
    if (!portal) continue;
    const target = path.replace("{id}", "x");
    // A stream does not end.
    const verb = path === "/api/stream" ? "HEAD" : method.toUpperCase();
    const { status, body } = await answerTo(daemon, verb, target, reader);
    if (method !== "get") {
      assert.equal(status, 403, `${method} ${target}: ${body}`);
      assert.match(body, /The portal link may only read/);
    } else assert.ok(status === 200 || status === 404, `${method} ${target}: ${body}`);
    const other = await answerTo(daemon, verb, target, token);
    assert.notEqual(other.status, 403, `${method} ${target}`);
  }
});

onHouse("the path of a portal link opens a page, and is not repeated", async (house) => {
  const { daemon, link } = house;
  const { url, token } = await link();
  for (const [method, status] of [["GET", 200], ["POST", 403], ["DELETE", 403]] as const) {
    const response = await fetch(url, { method });
    const body = await response.text();
    assert.equal(response.status, status, method);
    assert.ok(!body.includes(token));
  }
  assert.ok(!JSON.stringify(daemon.log).includes(token));
});

onServer("a portal link needs an address, and signed posts in production", async (database) => {
  const made = async (sections: Record<string, unknown>, environment?: "production") => {
    await using daemon = await startDaemon(
      { database: database.section, ...sections },
      (config) => ({ ...config, environment: environment ?? config.environment }),
    );
    const api = await checkedApi(daemon);
    const { status, body } = await api.call("POST", "portal-links", { business: "bus_1" });
    return { status, said: status === 201 ? body.url.replace(/portal_.*/, "") : body.detail };
  };
  const server = { listen: "127.0.0.1:0", public_url: "https://hooks.example.com/webhooks/" };
  const link = { status: 201, said: "https://hooks.example.com/webhooks/portal/open/" };
  assert.deepEqual(await made({ server }), link);
  const outside = await made({ server: { listen: "0.0.0.0:0" } });
  assert.equal(outside.status, 409);
  assert.match(outside.said, /set server\.public_url/);
  const unsigned = await made({ server }, "production");
  assert.equal(unsigned.status, 409);
  assert.match(unsigned.said, /Set ingest\.secret/);
  assert.deepEqual(await made({ server, ingest: { secret: "main" } }, "production"), link);
});

onBoth("of twenty endpoints posted at once, a business keeps ten", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const { token } = (await api.expect(201, "POST", "portal-links", { business: "bus_1" })).body;
  const made = await Promise.all(
    Array.from(
      { length: 20 },
      () => api.call("POST", "endpoints", { url: URL, events: ["*"] }, token),
    ),
  );
  const statuses = made.map(({ status }) => status).toSorted();
  assert.deepEqual(statuses, [...Array(10).fill(201), ...Array(10).fill(409)]);
  const { body } = await api.call("GET", "endpoints", undefined, token);
  assert.equal(body.data.length, 10);
});
