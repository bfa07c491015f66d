import assert from "node:assert/strict";
import { ADMIN, startDaemon, type TestDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { hiddenFields, openLink, visitor } from "../../support/visitor.ts";

async function linkOf(daemon: TestDaemon, business: string, more: Record<string, unknown> = {}) {
  const made = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business, ...more }),
  });
  assert.equal(made.status, 201);
  return await made.json() as { readonly id: string; readonly url: string; readonly token: string };
}

onServer("looking at a portal link changes nothing; its button signs in", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const { url, token } = await linkOf(daemon, "bus_1");
  const path = new URL(url).pathname;
  const scanner = visitor(daemon.url);
  for (const method of ["GET", "HEAD", "GET"]) {
    const { status, headers, body } = await fetch(daemon.url + path, { method });
    await body?.cancel();
    assert.equal(status, 200);
    assert.equal(headers.get("set-cookie"), null);
    assert.equal(headers.get("referrer-policy"), "strict-origin", "no path in any Referer");
    assert.equal(headers.get("cache-control"), "no-store");
  }
  const { text } = await scanner.get(path);
  assert.match(text, /<h1>Webhooks of bus_1<\/h1>/);
  assert.match(text, /<time datetime="\d{4}-/);
  assert.equal(text.match(/<button/g)?.length, 1);
  assert.ok(!text.includes(token), "neither in the title nor in the form");
  const count = async () => (await db.admin`select count(*)::int as n from sessions`)[0]?.["n"];
  assert.equal(await count(), 0);
  const opened = await scanner.post(path);
  assert.deepEqual([opened.status, opened.location], [303, "/portal"]);
  assert.equal(await count(), 1);
  assert.match(
    opened.headers.getSetCookie().join(),
    /^bookme_portal_\d+=[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/,
  );
  const portal = await scanner.get("/portal");
  assert.equal(portal.status, 200);
  assert.match(portal.text, /bus_1/);
  assert.match(portal.text, /Signed in with a link that expires/);
  const out = await scanner.post("/portal/logout", {
    csrf: hiddenFields(portal.text)["csrf"] ?? "",
  });
  assert.deepEqual([out.status, out.location, scanner.cookies()], [303, "/portal", ""]);
});

onServer("a link that ended looks like one that never was", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const [expired, revoked] = [await linkOf(daemon, "bus_1"), await linkOf(daemon, "bus_2")];
  const before = await openLink(daemon.url, expired.token);
  await db.admin`update portal_links set expires_at = now() where id = ${expired.id}`;
  await daemon.api(`portal-links/${revoked.id}`, ADMIN, "DELETE");
  const [never, ...others] = await Promise.all(
    [`portal_${"A".repeat(43)}`, expired.token, revoked.token, "x", "portal_", `${revoked.token}A`]
      .flatMap((token) => {
        const path = `/portal/open/${token}`;
        return [visitor(daemon.url).get(path), visitor(daemon.url).post(path)];
      }),
  );
  assert.equal(never?.status, 404);
  assert.match(never?.text ?? "", /<h1>This link has ended<\/h1>/);
  assert.match(never?.text ?? "", /Ask for a new one/);
  for (const { status, text, headers } of others) {
    assert.deepEqual([status, text, headers.get("set-cookie")], [404, never?.text, null]);
  }
  assert.equal((await before.get("/portal")).status, 403, "its session ended with it");
});

onServer("opening another link ends the session before", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const browser = await openLink(daemon.url, (await linkOf(daemon, "bus_1")).token);
  const cookie = browser.cookies();
  await browser.post(`/portal/open/${(await linkOf(daemon, "bus_2")).token}`);
  assert.match((await browser.get("/portal")).text, /bus_2/);
  assert.equal((await visitor(daemon.url).get("/portal", { cookie })).status, 403);
});

onServer("a link that may only read opens pages, and changes nothing", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const reader = await openLink(
    daemon.url,
    (await linkOf(daemon, "bus_1", { read_only: true })).token,
  );
  const { text, status } = await reader.get("/portal");
  assert.equal(status, 200);
  const csrf = hiddenFields(text)["csrf"] ?? "";
  for (const path of ["/portal/endpoints", "/portal/test", "/portal/never-was", "/portal"]) {
    const answer = await reader.post(path, { csrf, url: "https://x.example" });
    assert.equal(answer.status, 403, path);
    assert.match(answer.text, /This link may only read; nothing was done/);
  }
  assert.equal((await reader.post("/portal/logout", { csrf })).status, 303);
});

onServer("a business's id is text on the page of its link", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const { token } = await linkOf(daemon, `"><script>alert(1)</script>`);
  const { text } = await visitor(daemon.url).get(`/portal/open/${token}`);
  assert.match(text, /Webhooks of &quot;&gt;&lt;script&gt;alert\(1\)/);
});
