import assert from "node:assert/strict";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { runHere, startCli } from "../support/cli.ts";
import { ADMIN, booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { startOperated } from "../support/operated.ts";
import { freePort } from "../support/postgres.ts";
import { type Received, startReceiver, statuses } from "../support/receiver.ts";
import { until } from "../support/wait.ts";

/** The parts of a request that its sender chose, but for where it went. */
function sent({ method, lines, body }: Received) {
  const headers = lines.filter(([name]) => !/^(host|connection|accept)$/i.test(name))
    .map(([name, value]) => `${name.toLowerCase()}: ${value}`).toSorted();
  return { method, headers, body: body.toString("utf8") };
}

onServer(
  "forward hands over what was sent, byte for byte, and touches no delivery",
  async (database) => {
    await using real = await startReceiver(statuses(503, 200));
    await using local = await startReceiver(statuses(200, 500));
    await using daemon = await startOperated({
      database: database.section,
      delivery: { retry: ["0s", "1h"] },
      endpoints: [
        endpoint("crm", real.url, { headers: { "X-Tenant": "bella" } }),
        endpoint("other", real.url),
      ],
    });
    const { body: before } = await daemon.post(booking("apt_0"));
    await daemon.delivery(await daemon.deliveryId(before.id, "crm"), (d) => d.attempt_count === 1);
    const forward = startCli([
      ...[
        "forward",
        "--endpoint",
        "crm",
        "--to",
        `${local.url}/hooks?a=1`,
        "--config",
        daemon.path,
      ],
    ]);
    await forward.until(
      /^Without X-Tenant: .*\n(.*\n)?Forwarding crm to http:.*\/hooks\?a=1; Ctrl-C/m,
    );
    const { body: { id } } = await daemon.post(
      ' { "event": "booking.created", ' +
        '"timestamp": "2026-11-24T10:00:00Z", "data": {"appointment": {"id": "apt_é", "n": 1.0}}}',
    );
    const delivery = await daemon.deliveryId(id, "crm");
    const first = await forward.until(/^\S+ {2}booking\.created .*attempt 1 .*$/m);
    assert.match(first[0], new RegExp(` ${delivery} +attempt 1 +here 200 in .* there (200|503)$`));
    await daemon.delivery(delivery, (d) => d.attempt_count === 1);
    await daemon.api(`deliveries/${delivery}/retry`, ADMIN, "POST");
    const second = await forward.until(/attempt 2 .*$/m);
    assert.match(second[0], /here 500 in .* there 200/);
    forward.kill("SIGINT");
    const { code, out, err } = await forward.ended;
    assert.equal(code, 0);
    assert.equal(err, "");
    assert.match(out, /\nForwarded 2 attempts of 1 delivery; 1 answered 2xx here\n$/);
    assert.equal(out.match(/attempt \d/g)?.length, 2);
    const originals = real.requests.filter(({ headers }) =>
      headers["x-bookme-delivery-id"] === delivery
    );
    assert.equal(originals.length, 2);
    const bare = originals.map(sent).map((request) => ({
      ...request,
      headers: request.headers.filter((line) => line !== "x-tenant: bella"),
    }));
    assert.deepEqual(local.requests.map(sent), bare);
    assert.deepEqual(local.requests.map(({ path }) => path), ["/hooks?a=1", "/hooks?a=1"]);
    const { attempts } = await daemon.delivery(delivery);
    assert.equal(attempts.length, 2);
  },
);

onServer("forward goes on after a restart of the daemon, and repeats nothing", async (database) => {
  await using real = await startReceiver();
  await using local = await startReceiver();
  const sections = {
    database: database.section,
    server: { listen: `127.0.0.1:${await freePort()}` },
    endpoints: [endpoint("crm", real.url)],
  };
  const first = await startDaemon(sections);
  const { port } = new URL(first.url);
  const forward = startCli(
    [
      ...["forward", "--endpoint", "crm", "--to", `http://localhost:${new URL(local.url).port}/`],
      ...["--json", "--url", first.url, "--token", "env:TOKEN"],
    ],
    { env: { TOKEN: ADMIN } },
  );
  await forward.until(/Forwarding crm/);
  await first.post(booking("apt_1"));
  await local.received(1);
  await forward.until(/"attempt":1/);
  await first[Symbol.asyncDispose]();
  await forward.until(/connecting again/);
  await using second = await startDaemon(sections);
  assert.equal(new URL(second.url).port, port);
  await second.post(booking("apt_2"));
  await local.received(2);
  await until("that is printed", () => forward.until(/apt_2|(?:"attempt":1[^]*){2}/));
  forward.kill("SIGTERM");
  const { code, out, err } = await forward.ended;
  assert.equal(code, 0);
  const lines = out.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.length, 2);
  for (const { type, attempt, here, there } of lines) {
    assert.deepEqual([type, attempt, here.status], ["booking.created", 1, 200]);
    assert.deepEqual(there, { outcome: "delivered", status: 200 });
  }
  assert.match(err, /Forwarded 2 attempts of 2 deliveries; 2 answered 2xx here/);
  assert.equal(local.requests.length, 2);
});

