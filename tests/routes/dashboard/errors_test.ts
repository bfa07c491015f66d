import assert from "node:assert/strict";
import { dashboardRoutes } from "../../../routes/dashboard/routes.ts";
import { ADMIN, startDaemon, VIEWER } from "../../support/daemon.ts";
import { onServer } from "../../support/databases.ts";
import { connectTo, freshDatabase, startPostgres } from "../../support/postgres.ts";
import { portIn, speak } from "../../support/raw.ts";
import { hiddenFields, openLink, signIn, visitor } from "../../support/visitor.ts";
import { until } from "../../support/wait.ts";

onServer("errors of pages are pages, with the way on", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const missing = await operator.get("/dashboard/never-was");
  assert.equal(missing.status, 404);
  assert.match(missing.headers.get("content-type") ?? "", /^text\/html/);
  assert.match(missing.text, /Sign out/, "within the layout");
  assert.match(missing.text, /No page is at \/dashboard\/never-was/);
  const { csrf = "" } = hiddenFields(missing.text);
  const posted = await operator.post("/dashboard", { csrf });
  assert.equal(posted.status, 405);
  assert.equal(posted.headers.get("allow"), "GET, HEAD");
  assert.match(posted.text, /^<!doctype html>/);
  const large = await operator.post("/dashboard/logout", { csrf, more: "x".repeat(1024 * 1024) });
  assert.equal(large.status, 413);
  assert.match(large.text, /^<!doctype html>/);
  const viewer = await signIn(daemon.url, VIEWER);
  const { csrf: own = "" } = hiddenFields((await viewer.get("/dashboard")).text);
  const refused = await viewer.post("/dashboard/endpoints", { csrf: own });
  assert.equal(refused.status, 403);
  assert.match(
    refused.text,
    /The token wall has the role viewer, which may only read; nothing was/,
  );
  const stranger = visitor(daemon.url);
  const sent_away = await stranger.get("/dashboard/never-was");
  assert.deepEqual(
    [sent_away.status, sent_away.location],
    [303, "/dashboard/login?next=%2Fdashboard%2Fnever-was"],
  );
  for (const path of ["/portal", "/portal/never-was"]) {
    const { status, text } = await stranger.get(path);
    assert.equal(status, 403);
    assert.match(text, /<h1[^>]*>Open your link<\/h1>/);
  }
});

onServer("a host that is not this program's gets a page, too", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  for (const path of ["/dashboard", "/portal", "/dashboard/login"]) {
    const { statuses, text } = await speak(portIn(daemon.url), [
      `GET ${path} HTTP/1.1\r\nHost: evil.example\r\n\r\n`,
    ]);
    assert.deepEqual(statuses, [421]);
    assert.match(text, /content-type: text\/html/i);
    assert.match(text, /Content-Security-Policy: default-src 'none'/);
    assert.match(text, /The Host header is not this machine&#39;s/);
  }
});

Deno.test("with the database away, whoever is signed in sees since when, and what that means", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using daemon = await startDaemon({ database: { url } });
  const operator = await signIn(daemon.url);
  assert.equal((await operator.get("/dashboard")).status, 200);
  await own.stop();
  const away = await until("the pulse has missed it", async () => {
    const answer = await operator.get("/dashboard/deliveries");
    return /has not answered for \d+ seconds/.test(answer.text) ? answer : undefined;
  });
  assert.equal(away.status, 503);
  assert.match(away.headers.get("content-type") ?? "", /^text\/html/);
  assert.equal(away.headers.get("retry-after"), "1");
  assert.match(away.text, /Nothing accepted is lost/);
  assert.match(away.text, /Sign out/, "remembered");
  assert.match(away.text, /Last known numbers[^]*ago[^]*Waiting/);
  assert.doesNotMatch(away.text, /127\.0\.0\.1:\d+|ECONN/, "no address of the database");
  const stranger = visitor(daemon.url);
  assert.equal((await stranger.get("/dashboard")).status, 303, "nothing is needed to know that");
  const wrong = operator.cookies().replace(/=.{4}/, "=AAAA");
  const guessed = await stranger.get("/dashboard", { cookie: wrong });
  assert.equal(guessed.status, 503);
  assert.doesNotMatch(guessed.text, /Sign out/);
  const login = await stranger.post("/dashboard/login", { token: ADMIN });
  assert.equal(login.status, 503);
  await own.start();
  await until("pages come back", async () => (await operator.get("/dashboard")).status === 200);
});

Deno.test("every page of both houses says that the database is away, however it is away", async () => {
  await using own = await startPostgres();
  const { url } = await freshDatabase(own);
  await using daemon = await startDaemon({ database: { url } });
  const made = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business: "bus_1" }),
  });
  const { token } = await made.json();
  const houses = [
    [await signIn(daemon.url), "/dashboard"],
    [await openLink(daemon.url, token), "/portal"],
  ] as const;
  for (const [visiting, base] of houses) assert.equal((await visiting.get(base)).status, 200);
  const paths = dashboardRoutes({ log: {} } as never).routes
    .filter(({ method, path }) =>
      method === "GET" && /^\/(?:dashboard|portal)(?!\/assets|.*\/(?:log|stream))/.test(path)
    )
    .map(({ path }) => path.replace("/open/:token", `/open/${token}`).replace(/:\w+/, "x"));
  const refuseSessions = async (are_refused: boolean) => {
    await using sql = connectTo(own.url("postgres"));
    const name = new URL(url).pathname.slice(1);
    await sql.unsafe(`alter database "${name}" allow_connections ${!are_refused}`);
    if (!are_refused) return;
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${name}`;
  };
  const check = async (how: string) => {
    for (const [visiting, base] of houses) {
      // Ending a session takes a moment.
      await until(how, async () => (await visiting.get(base)).status === 503);
      for (const path of paths.filter((path) => `${path}/`.startsWith(`${base}/`))) {
        const { status, text } = await visiting.get(path);
        assert.equal(status, 503, `${how}: ${path}: ${text}`);
        assert.match(text, /Database away|Not available now/, `${how}: ${path}`);
      }
    }
  };
  await refuseSessions(true);
  await check("it refuses sessions");
  await refuseSessions(false);
  for (const [visiting, base] of houses) {
    await until("pages come back", async () => (await visiting.get(base)).status === 200);
  }
  await own.kill();
  await check("it was killed");
});
