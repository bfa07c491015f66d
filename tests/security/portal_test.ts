import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { ADMIN, startDaemon, type TestDaemon } from "../support/daemon.ts";
import { onServer, type TestDatabase } from "../support/databases.ts";
import { portIn, speak } from "../support/raw.ts";

interface Link {
  readonly id: string;
  readonly token: string;
  readonly url: string;
}

async function linkOf(daemon: TestDaemon, business: string, host?: string): Promise<Link> {
  const body = JSON.stringify({ business });
  const { statuses, body: text } = await speak(portIn(daemon.url), [
    [
      "POST /api/portal-links HTTP/1.1",
      `Host: ${host ?? "127.0.0.1"}`,
      `Authorization: Bearer ${ADMIN}`,
      "Content-Type: application/json",
      `Content-Length: ${body.length}`,
      "X-Forwarded-Host: evil.example",
      "X-Forwarded-Proto: https",
      "X-Forwarded-For: 192.0.2.1",
      "Forwarded: host=evil.example;proto=https",
      "Origin: https://evil.example",
    ].join("\r\n") + `\r\n\r\n${body}`,
  ]);
  assert.deepEqual(statuses, [201], text);
  return JSON.parse(text);
}

const PROXIED = { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] };

/** A request through a proxy for a client of its own, so that no wrong token is throttled for another. */
async function ask(daemon: TestDaemon, header: string, client: number) {
  const { statuses, text } = await speak(portIn(daemon.url), [
    `GET /api/endpoints HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: 192.0.2.${client}\r\n` +
    `${header}\r\n\r\n`,
  ]);
  return { status: statuses[0], text };
}

onServer("portal.token: nothing that merely resembles a portal token lets anybody in", async (
  database: TestDatabase,
) => {
  await using daemon = await startDaemon({ database: database.section, server: PROXIED });
  const { id, token } = await linkOf(daemon, "bus_1");
  const random = token.slice("portal_".length);
  const digest = createHash("sha256").update(token).digest();
  const [head, tail] = [random.slice(0, 21), random.slice(21)];
  const other = random.startsWith("A") ? "B" : "A";
  const tokens = [
    ...[random, "portal_", `portal_${random.slice(0, -1)}`, `${token}A`, `${token}=`, id],
    ...[`portal_${other}${random.slice(1)}`, `portal_${random.slice(1)}${other}`],
    ...[token.toUpperCase(), `PORTAL_${random}`, `portal-${random}`, `portal_portal_${random}`],
    ...[`portal_${tail}${head}`, `portal_${[...random].reverse().join("")}`],
    ...[`portal_${digest.toString("base64url")}`, digest.toString("hex"), `portal:${id}`],
    ...[`\\x${digest.toString("hex")}`, `portal_${"%".repeat(43)}`, `portal_${"_".repeat(43)}`],
    ...[`portal_${"A".repeat(43)}`, `portal_${"A".repeat(10_000)}`, "portal_[token]"],
    ...[`portal_'or'1'='1`, "portal_${token}", "portal_null", "portal_undefined", "portal_../x"],
    // The unused bits of the last digit: other text, the same 32 bytes.
    ...["", "A", "w", "z", "-"].map((last) => `portal_${random.slice(0, -1)}${last}`)
      .filter((one) => one !== token),
  ];
  const headers = [
    ...tokens.map((one) => `Authorization: Bearer ${one}`),
    ...[`Authorization: ${token}`, `Authorization: Basic ${btoa(`portal:${token}`)}`],
    ...[`Authorization: Portal ${token}`, `Authorization: Bearer ${token} ${token}`],
    ...[`Authorization: Bearer "${token}"`, `Authorization: Bearer\t${token}`],
    ...[`Cookie: token=${token}`, `Cookie: portal=${token}`, `X-Portal-Token: ${token}`],
  ];
  for (const [nth, header] of headers.entries()) {
    const { status, text } = await ask(daemon, header, nth);
    assert.equal(status, 401, `${header.slice(0, 100)}: ${text}`);
  }
  assert.equal((await ask(daemon, `Authorization: Bearer ${token}`, 1)).status, 200);
  const wrong = await speak(portIn(daemon.url), [
    `GET /api/endpoints?token=${token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`,
  ]);
  assert.deepEqual(wrong.statuses, [401]);
  const { body: named } = await daemon.api(`endpoints/${token}`);
  assert.match(named.detail, /^There is no endpoint a secret; /, "put in a wrong place");
  assert.ok(!JSON.stringify(daemon.log).includes(random));
});

onServer("portal.guess: wrong portal tokens are throttled by address, right ones never", async (
  database: TestDatabase,
) => {
  await using daemon = await startDaemon({ database: database.section, server: PROXIED });
  const { token } = await linkOf(daemon, "bus_1");
  const statuses: (number | undefined)[] = [];
  for (let nth = 0; nth < 15; nth++) {
    const guess = `portal_${String(nth).padStart(43, "A")}`;
    statuses.push((await ask(daemon, `Authorization: Bearer ${guess}`, 1)).status);
  }
  assert.deepEqual(statuses.slice(0, 10), Array(10).fill(401));
  assert.deepEqual(statuses.slice(11), Array(4).fill(429));
  assert.equal((await ask(daemon, `Authorization: Bearer ${token}`, 1)).status, 200);
});

onServer("portal.host: no header of a request gets into a link", async (database: TestDatabase) => {
  {
    // On loopback, a proxy may call it by any name.
    await using daemon = await startDaemon({ database: database.section, server: PROXIED });
    for (const host of ["evil.example", "evil.example:443", "127.0.0.1"]) {
      const { url, token } = await linkOf(daemon, "bus_1", host);
      assert.equal(url, `${daemon.url}/portal/open/${token}`);
    }
  }
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "0.0.0.0:0", public_url: "https://hooks.example.com" },
  });
  for (const host of ["hooks.example.com:9999", "localhost"]) {
    const { url, token } = await linkOf(daemon, "bus_1", host);
    assert.equal(url, `https://hooks.example.com/portal/open/${token}`);
  }
});

onServer("portal.path: the path of a link is not repeated, however it is asked for", async (
  database: TestDatabase,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const { token } = await linkOf(daemon, "bus_1");
  const random = token.slice("portal_".length);
  const paths = [
    ...["", "/", "/..", "/../../livez", "?a=1", "%00", "%2f", ";a=1"]
      .map((end) => `/portal/open/${token}${end}`),
    ...[`//portal/open/${token}`, `/portal//open/${token}`, `/Portal/Open/${token}`],
    ...[`/portal/%6fpen/${token}`, `/%70ortal/open/${token}`, `/portal/open/x/${token}`],
    ...[`/api/${token}`, `/${token}`, `/dashboard/${token}`, `/portal/open/./${token}`],
    `/portal/open/%70ortal_${random}`,
  ];
  for (const path of paths) {
    for (const method of ["GET", "POST", "PUT", "OPTIONS"]) {
      for (const host of ["127.0.0.1", "evil.example"]) {
        const { statuses, text } = await speak(portIn(daemon.url), [
          `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n` +
          `Authorization: Bearer ${ADMIN}\r\n\r\n`,
        ]);
        const about = `${method} ${path}: ${text}`;
        // 200: the page with the button; 303 and 403: not signed in.
        assert.ok([200, 303, 400, 403, 404, 421].includes(statuses[0] ?? 0), about);
        assert.ok(!text.includes(random), about);
      }
    }
  }
  assert.ok(!JSON.stringify(daemon.log).includes(random));
});
