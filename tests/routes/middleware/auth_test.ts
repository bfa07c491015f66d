import assert from "node:assert/strict";
import { request } from "node:http";
import { networkOf } from "../../../routes/middleware/client.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { ADMIN, endpoint, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";

Deno.test("networkOf() is an address, or the /64 of an IPv6 address", () => {
  for (
    const address of ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:0db8:0000:0001:0:0:0:3"]
  ) {
    assert.equal(networkOf(address), "2001:db8:0:1");
  }
  assert.notEqual(networkOf("2001:db8:0:2::1"), networkOf("2001:db8:0:1::1"));
  assert.equal(networkOf("192.0.2.9"), "192.0.2.9");
  assert.equal(networkOf("::ffff:192.0.2.9"), "192.0.2.9");
});

/** A request with headers that `fetch` does not let through. */
function ask(
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { agent: false, headers }, (incoming) => {
      incoming.resume();
      incoming.on(
        "end",
        () => resolve({ status: incoming.statusCode ?? 0, headers: { ...incoming.headers } }),
      );
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

onServer("wrong tokens are throttled by address, valid ones never", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
  });
  const url = `${daemon.url}/api/config`;
  const from = (address: string, token: string) =>
    ask(url, { ...bearer(token), "x-forwarded-for": address });
  const wrong: number[] = [];
  for (let i = 0; i < 15; i++) wrong.push((await from("192.0.2.1", `wrong-token-${i}`)).status);
  assert.deepEqual(wrong.slice(0, 10), Array(10).fill(401));
  assert.deepEqual(wrong.slice(11), Array(4).fill(429));
  const refused = await from("192.0.2.1", "wrong-token");
  assert.ok(Number(refused.headers["retry-after"]) > 0);
  assert.equal((await from("192.0.2.1", ADMIN)).status, 200, "nobody is locked out");
  assert.equal((await from("192.0.2.1", VIEWER)).status, 200);
  assert.equal((await from("192.0.2.2", "wrong-token")).status, 401, "others are not touched");
  assert.equal(
    (await ask(url, { "x-forwarded-for": "192.0.2.1" })).status,
    401,
    "none is not wrong",
  );
  const lines = daemon.log.filter(({ message }) => message === "Token refused");
  assert.ok(lines.length >= 11 && lines.length <= 12, `${lines.length} lines`);
  assert.equal(lines[0]?.address, "192.0.2.1");
  assert.ok(!JSON.stringify(daemon.log).includes("wrong-token"));
});

onServer(
  "every answer has the headers that keep it harmless, and none for other origins",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const paths = ["/api/config", "/api/nothing", "/livez", "/nothing", "/openapi.json"];
    for (const path of paths) {
      for (const token of [ADMIN, "wrong-token-of-nobody"]) {
        const response = await fetch(daemon.url + path, {
          headers: { ...bearer(token), origin: "https://evil.example" },
        });
        await response.body?.cancel();
        const { headers } = response;
        assert.equal(headers.get("x-content-type-options"), "nosniff", path);
        assert.equal(headers.get("referrer-policy"), "no-referrer", path);
        for (const [name] of headers) assert.ok(!name.startsWith("access-control-"), name);
        if (!path.startsWith("/api")) continue;
        assert.equal(headers.get("cache-control"), "no-store", path);
        assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'/);
      }
    }
    const preflight = await fetch(`${daemon.url}/api/endpoints`, {
      method: "OPTIONS",
      headers: { origin: "https://evil.example", "access-control-request-method": "POST" },
    });
    await preflight.body?.cancel();
    assert.equal(preflight.status, 401);
  },
);

onServer(
  "a viewer may read everything and change nothing; the audit log says who changed what",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("crm", "http://127.0.0.1:1/")],
    });
    const api = await checkedApi(daemon);
    for (const [path, operations] of Object.entries(api.document.paths)) {
      if (!path.startsWith("/api/")) continue;
      for (const method of Object.keys(operations)) {
        const target = path.replace("/api/", "").replace("{id}", "crm");
        const body = method === "get" ? undefined : {};
        const { status } = target === "stream"
          ? await fetch(`${daemon.url}${path}`, { // whose answer does not end
            method: "HEAD",
            headers: { authorization: `Bearer ${VIEWER}` },
          })
          : await api.call(method.toUpperCase(), target, body, VIEWER);
        const may_read = method === "get" && target !== "backup"; // which holds everything
        assert.ok(may_read ? status === 200 || status === 404 : status === 403, path);
      }
    }
    assert.deepEqual(
      (await api.expect(200, "GET", "audit?actor=wall")).body.data,
      [],
      "what was refused is no change",
    );
    const { body: made } = await api.expect(201, "POST", "endpoints", {
      url: "http://127.0.0.1:1/a",
      events: ["*"],
      description: "before",
    });
    await api.expect(200, "PATCH", `endpoints/${made.id}`, { description: "after" });
    await api.expect(200, "DELETE", `endpoints/${made.id}`);
    const first = await api.expect(200, "GET", "audit?limit=2&actor=ops");
    const rest = await api.expect(
      200,
      "GET",
      `audit?limit=2&actor=ops&cursor=${first.body.next_cursor}`,
    );
    assert.equal(rest.body.next_cursor, null);
    const [retired, updated, created] = [...first.body.data, ...rest.body.data];
    assert.equal(retired.action, "endpoint.retired");
    assert.equal(updated.action, "endpoint.updated");
    assert.equal(updated.before.settings.description, "before");
    assert.equal(updated.after.settings.description, "after");
    assert.equal(updated.address, "127.0.0.1");
    assert.equal(created.action, "endpoint.created");
    assert.equal(created.object, made.id);
    assert.equal(created.before, null);
    assert.equal(created.after.url, "http://127.0.0.1:1/a");
    for (const query of ["cursor=-1", "cursor=x", "cursor=1' or '1'='1", "who=ops"]) {
      await api.expect(422, "GET", `audit?${encodeURI(query)}`);
    }
    const literal = encodeURIComponent("ops' or 'a'='a");
    assert.deepEqual((await api.expect(200, "GET", `audit?actor=${literal}`)).body.data, []);
  },
);
