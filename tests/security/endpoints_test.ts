import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import type { AddressRules } from "../../lib/core/address.ts";
import { makeHttpClient } from "../../lib/http/client.ts";
import { makeTarget } from "../../lib/http/flight.ts";
import { checkedApi, ENCRYPTION_KEY } from "../support/checked.ts";
import { inTemporary, runHere, startCli } from "../support/cli.ts";
import { booking, endpoint, frontOf, startDaemon, writeConfig } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { freePort } from "../support/postgres.ts";
import { startReceiver } from "../support/receiver.ts";

/** The remedy for a receiver on loopback. */
const REVERSE_PROXY =
  /loopback is .*allow_networks cannot allow it; put a reverse proxy in front of the receiver/;

/** Hosts that lead to this machine, into a private network, or nowhere; PORT is that of a trap. */
const FORBIDDEN: readonly string[] = [
  // Loopback in every spelling
  ...["127.0.0.1:PORT", "127.1:PORT", "127.0.1:PORT", "2130706433:PORT", "0x7f000001:PORT"],
  ...["0x7f.0.0.1:PORT", "0177.0.0.1:PORT", "017700000001:PORT", "127.0.0.1.:PORT"],
  ...["１２７.０.０.１:PORT", "127。0。0。1:PORT", "①②⑦.0.0.1:PORT", "127.255.255.254:PORT"],
  ...["%31%32%37.0.0.1:PORT", "localhost:PORT", "LOCALHOST:PORT", "localhost.:PORT"],
  ...["a.localhost:PORT", "ｌocalhost:PORT", "0:PORT", "0.0.0.0:PORT", "[::]:PORT", "[::1]:PORT"],
  ...["[0:0:0:0:0:0:0:1]:PORT", "[::ffff:127.0.0.1]:PORT", "[::ffff:7f00:1]:PORT"],
  // IPv6 that embeds it: IPv4-compatible, SIIT, NAT64 twice, 6to4, Teredo's server and client
  ...["[::127.0.0.1]:PORT", "[::ffff:0:7f00:1]:PORT", "[64:ff9b::7f00:1]:PORT"],
  ...["[64:ff9b:1::7f00:1]:PORT", "[64:ff9b:1:7f00:0:100::]:PORT", "[2002:7f00:1::]:PORT"],
  ...["[2001:0:7f00:1::]:PORT", "[2001:0:808:808::80ff:fffe]:PORT"],
  // Metadata services
  ...["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"],
  ...["[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fd00:ec2::254]"],
  ...["[fd20:ce::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[fe80::1]"],
  // Private, shared, reserved, unassigned
  ...["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1"],
  ...["192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.0.1", "240.0.0.1", "255.255.255.255"],
  ...["224.0.0.1", "0.1.2.3", "[fc00::1]", "[fd12::1]", "[fec0::1]", "[ff02::1]"],
  ...["[2001:db8::1]", "[100::1]", "[4000::1]", "[::2]", "[64:ff9b::a00:1]", "[2002:a00:1::]"],
];

onServer(
  "endpoints.address: no spelling of a forbidden address is connected to",
  async (database) => {
    await using trap = await startReceiver();
    const { port } = new URL(trap.url);
    const urls = FORBIDDEN.map((host) => `https://${host.replace("PORT", port)}/hook`);
    await using daemon = await startDaemon(
      {
        database: database.section,
        ip_ranges: { production: ["127.0.0.0/8"] },
        delivery: { retry: ["0s"], timeout: "20s" },
        endpoints: urls.map((_, nth) => endpoint(`e${nth}`, "https://a.example/")),
      },
      // A file cannot contain these: each connection checks again.
      (config) => ({
        ...config,
        environment: "production",
        endpoints: config.endpoints.map((e, nth) => ({ ...e, url: urls[nth] ?? "" })),
      }),
    );
    const { status, body: event } = await daemon.post(booking("apt_1"));
    assert.equal(status, 202);
    for (const [nth, url] of urls.entries()) {
      const delivery = await daemon.delivery(await daemon.deliveryId(event.id, `e${nth}`));
      const [attempt] = delivery.attempts;
      // Not every resolver knows the names within localhost.
      const outcomes = url.includes("a.localhost") ? ["blocked", "dns"] : ["blocked"];
      assert.ok(outcomes.includes(attempt.outcome), `${url}: ${attempt.outcome} ${attempt.cause}`);
      if (attempt.outcome === "blocked") assert.match(attempt.cause, / is not allowed: \S+/, url);
      if (/: loopback/.test(attempt.cause)) assert.match(attempt.cause, REVERSE_PROXY, url);
    }
    const api = await checkedApi(daemon);
    const made = { url: `https://localhost:${port}/`, events: ["*"] };
    const { body: problem } = await api.expect(422, "POST", "endpoints", made);
    assert.match(problem.errors[0].message, REVERSE_PROXY);
    assert.equal(trap.requests.length, 0);
  },
);

