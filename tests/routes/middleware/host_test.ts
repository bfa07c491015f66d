import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { ADMIN, startDaemon, type TestDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { portIn, speak } from "../../support/raw.ts";

/** The status and the code of an answer to a request by that Host. */
async function by(daemon: TestDaemon, host: string, path = "/api/config", more = "") {
  const { statuses, body } = await speak(portIn(daemon.url), [
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${ADMIN}\r\n${more}\r\n`,
  ]);
  if (statuses[0] !== 421) return statuses[0];
  // Pages say it in HTML.
  return `421 ${body.startsWith("<") ? "misdirected" : JSON.parse(body).code}`;
}

/** Names that are nobody's here. */
const STRANGE = [
  ...["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"],
  ...["169.254.169.254", "[::]", "localhost.", "xlocalhost", "127.1", "0x7f000001"],
  ...["hooks.example.com.evil.example", "evil-hooks.example.com", "hooks.example.com."],
  "hooks.example.co",
];

/** No hosts at all. */
const BROKEN = ["127.0.0.1, localhost", "", "[::1", "user@localhost", "localhost@evil.example"];

async function refuseStrange(daemon: TestDaemon): Promise<void> {
  for (const host of STRANGE) assert.equal(await by(daemon, host), "421 misdirected", host);
  for (const host of BROKEN) {
    const answer = await by(daemon, host);
    assert.ok(answer === 400 || answer === "421 misdirected", `${host}: ${answer}`);
  }
}

onServer("on loopback, a host that is not this machine's gets 421", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const { port } = new URL(daemon.url);
  for (const host of ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"]) {
    assert.equal(await by(daemon, `${host}:${port}`), 200, host);
    assert.equal(await by(daemon, host), 200, host);
  }
  await refuseStrange(daemon);
  for (const host of ["hooks.example.com", "0.0.0.0"]) {
    assert.equal(await by(daemon, host), "421 misdirected", host);
  }
  const paths = ["/openapi.json", "/dashboard", "/dashboard/endpoints", "/portal", "/portal/x"];
  for (const path of paths) {
    assert.equal(await by(daemon, "evil.example", path), "421 misdirected", path);
    assert.notEqual(await by(daemon, "localhost", path), "421 misdirected", path);
  }
  for (const path of ["/livez", "/readyz", "/ip-ranges"]) {
    assert.equal(await by(daemon, "evil.example", path), 200, "open to everybody anyway");
  }
});

onServer("a trusted proxy passes on any host while there is no public_url", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
  });
  const more = "X-Forwarded-For: 192.0.2.1\r\n";
  assert.equal(await by(daemon, "hooks.example.com", "/api/config", more), 200);
});

onServer("with public_url, its host and those of the listener are known", async (database) => {
  const server = {
    public_url: "https://Hooks.Example.com:8443/webhooks",
    trusted_proxies: ["127.0.0.1/32"],
  };
  for (const listen of ["127.0.0.1:0", "0.0.0.0:0"]) {
    await using daemon = await startDaemon({
      database: database.section,
      server: { ...server, listen },
    });
    for (
      const host of ["hooks.example.com", "HOOKS.example.com:8443", "localhost", "127.0.0.1:1"]
    ) {
      assert.equal(await by(daemon, host), 200, `${listen}: ${host}`);
    }
    await refuseStrange(daemon);
    // A header that any client can send decides nothing.
    const more = "X-Forwarded-Host: hooks.example.com\r\nForwarded: host=hooks.example.com\r\n";
    assert.equal(await by(daemon, "evil.example", "/api/config", more), "421 misdirected");
    const outside = Object.values(networkInterfaces()).flat()
      .find((one) => one?.family === "IPv4" && !one.internal)?.address;
    if (outside === undefined) continue;
    const expected = listen.startsWith("0") ? 200 : "421 misdirected";
    assert.equal(await by(daemon, outside), expected, "an address of this machine");
  }
});

onServer("without public_url, a listener for others takes any host", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "0.0.0.0:0" },
  });
  assert.equal(await by(daemon, "hooks.example.com"), 200);
});
