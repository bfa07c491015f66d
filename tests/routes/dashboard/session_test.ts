import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { ADMIN, startDaemon, type TestDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { portIn, speak } from "../../support/raw.ts";
import { openLink, signIn, visitor } from "../../support/visitor.ts";

// deno-lint-ignore no-explicit-any
async function reload(daemon: TestDaemon, change: (file: any) => void): Promise<void> {
  const { body } = await daemon.api("config");
  const file = parse(Deno.readTextFileSync(body.path));
  change(file);
  Deno.writeTextFileSync(body.path, stringify(file));
  const { status, body: answer } = await daemon.api("reload", ADMIN, "POST");
  assert.equal(status, 200, JSON.stringify(answer));
}

onServer("a session ends with its token, and follows its role, at the next request", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const wall = await signIn(daemon.url, VIEWER);
  assert.equal((await wall.submit("/dashboard/logout", {}, "/dashboard")).status, 303);
  const again = await signIn(daemon.url, VIEWER);
  const other = await signIn(daemon.url);
  const { text } = await again.get("/dashboard");
  const csrf = /name="csrf" value="([\w-]+)"/.exec(text)?.[1] ?? "";
  assert.equal((await again.post("/dashboard", { csrf })).status, 403, "a viewer");
  await reload(daemon, (file) => file.admin.tokens[1].role = "admin");
  assert.equal((await again.post("/dashboard", { csrf })).status, 405, "an administrator by now");
  await reload(daemon, (file) => file.admin.tokens.pop());
  assert.equal((await again.get("/dashboard")).status, 303);
  assert.equal((await again.post("/dashboard", { csrf })).status, 403);
  assert.equal((await other.get("/dashboard")).status, 200, "of another token");
  // The name alone brings nothing back.
  await reload(
    daemon,
    (file) =>
      file.admin.tokens.push({
        name: "wall",
        token: "another-token-of-the-tests-01",
        role: "admin",
      }),
  );
  assert.equal((await again.get("/dashboard")).status, 303);
});

onServer("whoever is not signed in gets to the page asked for by signing in", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const operator = await signIn(daemon.url);
  await db.admin`update sessions set expires_at = now()`;
  const page = "/dashboard/deliveries?status=failed&endpoint=crm%26erp";
  const sent_away = await operator.get(page);
  assert.equal(sent_away.status, 303);
  const login = sent_away.location ?? "";
  assert.equal(login, `/dashboard/login?next=${encodeURIComponent(page)}`);
  const back = await operator.submit("/dashboard/login", { token: ADMIN }, login);
  assert.deepEqual([back.status, back.location], [303, page]);
  assert.equal((await operator.get(login)).location, page, "signed in already");
});

onServer("a form of an expired session does nothing, and says so", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const operator = await signIn(daemon.url);
  const { text } = await operator.get("/dashboard");
  const csrf = /name="csrf" value="([\w-]+)"/.exec(text)?.[1] ?? "";
  await db.admin`update sessions set expires_at = now()`;
  const answer = await operator.post(
    "/dashboard/endpoints",
    { csrf, url: "https://x.example" },
    { referer: `${daemon.url}/dashboard/endpoints/new?a=b` },
  );
  assert.equal(answer.status, 403);
  assert.match(answer.text, /Your session has ended. Nothing was done; sign in again/);
  assert.match(answer.text, /name="token"/);
  assert.match(answer.text, /name="next" value="\/dashboard\/endpoints\/new\?a=b"/);
  const evil = { referer: "https://evil.example/api/config" };
  const other = await operator.post("/dashboard/endpoints", { csrf }, evil);
  assert.match(other.text, /name="next" value="\/dashboard"/);
});

onServer("a session lasts 12 hours, that of a portal until its link ends", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  await signIn(daemon.url);
  const link = async (expires_in: string) => {
    const made = await fetch(`${daemon.url}/api/portal-links`, {
      method: "POST",
      headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
      body: JSON.stringify({ business: "bus_1", expires_in }),
    });
    return (await made.json()).token;
  };
  await openLink(daemon.url, await link("7d"));
  await openLink(daemon.url, await link("1h"));
  const rows = await db.admin<{ hours: number }[]>`
    select round(extract(epoch from expires_at - created_at) / 3600)::int as hours
    from sessions order by created_at`;
  assert.deepEqual(rows.map(({ hours }) => hours), [12, 12, 1]);
});

onServer("over https the cookie is for https only, and bound to the host", async (database) => {
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "127.0.0.1:0", public_url: "https://hooks.example.com" },
  });
  const body = `token=${ADMIN}`;
  const login = (origin: string) =>
    speak(portIn(daemon.url), [
      `POST /dashboard/login HTTP/1.1\r\nHost: hooks.example.com\r\nOrigin: ${origin}\r\n` +
      "Content-Type: application/x-www-form-urlencoded\r\n" +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
    ]);
  const { text } = await login("https://hooks.example.com");
  assert.match(
    text,
    /\r\nset-cookie: __Host-bookme=[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; Secure; SameSite=Strict\r\n/i,
  );
  for (const origin of ["http://hooks.example.com", daemon.url, "https://hooks.example.com:8443"]) {
    assert.deepEqual((await login(origin)).statuses, [403], origin);
  }
});

onServer("over plain http, nobody signs in from another machine", async (database) => {
  for (const public_url of [null, "http://hooks.example.com"]) {
    await using daemon = await startDaemon({
      database: database.section,
      server: {
        listen: "0.0.0.0:0",
        ...(public_url === null ? {} : { public_url }),
      },
    });
    const port = portIn(daemon.url);
    const host = "hooks.example.com";
    for (const path of ["/dashboard/login", `/portal/open/portal_${"A".repeat(43)}`]) {
      const { statuses, text } = await speak(port, [
        `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
      ]);
      assert.deepEqual(statuses, [403], text);
      assert.match(text, /Signing in needs TLS: .* set server\.public_url to its https address/);
      assert.doesNotMatch(text, /<form/);
    }
    const here = visitor(`http://localhost:${port}`);
    assert.equal((await here.post("/dashboard/login", { token: ADMIN })).status, 303);
  }
});

onServer("a link on another site leads to the page, although the cookie was left out", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const stranger = visitor(daemon.url);
  const elsewhere = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };
  const { status, text } = await stranger.get("/dashboard/deliveries?a=1&b=%22%3E", elsewhere);
  assert.equal(status, 200);
  assert.match(
    text,
    /<meta http-equiv="refresh" content="0; url=\/dashboard\/deliveries\?a=1&amp;b=%22%3E"/,
  );
  const here = { ...elsewhere, "sec-fetch-site": "same-origin" };
  assert.equal((await stranger.get("/dashboard/deliveries", here)).status, 303, "once");
});

onServer("the stream is read by cookie", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const leaving = new AbortController();
  const response = await fetch(`${daemon.url}/dashboard/stream`, {
    headers: { cookie: operator.cookies() },
    signal: leaving.signal,
  });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("event: ready")) text += (await reader?.read())?.value ?? "";
  leaving.abort();
  await reader?.closed.catch(() => {});
  assert.equal((await visitor(daemon.url).get("/dashboard/stream")).status, 303);
});