onServer(
  "endpoints.owned: a business's endpoint leads to public addresses only, whatever is allowed",
  async (database) => {
    await using trap = await startReceiver();
    const { port } = new URL(trap.url);
    const allowing = {
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      environment: "development",
      delivery: { retry: ["0s"], allow_networks: ["10.0.0.0/8", "172.16.0.0/12", "fd00::/8"] },
    };
    const ids: string[] = [];
    {
      await using daemon = await startDaemon(allowing);
      const api = await checkedApi(daemon);
      const { token } = (await api.expect(201, "POST", "portal-links", { business: "bus_1" })).body;
      for (const host of FORBIDDEN) {
        const url = `https://${host.replace("PORT", port)}/hook`;
        const { status, body } = await api.call("POST", "endpoints", { url, events: ["*"] }, token);
        assert.equal(status, 422, url);
        assert.doesNotMatch(body.errors[0].message, /allow_networks|development|listener/, url);
      }
      for (let nth = 0; nth < 3; nth++) {
        const made = { url: "https://hooks.example/", events: ["*"] };
        ids.push((await api.call("POST", "endpoints", made, token)).body.id);
      }
    }
    // As if DNS had changed its answer: each send checks again.
    const urls = [trap.url, `https://127.0.0.1:${port}/`, "https://10.0.0.1/"];
    await using db = await database.open();
    for (const [nth, id] of ids.entries()) {
      await db.admin`update endpoints set url = ${urls[nth] ?? ""} where id = ${id}`;
    }
    await using daemon = await startDaemon({
      ...allowing,
      endpoints: [endpoint("operator", trap.url)],
    });
    const { body: event } = await daemon.post(booking("apt_1", "bus_1"));
    for (const id of ids) {
      const { attempts: [attempt] } = await daemon.delivery(await daemon.deliveryId(event.id, id));
      const rule = "endpoints of a business are https, at public addresses only";
      assert.equal(attempt.outcome, "blocked");
      assert.match(attempt.cause, new RegExp(`^[\\d.]+ is not allowed: ${rule}$`));
      assert.match(attempt.advice, /^Correct the endpoint's url or its DNS/);
      const { body: check } = await daemon.api(`endpoints/${id}/check`, undefined, "POST");
      assert.equal(check.ok, false);
      assert.doesNotMatch(JSON.stringify(check.findings), /allow_networks|development|listener/);
    }
    const others = await daemon.delivery(await daemon.deliveryId(event.id, "operator"));
    assert.equal(others.status, "delivered", "an operator's endpoint at the same address");
    assert.equal(trap.requests.length, 1);
  },
);

Deno.test("endpoints.resolver: a business learns of a name only that it is not public", async () => {
  await using receiver = await startReceiver();
  const { port } = new URL(receiver.url);
  const client = makeHttpClient({
    rules: () => ({ allow_loopback: true, allow_networks: [], own_listener: [] }),
    lookup: (host) => {
      const found =
        { "a.example": ["127.0.0.1"], "b.example": ["10.1.2.3"], "c.example": [] }[host];
      return found === undefined
        ? Promise.reject(Object.assign(new Error("not found"), { code: "ENOTFOUND" }))
        : Promise.resolve(found);
    },
  });
  const request = { headers: "", body: "{}", timeout_ms: 10_000 };
  const causes: string[] = [];
  for (const host of ["a.example", "b.example", "c.example", "d.example"]) {
    const target = makeTarget(`http://${host}:${port}/`, {}, "bus_1");
    const exchange = await client.post(target, request);
    assert.ok(!exchange.answered);
    assert.deepEqual([exchange.reason, exchange.address], ["blocked", null]);
    causes.push(exchange.cause.replace(host, "HOST"));
  }
  assert.equal(new Set(causes).size, 1, causes.join("\n"));
  const operators = makeTarget(`http://a.example:${port}/`);
  assert.ok((await client.post(operators, request)).answered);
  client.close();
  assert.equal(receiver.requests.length, 1);
});

/** Hosts that a configuration already refuses in production. */
const REFUSED: readonly string[] = [
  ...FORBIDDEN.map((host) => `https://${host.replace("PORT", "8443")}/hook`),
  ...["http://hooks.example/", "http://8.8.8.8/", "HTTP://hooks.example/", "//hooks.example/"],
  ...["ftp://hooks.example/", "file:///etc/passwd", "gopher://hooks.example/", "ws://a.example/"],
  ...["javascript:alert(1)", "data:,x", "https:hooks.example", "https:/hooks.example", "https://"],
  ...["https:///hooks.example", "hooks.example", "/hook", "", "https://?", "https://#"],
  ...["https://user@hooks.example/", "https://u:p@hooks.example/", "https://@hooks.example/"],
  ...["https://a.example@169.254.169.254/", "https://a.example\\@127.0.0.1/"],
  ...["https://hooks.example:0/", "https://hooks.example:65536/", "https://hooks.example:-1/"],
  ...["https://hooks.example:44x/", "https://hooks.example/#fragment", "https://a b.example/"],
  ...["https://hooks.example/a b", "https://hooks.example/\ta", "https://hooks.example/\na"],
  ...["https://hooks.example/\r\nHost: x", "https://hooks.example/\u0085", "https://a%00.example/"],
  ...[
    "https://hooks.example\\a",
    "https://%/",
    "https://[::1",
    "https://[x]/",
  ],
  ...[
    "https://1.2.3.4.5/",
    "https://256.256.256.256/",
    "https://0x/",
    "https://a^b/",
    "https://a|b/",
  ],
  `https://hooks.example/${"a".repeat(2048)}`,
];

Deno.test("endpoints.url: a misleading URL is refused with its place", async () => {
  await inTemporary(async (directory) => {
    const path = `${directory}/config.yaml`;
    for (const url of REFUSED) {
      const entry = { id: "a", url, unsigned: true, events: ["*"] };
      await Deno.writeTextFile(
        path,
        `environment: production\nendpoints:\n  - ${JSON.stringify(entry)}\n`,
      );
      const { code, err } = await runHere(["check", "--config", path]);
      assert.equal(code, 2, url);
      assert.match(err, /config\.yaml:3:\d+: endpoints\[0\]\.url: /, url);
    }
  });
});

onServer(
  "endpoints.own: the daemon never posts to itself, nor follows a redirect",
  async (database) => {
    // By address and by a name that only the resolver knows.
    for (const host of ["127.0.0.1", "LOCALHOST"]) await postToSelf(database, host);
  },
);

async function postToSelf(database: TestDatabase, host: string): Promise<void> {
  const port = await freePort();
  await using trap = await startReceiver();
  await using sly = await startReceiver(({ path }) => ({
    status: Number(path.slice(1)),
    headers: { location: `${trap.url}/stolen`, refresh: `0;url=${trap.url}` },
  }));
  const own = [
    `http://127.0.0.1:${port}/ingest`,
    `http://localhost:${port}/ingest`,
    `http://[::ffff:127.0.0.1]:${port}/ingest`,
    `http://2130706433:${port}/api`,
  ];
  const redirects = [301, 302, 303, 307, 308].map((status) => `${sly.url}/${status}`);
  const urls = [...own, ...redirects];
  await using daemon = await startDaemon(
    {
      database: database.section,
      server: { listen: `${host}:${port}` },
      delivery: { retry: ["0s"] },
      endpoints: urls.map((_, nth) => endpoint(`e${nth}`, "http://localhost:1/")),
    },
    (config) => ({
      ...config,
      endpoints: config.endpoints.map((e, nth) => ({ ...e, url: urls[nth] ?? "" })),
    }),
  );
  const { body: event } = await daemon.post(booking("apt_1"));
  for (const [nth, url] of urls.entries()) {
    const { attempts: [attempt] } = await daemon.delivery(
      await daemon.deliveryId(event.id, `e${nth}`),
    );
    assert.equal(attempt.outcome, nth < own.length ? "blocked" : "redirect", url);
    if (nth < own.length) assert.match(attempt.cause, /a daemon's own listener/, url);
  }
  assert.equal(sly.requests.length, redirects.length);
  assert.equal(trap.requests.length, 0);
}

Deno.test("endpoints.rebinding: each connect is judged by what the name means then", async () => {
  await using receiver = await startReceiver(() => ({
    status: 500,
    headers: { connection: "close" },
  }));
  const { port } = new URL(receiver.url);
  const answers = [
    ["127.0.0.1"],
    ["169.254.169.254"],
    ["127.0.0.1", "10.0.0.1"],
    ["127.0.0.1", "::ffff:169.254.169.254"],
    ["64:ff9b::a9fe:a9fe"],
    ["0.0.0.0"],
    ["fe80::1%lo"],
    ["not an address"],
    ["127.0.0.1"],
  ];
  const rules: AddressRules = { allow_loopback: true, allow_networks: [], own_listener: [] };
  let asked = 0;
  const client = makeHttpClient({
    rules: () => rules,
    lookup: () => Promise.resolve(answers[asked++] ?? []),
  });
  const target = { url: new URL(`http://rebinding.example:${port}/`) };
  const outcomes: string[] = [];
  for (const _ of answers) {
    const exchange = await client.post(target, {
      headers: "",
      body: "{}",
      timeout_ms: 10_000,
    });
    outcomes.push(exchange.answered ? String(exchange.status) : exchange.reason);
  }
  client.close();
  assert.deepEqual(outcomes, ["500", ...Array(7).fill("blocked"), "500"]);
  assert.equal(asked, answers.length);
  assert.equal(receiver.requests.length, 2);
});

onServer("endpoints.proxy: proxies of the environment are never asked", async (database) => {
  const asked: string[] = [];
  const proxy = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      asked.push(bytes.toString());
      socket.destroy();
    });
  });
  await new Promise<void>((listening) => proxy.listen(0, "127.0.0.1", listening));
  const to = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const names = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
  ];
  await using receiver = await startReceiver();
  const { path, remove } = writeConfig({
    database: database.section,
    delivery: { retry: ["0s"] },
    endpoints: [
      endpoint("plain", receiver.url),
      endpoint("tls", receiver.url.replace("http:", "https:")),
    ],
  });
  const running = startCli(["serve", "--config", path], {
    env: {
      ...Object.fromEntries(names.map((name) => [name, to])),
      NO_PROXY: "",
      no_proxy: "",
      NODE_USE_ENV_PROXY: "1",
      DENO_NO_UPDATE_CHECK: "1", // the check would use its proxy, but is not part of the program
    },
  });
  try {
    const [, url = ""] = await running.until(/"Listening","url":"([^"]+)"/);
    const daemon = frontOf(url);
    const { body: event } = await daemon.post(booking("apt_1"));
    const outcome = async (id: string) =>
      (await daemon.delivery(await daemon.deliveryId(event.id, id))).attempts[0].outcome;
    assert.equal(await outcome("plain"), "delivered");
    assert.equal(await outcome("tls"), "tls");
    assert.equal(receiver.requests.length, 1);
    assert.deepEqual(asked, []);
  } finally {
    running.kill("SIGTERM");
    await running.ended;
    await new Promise<void>((closed) => proxy.close(() => closed()));
    remove();
  }
});

onServer(
  "endpoints.source: a source address outside of ip_ranges is told at the start",
  async (database) => {
    for (const [network, level] of [["127.0.0.0/8", "info"], ["192.168.1.0/24", "warn"]] as const) {
      await using daemon = await startDaemon({
        database: database.section,
        ip_ranges: { development: [network] },
        delivery: { source_address: "127.0.0.1" },
      });
      const lines = daemon.log.filter(({ message }) =>
        message.startsWith("delivery.source_address")
      );
      assert.deepEqual(lines.map((line) => [line.level, line.source_address]), [[
        level,
        "127.0.0.1",
      ]]);
    }
  },
);
