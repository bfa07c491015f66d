import assert from "node:assert/strict";
import { gunzipSync } from "node:zlib";
import { Buffer } from "node:buffer";
import { ASSETS } from "../../../routes/dashboard/assets.ts";
import { acceptsGzip } from "../../../routes/dashboard/headers.ts";
import { startDaemon } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { portIn, speak } from "../../support/raw.ts";
import { signIn, visitor } from "../../support/visitor.ts";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; " +
  "require-trusted-types-for 'script'; trusted-types bookme";

onServer("every page has the same strict headers, whatever its status", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const stranger = visitor(daemon.url);
  const answers = [
    [200, await operator.get("/dashboard")],
    [404, await operator.get("/dashboard/never-was")],
    [403, await operator.post("/dashboard/logout")],
    [200, await stranger.get("/dashboard/login")],
    [303, await stranger.get("/dashboard")],
    [403, await stranger.post("/dashboard/endpoints")],
    [403, await stranger.get("/portal")],
    [404, await stranger.get(`/portal/open/portal_${"A".repeat(43)}`)],
  ] as const;
  for (const [status, { status: found, headers, text }] of answers) {
    assert.equal(found, status, text);
    assert.equal(headers.get("content-security-policy"), POLICY);
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.equal(headers.get("cross-origin-opener-policy"), "same-origin");
    assert.equal(headers.get("cross-origin-resource-policy"), "same-origin");
    assert.match(headers.get("referrer-policy") ?? "", /^(same|strict)-origin$/);
    assert.equal(headers.get("access-control-allow-origin"), null);
    assert.doesNotMatch(text, /\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/, "nothing inline");
  }
});

onServer("pages are compressed for those who ask for it", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const ask = async (coding: string) => {
    const { text } = await speak(portIn(daemon.url), [
      `GET /dashboard HTTP/1.1\r\nHost: 127.0.0.1:${portIn(daemon.url)}\r\nConnection: close\r\n` +
      `Cookie: ${operator.cookies()}\r\nAccept-Encoding: ${coding}\r\n\r\n`,
    ]);
    const [head = "", body = ""] = text.split(/\r\n\r\n([^]*)/);
    return { head, body: Buffer.from(body, "latin1") };
  };
  const plain = await ask("identity");
  assert.doesNotMatch(plain.head, /content-encoding/i);
  const { head, body } = await ask("br, gzip;q=0.5");
  assert.match(head, /^content-encoding: gzip$/im);
  assert.match(head, /^vary: accept-encoding$/im);
  assert.match(head, new RegExp(`^content-length: ${body.length}$`, "im"));
  const withoutTokens = (page: Uint8Array) =>
    Buffer.from(page).toString().replaceAll(/value="[\w-]{86}"|\d\d:\d\d:\d\d/g, "");
  assert.equal(withoutTokens(gunzipSync(body)), withoutTokens(plain.body));
  assert.ok(body.length < plain.body.length);
});

onServer("a form's token is masked differently in each page, and each one is good", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const token = async () =>
    /name="csrf" value="([\w-]{86})"/.exec((await operator.get("/dashboard")).text)?.[1] ?? "";
  const [one, two] = [await token(), await token()];
  assert.equal(one.length, 86);
  for (let at = 0; at + 8 <= one.length; at += 8) {
    assert.notEqual(
      one.slice(at, at + 8),
      two.slice(at, at + 8),
      "compression finds no part of it",
    );
  }
  assert.equal((await operator.post("/dashboard/logout", { csrf: one })).status, 303);
});

onServer("assets are immutable, and whole in either coding", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  for (const { path, bytes, type } of ASSETS) {
    assert.match(path, /^\/dashboard\/assets\/[\w-]+(?:\.[\w-]+)*\.[\w-]{8,}\.(?:css|js)$/);
    for (const coding of ["gzip", "identity"]) {
      const response = await fetch(daemon.url + path, { headers: { "accept-encoding": coding } });
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("cache-control"), "public, max-age=31536000, immutable");
      assert.equal(response.headers.get("content-type"), type);
      assert.equal(response.headers.get("x-content-type-options"), "nosniff");
      assert.deepEqual(new Uint8Array(await response.arrayBuffer()), bytes);
    }
  }
  const gone = await fetch(`${daemon.url}/dashboard/assets/style.AAAAAAAAAAAA.css`, {
    redirect: "manual",
  });
  await gone.body?.cancel();
  assert.equal(gone.status, 303);
});

Deno.test("acceptsGzip() reads Accept-Encoding", () => {
  for (const yes of ["gzip", "br, gzip", "GZIP;q=1", "gzip ; q=0.5, br"]) {
    assert.ok(acceptsGzip(yes), yes);
  }
  for (
    const no of [undefined, "", "br", "gzip;q=0", "gzip; q=0.000", "x-gzip", "identity, *;q=0"]
  ) {
    assert.ok(!acceptsGzip(no), no);
  }
});