Deno.test("forward sends to this machine alone", async () => {
  const targets = [
    "http://10.0.0.5:3000/",
    "http://0.0.0.0:3000/",
    "http://[::ffff:10.0.0.5]/",
    "http://127.0.0.1.nip.io/",
    "http://localhost.example.com/",
    "http://169.254.169.254/",
    "https://127.0.0.1:3000/",
    "http://user:pass@127.0.0.1/",
    "http://127.0.0.1/#a",
    "file:///etc/passwd",
    "127.0.0.1:3000",
    "",
  ];
  for (const to of targets) {
    const { code, out, err } = await runHere(["forward", "--endpoint", "crm", "--to", to]);
    assert.equal(code, 2, to);
    assert.match(err, /^--to (must|leads) /, to);
    assert.equal(out, "");
  }
  for (const args of [["--endpoint", "crm"], ["--to", "http://127.0.0.1:3000/"]]) {
    const { code, err } = await runHere(["forward", ...args]);
    assert.equal(code, 2);
    assert.match(err, /^--(to|endpoint) is missing/);
  }
});

/** A daemon with a token that hides payloads, and a portal link's. */
async function house(database: TestDatabase, url: string) {
  const hiding = "a-token-that-hides-payloads-01";
  const daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    endpoints: [endpoint("crm", url)],
    admin: {
      tokens: [
        { name: "ops", token: ADMIN, role: "admin" },
        { name: "wall", token: hiding, role: "viewer", payloads: false },
      ],
    },
  });
  const api = await checkedApi(daemon);
  const link = await api.expect(201, "POST", "portal-links", {
    business: "bus_1",
    read_only: true,
  });
  return { daemon, hiding, portal: link.body.token };
}

onServer("forward says what its token lacks", async (database) => {
  await using real = await startReceiver();
  const { daemon, hiding, portal } = await house(database, real.url);
  await using _ = daemon;
  await daemon.post(booking("apt_1", "bus_1"));
  const run = (token: string, id = "crm") =>
    runHere(
      [
        ...["forward", "--endpoint", id, "--to", "http://127.0.0.1:9/"],
        ...["--url", daemon.url, "--token", "env:TOKEN"],
      ],
      { env: { TOKEN: token } },
    );
  const hidden = await run(hiding);
  assert.equal(hidden.code, 1);
  assert.match(
    hidden.err,
    /^Payloads are hidden from the token of --token env:TOKEN \(payloads: false\)/,
  );
  const other = await run(portal);
  assert.equal(other.code, 1);
  assert.match(other.err, /^There is no endpoint "crm"/);
  const nobody = await run("nobody-has-this-token-0000");
  assert.equal(nobody.code, 1);
  assert.match(nobody.err, /refuses the token/);
});

onServer("forward says what a paused endpoint is sent meanwhile", async (database) => {
  await using real = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", real.url)],
  });
  await using db = await database.open();
  for (
    const [by, probe_at, says] of [
      ["hand", null, "nothing is sent until it is resumed"],
      [
        "automatic",
        "1 hour",
        "one delivery is tried each hour, and the rest is sent once one arrives",
      ],
    ] as const
  ) {
    await db.admin`
      update endpoints set paused_at = now(), pause_reason = 'Moving', paused_by = ${by},
        probe_at = now() + ${probe_at}::text::interval`;
    const forward = startCli(
      ["forward", "--endpoint", "crm", "--to", "http://127.0.0.1:9/", "--config", daemon.path],
    );
    await forward.until(/Forwarding crm/);
    forward.kill("SIGINT");
    const { out } = await forward.ended;
    assert.ok(out.includes(`The endpoint crm is paused: ${says}\n`), out);
  }
});
