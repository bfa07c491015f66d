import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { parse, stringify } from "yaml";
import { checkedApi } from "../support/checked.ts";
import {
  ADMIN,
  booking,
  endpoint,
  type Front,
  SECRET,
  spawnDaemon,
  startDaemon,
} from "../support/daemon.ts";
import { embeddedDatabase, onServer } from "../support/databases.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

// deno-lint-ignore no-explicit-any
type File = any;

/** Changes the configuration file of a running daemon. */
async function edit(front: Front, change: (file: File) => void): Promise<void> {
  const { body } = await front.api("config");
  const file = parse(Deno.readTextFileSync(body.path));
  change(file);
  Deno.writeTextFileSync(body.path, stringify(file));
}

onServer("POST /api/reload puts the file in force and says what changed", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [
      endpoint("stays", `${receiver.url}/stays`),
      endpoint("goes", `${receiver.url}/goes`),
    ],
  });
  const api = await checkedApi(daemon);
  const { changed, at_next_start, endpoints } = (await api.expect(200, "POST", "reload")).body;
  assert.deepEqual([changed, at_next_start], [[], []]);
  assert.deepEqual(endpoints, { added: [], changed: [], retired: [] });
  const secret = "another-secret-of-the-tests-1";
  await edit(daemon, (file) => {
    file.secrets.second = secret;
    file.endpoints = [
      { ...file.endpoints[0], url: `${receiver.url}/moved`, secret: "second" },
      endpoint("comes", `${receiver.url}/comes`, { events: ["stock.low"] }),
    ];
    file.events = [{ name: "stock.low", description: "Low" }];
    file.admin.tokens.push({ name: "new", token: "new-token-of-the-tests-0123", role: "viewer" });
    file.ip_ranges = { development: ["198.51.100.0/24"] };
    file.retention = { events: "7d", attempts: "7d" };
    file.delivery = { timeout: "7s" };
    file.server.listen = "127.0.0.1:1";
  });
  const before = (await api.expect(200, "GET", "config")).body;
  const { body: planned } = await api.expect(200, "POST", "reload", { dry_run: true });
  assert.deepEqual((await api.expect(200, "GET", "config")).body, before, "a dry run does nothing");
  const { body } = await api.expect(200, "POST", "reload");
  assert.deepEqual(body, planned);
  assert.deepEqual(body.endpoints, {
    added: [{
      id: "comes",
      url: `${receiver.url}/comes`,
      events: ["stock.low"],
      businesses: null,
    }],
    changed: [{
      id: "stays",
      fields: [
        { field: "url", from: `${receiver.url}/stays`, to: `${receiver.url}/moved` },
        { field: "timeout_ms", from: 30_000, to: 7_000 },
        { field: "secret", from: "[redacted]", to: "[redacted]" },
      ],
      cancels: 0,
      cancels_exact: true,
    }],
    retired: [{ id: "goes", cancels: 0, cancels_exact: true }],
  });
  const lines = [
    "endpoint comes added",
    "endpoint goes removed",
    "endpoints.stays.url changed",
    "endpoints.stays.secret changed",
    "event type stock.low added",
    "admin token new added",
    "retention.events_ms changed",
    "delivery.timeout_ms changed",
    "server.listen.port changed",
  ];
  for (const line of lines) assert.ok(body.changed.includes(line), `${line}: ${body.changed}`);
  assert.deepEqual(body.at_next_start, ["server.listen.port changed"]);
  const logged = daemon.log.filter(({ message }) => message === "Configuration changed");
  assert.deepEqual(logged.map(({ change }) => change), body.changed);
  assert.ok(!JSON.stringify(daemon.log).includes(secret));
  assert.ok(!JSON.stringify(daemon.log).includes("/moved"), "nor what a URL may hold");
  const timeouts = daemon.log.find(({ field }) => field === "timeout_ms");
  assert.deepEqual([timeouts?.endpoint, timeouts?.from, timeouts?.to], ["stays", "30000", "7000"]);

  await daemon.post(booking("apt_1"));
  const [request] = await receiver.received(1);
  assert.equal(request?.path, "/moved");
  const signature = createHmac("sha256", secret).update(request?.body ?? "").digest("hex");
  assert.equal(request?.headers["x-bookme-signature"], `sha256=${signature}`);
  const { body: stock } = await daemon.post({
    event: "stock.low",
    timestamp: "2025-10-31T15:30:00Z",
    data: {},
  });
  assert.equal(stock.deliveries, 2, "the new type reaches the new endpoint");
  assert.equal((await daemon.api("stats", "new-token-of-the-tests-0123")).status, 200);
  const config = (await api.expect(200, "GET", "config")).body;
  assert.equal(config.delivery.timeout_ms, 7_000);
  assert.equal(config.server.listen, "127.0.0.1:0", "what is in force is shown");
  const ranges = await (await fetch(`${daemon.url}/ip-ranges`)).json();
  assert.deepEqual(ranges.ip_ranges, ["198.51.100.0/24"]);
  const { body: audit } = await api.expect(200, "GET", "audit?action=config.reloaded");
  assert.deepEqual(audit.data[0].after.changed, body.changed);
  const { body: stays } = await api.expect(200, "GET", "audit?object=stays&limit=1");
  assert.equal(stays.data[0].after.credentials, "changed");
  const { body: gone } = await api.expect(200, "GET", "audit?object=goes&limit=1");
  assert.deepEqual([gone.data[0].action, gone.data[0].actor], ["endpoint.retired", "ops"]);
});

onServer(
  "POST /api/reload with a broken file changes nothing and names every mistake",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const api = await checkedApi(daemon);
    const before = (await api.expect(200, "GET", "config")).body;
    await edit(daemon, (file) => {
      file.endpoints = [{ ...endpoint("crm", "ftp://nowhere/"), evnts: [] }];
      file.retention = { events: "soon" };
    });
    const { body } = await api.expect(422, "POST", "reload");
    assert.deepEqual((await api.expect(422, "POST", "reload", { dry_run: true })).body, body);
    const pointers = body.errors.map((error: { pointer: string }) => error.pointer);
    assert.deepEqual(pointers.toSorted(), [
      "/endpoints/0/evnts",
      "/endpoints/0/url",
      "/retention/events",
    ]);
    for (const { message } of body.errors) assert.match(message, /config\.yaml:\d+:\d+: /);
    assert.deepEqual((await api.expect(200, "GET", "config")).body, before);
    Deno.writeTextFileSync(before.path, "endpoints: [");
    await api.expect(422, "POST", "reload");
    Deno.removeSync(before.path);
    await api.expect(422, "POST", "reload");
    await daemon.post(booking("apt_1"));
    const [request] = await receiver.received(1);
    const signature = createHmac("sha256", SECRET).update(request?.body ?? "").digest("hex");
    assert.equal(request?.headers["x-bookme-signature"], `sha256=${signature}`);
  },
);

onServer("a token that is taken out of the file is refused after a reload", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await edit(daemon, (file) => {
    file.admin.tokens = [{ name: "other", token: "other-token-of-the-tests-01", role: "admin" }];
  });
  assert.equal((await daemon.api("reload", ADMIN, "POST")).status, 200);
  assert.equal((await daemon.api("stats", ADMIN)).status, 401);
  assert.equal((await daemon.api("stats", "other-token-of-the-tests-01")).status, 200);
});

Deno.test("a reload changes the disk limit", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  await using daemon = await startDaemon({
    database: { ...database.section, min_free: "999999999GiB" },
  });
  assert.equal((await daemon.post(booking("apt_1"))).status, 503);
  await edit(daemon, (file) => file.database.min_free = "0B");
  const api = await checkedApi(daemon);
  const { changed, at_next_start } = (await api.expect(200, "POST", "reload")).body;
  assert.deepEqual([changed, at_next_start], [["database.min_free_bytes changed"], []]);
  await until(
    "posts are accepted",
    async () => (await daemon.post(booking("apt_1"))).status === 202,
  );
});

onServer("a reload under load loses nothing and sends nothing twice", async (database) => {
  await using receiver = await startReceiver();
  await using daemon = await startDaemon({
    database: database.section,
    endpoints: [endpoint("a", `${receiver.url}/a`)],
  });
  const api = await checkedApi(daemon);
  let posting = true;
  let accepted = 0;
  const load = (async () => {
    while (posting) {
      const { status } = await daemon.post(Array.from({ length: 20 }, () => booking("apt_1")));
      assert.equal(status, 202);
      accepted += 20;
    }
  })();
  for (let round = 0; round < 6; round++) {
    await edit(daemon, (file) => {
      file.endpoints = [
        endpoint("a", `${receiver.url}/a`, { concurrency: 10 + round }),
        ...(round % 2 === 0 ? [endpoint("b", `${receiver.url}/b`)] : []),
      ];
    });
    await api.expect(200, "POST", "reload");
  }
  posting = false;
  await load;
  const toA = () => receiver.requests.filter(({ path }) => path === "/a");
  await until("all are delivered", () => toA().length >= accepted);
  const ids = new Set(toA().map(({ headers }) => headers["webhook-id"]));
  assert.equal(ids.size, accepted);
  assert.equal(toA().length, accepted);
});

onServer("SIGHUP reloads the file, or says why not", async (database) => {
  await using receiver = await startReceiver(statuses(200));
  await using daemon = await spawnDaemon({ database: database.section });
  await edit(daemon, (file) => file.endpoints = [endpoint("crm", receiver.url)]);
  daemon.kill("SIGHUP");
  await until("it says so", () => daemon.log.some(({ change }) => change === "endpoint crm added"));
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  await edit(daemon, (file) => file.endpoints[0].url = "nonsense");
  daemon.kill("SIGHUP");
  const line = await until(
    "it says why not",
    () => daemon.log.find(({ message }) => /has mistakes/.test(message)),
  );
  assert.match(String(line.first), /config\.yaml:\d+:\d+: endpoints\[0\]\.url: /);
  await daemon.post(booking("apt_2"));
  await receiver.received(2);
});

Deno.test("a signal sent during a start is handled", async () => {
  await using receiver = await startReceiver(statuses(200));
  // It takes a while to open once it is locked.
  await using database = await embeddedDatabase();
  const { directory } = database.section as { directory: string };
  await using daemon = await spawnDaemon({
    database: { directory },
    endpoints: [endpoint("crm", receiver.url)],
  }, async (kill) => {
    await until("it has begun", () => Deno.statSync(`${directory}/lock`).isFile);
    kill("SIGHUP");
  });
  await until("it has reloaded", () => daemon.log.some((l) => /reloaded/.test(l.message)));
  await daemon.post(booking("apt_1"));
  await receiver.received(1);
  daemon.kill("SIGTERM");
  assert.equal((await daemon.status).code, 0);
});
