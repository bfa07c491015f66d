import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { ADMIN, startDaemon, type TestDaemon, VIEWER } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { portIn, speak } from "../support/raw.ts";
import {
  formTo,
  hiddenFields,
  openLink,
  signIn,
  type Visitor,
  visitor,
} from "../support/visitor.ts";

const FORM = "application/x-www-form-urlencoded";

/** A token for the forms of whoever visits. */
async function tokenOf(visiting: Visitor, base = "/dashboard"): Promise<string> {
  return hiddenFields((await visiting.get(base)).text)["csrf"] ?? "";
}

async function linkOf(daemon: TestDaemon, business: string, read_only = false) {
  const made = await fetch(`${daemon.url}/api/portal-links`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business, read_only }),
  });
  assert.equal(made.status, 201);
  return await made.json() as { readonly id: string; readonly token: string };
}

/** A request as it is, by the visitor's cookies. */
function raw(
  daemon: TestDaemon,
  visiting: Visitor,
  line: string,
  headers: Readonly<Record<string, string | null>>,
  body = "",
) {
  const all: Record<string, string | null> = {
    Host: `127.0.0.1:${portIn(daemon.url)}`,
    Origin: daemon.url,
    "Content-Type": FORM,
    "Content-Length": String(body.length),
    ...(visiting.cookies() === "" ? {} : { Cookie: visiting.cookies() }),
    ...headers,
  };
  const fields = Object.entries(all).filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return speak(portIn(daemon.url), [`${line} HTTP/1.1\r\n${fields.join("")}\r\n${body}`]);
}

onServer("dashboard.csrf: only forms of this origin and this session do anything", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const port = portIn(daemon.url);
  const operator = await signIn(daemon.url);
  const csrf = await tokenOf(operator);
  const other = await signIn(daemon.url);
  const foreign = await tokenOf(other);
  const body = `csrf=${csrf}`;
  const post = "POST /dashboard/logout";
  const origins = [
    ...[
      null,
      "null",
      "",
      "https://evil.example",
      `http://127.0.0.1:${port + 1}`,
      `http://127.0.0.1`,
    ],
    ...[
      `https://127.0.0.1:${port}`,
      `http://localhost:${port}`,
      `http://127.0.0.1:${port}.evil.example`,
    ],
    ...[`http://sub.127.0.0.1:${port}`, `http://127.0.0.1:${port}/`, `${daemon.url} ${daemon.url}`],
    `${daemon.url}, https://evil.example`,
  ];
  const tried = [
    ...origins.map((Origin) => ({ line: post, headers: { Origin }, body, status: 403 })),
    // No token, parts of one, that of another session, the cookie itself.
    ...[
      "",
      "csrf=",
      `csrf=${csrf.slice(1)}`,
      `csrf=${csrf}A`,
      `csrf=${"A".repeat(86)}`,
      `csrf=${foreign}`,
    ]
      .map((body) => ({ line: post, headers: {}, body, status: 403 })),
    {
      line: post,
      headers: {},
      body: `csrf=${operator.cookies().split("=")[1]}`,
      status: 403,
    },
    { line: `POST /dashboard/logout?csrf=${csrf}`, headers: {}, body: "", status: 403 },
    { line: post, headers: { "X-CSRF-Token": csrf }, body: "", status: 403 },
    // Bodies that a page elsewhere could send without asking first.
    ...["text/plain", "multipart/form-data; boundary=x", "", `${FORM}x`, "application/json"]
      .map((type) => ({ line: post, headers: { "Content-Type": type }, body, status: 415 })),
    { line: post, headers: { "Content-Type": null }, body, status: 415 },
    {
      line: post,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ csrf }),
      status: 415,
    },
    // A read is no way to write, whatever it claims to be.
    { line: `GET /dashboard/logout?csrf=${csrf}`, headers: {}, body: "", status: 405 },
    {
      line: `GET /dashboard/logout?_method=POST&csrf=${csrf}`,
      headers: { "X-HTTP-Method-Override": "POST" },
      body: "",
      status: 405,
    },
  ];
  for (const { line, headers, body, status } of tried) {
    const { statuses, text } = await raw(daemon, operator, line, headers, body);
    assert.deepEqual(statuses, [status], `${line} ${JSON.stringify(headers)} ${body}: ${text}`);
    assert.doesNotMatch(text, /set-cookie/i);
    assert.doesNotMatch(text, /access-control-/i);
  }
  for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"]) {
    const { statuses } = await raw(daemon, operator, `${method} /dashboard/logout`, {}, "");
    assert.ok([400, 403].includes(statuses[0] ?? 0), method);
  }
  const [row] = await db.admin`select count(*)::int as count from sessions`;
  assert.equal(row?.count, 2, "nobody was signed out");
  assert.deepEqual((await raw(daemon, operator, post, {}, body)).statuses, [303]);
});

onServer("dashboard.login: nobody is signed in from elsewhere, or as somebody else", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const { token } = await linkOf(daemon, "bus_1");
  const nobody = visitor(daemon.url);
  for (const line of ["POST /dashboard/login", `POST /portal/open/${token}`]) {
    for (
      const Origin of [
        null,
        "null",
        "https://evil.example",
        `http://localhost:${portIn(daemon.url)}`,
      ]
    ) {
      const { statuses, text } = await raw(daemon, nobody, line, { Origin }, `token=${ADMIN}`);
      assert.deepEqual(statuses, [403], text);
      assert.doesNotMatch(text, /set-cookie/i);
    }
  }
  const long = `token=${ADMIN}&more=${"x".repeat(16 * 1024)}`;
  assert.deepEqual((await raw(daemon, nobody, "POST /dashboard/login", {}, long)).statuses, [413]);
  const json = { "Content-Type": "application/json" };
  const { statuses } = await raw(daemon, nobody, "POST /dashboard/login", json, "{}");
  assert.deepEqual(statuses, [415]);
  assert.equal(
    (await nobody.get(`/dashboard/login?token=${ADMIN}`)).headers.get("set-cookie"),
    null,
  );
});

onServer("dashboard.fixation: a cookie from before signing in is worth nothing after", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const name = `bookme_${portIn(daemon.url)}`;
  const planted = "A".repeat(43);
  const victim = visitor(daemon.url);
  const answer = await victim.post("/dashboard/login", { token: ADMIN }, {
    cookie: `${name}=${planted}`,
  });
  assert.equal(answer.status, 303);
  assert.ok(!victim.cookies().includes(planted));
  const attacker = visitor(daemon.url);
  assert.equal((await attacker.get("/dashboard", { cookie: `${name}=${planted}` })).status, 303);
  // Nor is an attacker's own session, taken over by signing in within it.
  const own = await signIn(daemon.url, VIEWER);
  const before = own.cookies();
  await attacker.post("/dashboard/login", { token: ADMIN }, { cookie: before });
  assert.notEqual(attacker.cookies(), before);
  assert.equal((await visitor(daemon.url).get("/dashboard", { cookie: before })).status, 303);
});

onServer("dashboard.cookie: no other text signs anybody in, and each house has its own", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  await using db = await database.open();
  const port = portIn(daemon.url);
  const operator = await signIn(daemon.url);
  const business = await openLink(daemon.url, (await linkOf(daemon, "bus_1")).token);
  const [, cookie = ""] = operator.cookies().split("=");
  const [, own = ""] = business.cookies().split("=");
  const [row] = await db.admin<{ digest: string; proof: string }[]>`
    select encode(digest, 'hex') as digest, encode(token_proof, 'hex') as proof from sessions
    where token_proof is not null`;
  const values = [
    ...["", "x", cookie.slice(1), `${cookie}A`, cookie.toUpperCase(), row?.digest, row?.proof],
    ...[ADMIN, own, `"${cookie}`, `${cookie}%00`, "'or'1'='1", "A".repeat(10_000), "\\x00"],
  ];
  const nobody = visitor(daemon.url);
  for (const value of values) {
    const { statuses } = await raw(daemon, nobody, "GET /dashboard", {
      Cookie: `bookme_${port}=${value}`,
    });
    assert.deepEqual(statuses, [303], value);
  }
  for (const name of ["bookme", "__Host-bookme", `bookme_${port + 1}`, `bookme_portal_${port}`]) {
    const { status } = await nobody.get("/dashboard", { cookie: `${name}=${cookie}` });
    assert.equal(status, 303, name);
  }
  for (const value of [cookie, ADMIN, own.slice(1)]) {
    const { status } = await nobody.get("/portal", { cookie: `bookme_portal_${port}=${value}` });
    assert.equal(status, 403, value);
  }
  // Cookies reach no API, and bearer tokens no page.
  for (const visiting of [operator, business]) {
    assert.equal((await visiting.get("/api/endpoints")).status, 401);
  }
  const bearer = { authorization: `Bearer ${ADMIN}` };
  assert.equal((await nobody.get("/dashboard", bearer)).status, 303);
  assert.equal((await nobody.get("/portal", bearer)).status, 403);
  assert.equal((await operator.get("/dashboard")).status, 200);
  assert.equal((await business.get("/portal")).status, 200);
});

onServer("dashboard.ended: a removed token and a revoked link end their sessions at once", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const viewer = await signIn(daemon.url, VIEWER);
  const csrf = await tokenOf(viewer);
  const { body } = await daemon.api("config");
  const file = parse(Deno.readTextFileSync(body.path));
  file.admin.tokens.pop();
  Deno.writeTextFileSync(body.path, stringify(file));
  assert.equal((await viewer.get("/dashboard")).status, 200);
  assert.equal((await daemon.api("reload", ADMIN, "POST")).status, 200);
  assert.equal((await viewer.get("/dashboard")).status, 303);
  assert.equal((await viewer.post("/dashboard/logout", { csrf })).status, 403);

  const link = await linkOf(daemon, "bus_1");
  const business = await openLink(daemon.url, link.token);
  const own = await tokenOf(business, "/portal");
  assert.equal((await business.get("/portal")).status, 200);
  assert.equal((await daemon.api(`portal-links/${link.id}`, ADMIN, "DELETE")).status, 200);
  const ended = await business.get("/portal");
  assert.equal(ended.status, 403);
  assert.doesNotMatch(ended.text, /bus_1/);
  assert.equal((await business.post("/portal/logout", { csrf: own })).status, 403);
  // As a link that never was.
  const [revoked, never] = [
    await visitor(daemon.url).get(`/portal/open/${link.token}`),
    await visitor(daemon.url).get(`/portal/open/portal_${"A".repeat(43)}`),
  ];
  assert.deepEqual([revoked.status, revoked.text], [404, never.text]);
});

onServer("dashboard.next: nobody is led out of the house after signing in", async (database) => {
  await using daemon = await startDaemon({ database: database.section });
  const evil = [
    ...[
      "//evil.example",
      "///evil.example",
      "/\\evil.example",
      "\\\\evil.example",
      "https://evil.example",
    ],
    ...[
      "https:evil.example",
      "/dashboard//evil.example",
      "/dashboard/..//evil.example",
      "javascript:alert(1)",
    ],
    ...[
      "/dashboard/../api/config",
      "/dashboard/%2e%2e/api/config",
      "/dashboard/.%2e/portal",
      "/api/config",
    ],
    ...[
      "/dashboard/%252e%252e/api",
      "/dashboard/..%2fapi",
      "/dashboard/..\\api",
      "/dashboard/%5c..%5capi",
    ],
    ...[
      "/dashboardx",
      "/dashboard.evil.example",
      "@evil.example",
      "/@evil.example",
      "dashboard",
      "",
      " ",
    ],
    ...[
      "/portal",
      "/dashboard/logout",
      "/dashboard/login",
      "/dashboard/stream",
      "/\t/evil.example",
    ],
    ...[
      "/dashboard\r\nLocation: https://evil.example",
      "/dashboard/%0d%0aSet-Cookie:%20a=b",
      "/\u2215evil.example",
    ],
    ...["/dashboard\u0000", "/dashboard/\u2028x", "http://127.0.0.1/dashboard", "/dashboard/%00"],
  ];
  for (const next of evil) {
    const answer = await visitor(daemon.url).post("/dashboard/login", { token: ADMIN, next });
    assert.equal(answer.status, 303);
    const led = new URL(answer.location ?? "", daemon.url);
    assert.equal(led.origin, daemon.url, next);
    assert.match(led.pathname, /^\/dashboard(?:\/%E2%80%A8x)?$/, next);
    const cookies = answer.headers.getSetCookie();
    assert.equal(cookies.length, 1, next);
    const page = await visitor(daemon.url).get(`/dashboard/login?next=${encodeURIComponent(next)}`);
    assert.doesNotMatch(page.text, /evil|api|javascript/, next);
  }
  for (
    const next of [
      "/dashboard",
      "/dashboard?a=b",
      "/dashboard/search?q=a%20b%26c%2F",
      "/dashboard/x%20y",
    ]
  ) {
    const answer = await visitor(daemon.url).post("/dashboard/login", { token: ADMIN, next });
    assert.equal(answer.location, next);
  }
});

onServer("dashboard.guess: wrong tokens are throttled by address, right ones never", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const statuses: number[] = [];
  let text = "";
  for (let nth = 0; nth < 15; nth++) {
    const answer = await visitor(daemon.url).post("/dashboard/login", { token: `guess-${nth}` });
    statuses.push(answer.status);
    text = answer.text;
    assert.doesNotMatch(answer.text, /guess-/, "never echoed");
  }
  assert.deepEqual(statuses.slice(0, 10), Array(10).fill(403));
  assert.deepEqual(statuses.slice(11), Array(4).fill(429));
  assert.match(text, /Too many wrong tokens from this address; wait \d+ s/);
  await signIn(daemon.url);
  await signIn(daemon.url, VIEWER);
  assert.ok(!JSON.stringify(daemon.log).includes("guess-"));
});

onServer("dashboard.host: a request by another name gets no page and no cookie", async (
  database,
) => {
  await using daemon = await startDaemon({
    database: database.section,
    server: { listen: "127.0.0.1:0", trusted_proxies: ["127.0.0.1/32"] },
  });
  const nobody = visitor(daemon.url);
  const port = portIn(daemon.url);
  // A trusted proxy may use any name, but without TLS nobody signs in through it.
  for (
    const Host of [
      "evil.example",
      `evil.example:${port}`,
      `localhost.evil.example:${port}`,
      "0.0.0.0",
    ]
  ) {
    for (const line of ["GET /dashboard/login", "POST /dashboard/login"]) {
      const headers = {
        Host,
        Origin: `http://${Host}`,
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "localhost",
      };
      const { statuses, text } = await raw(daemon, nobody, line, headers, `token=${ADMIN}`);
      assert.deepEqual(statuses, [403], text);
      assert.doesNotMatch(text, /set-cookie|<form/i);
    }
  }
  // Nor if the proxy calls the daemon by its own name.
  for (
    const name of ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]
  ) {
    const headers = { [name]: "http" };
    const { statuses } = await raw(
      daemon,
      nobody,
      "POST /dashboard/login",
      headers,
      `token=${ADMIN}`,
    );
    assert.deepEqual(statuses, [403], name);
  }
  await signIn(daemon.url);
});

onServer(
  "dashboard.twice: a form sent twenty times at once acts once, and shows its secret to one session",
  async (
    database,
  ) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
    });
    await using db = await database.open();
    const business = await openLink(daemon.url, (await linkOf(daemon, "bus_1")).token);
    const other = await openLink(daemon.url, (await linkOf(daemon, "bus_1")).token);
    const page = await business.get("/portal/endpoints/new");
    const hidden = hiddenFields(formTo(page.text, "/portal/endpoints") ?? "");
    const fields = { ...hidden, url: "https://receiver.example/in", events: ["booking.created"] };
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => business.post("/portal/endpoints", fields)),
    );
    const { body: { data } } = await daemon.api("audit?action=endpoint.created");
    assert.equal(data.length, 1);
    const locations = new Set(answers.map(({ status, location }) => `${status} ${location}`));
    const at = `/portal/endpoints/${data[0].object}`;
    assert.deepEqual([...locations], [`303 ${at}?note=${hidden["once"]}`]);
    // Another session of the same business submits its own.
    const own = await tokenOf(other, "/portal");
    const again = await other.post("/portal/endpoints", { ...fields, csrf: own });
    assert.equal(again.status, 303);
    assert.notEqual(again.location, answers[0]?.location);
    const shown = await business.get(answers[0]?.location ?? "");
    const [secret = ""] = /whsec_[\w+/=]{40,}/.exec(shown.text) ?? [];
    assert.notEqual(secret, "");
    const foreign = await other.get(answers[0]?.location ?? "");
    assert.equal(foreign.status, 200);
    assert.doesNotMatch(foreign.text, /whsec_[\w+/=]{40,}/);
    const rows = await db
      .admin`select f::text as row, encode(note, 'escape') as note from session_forms f`;
    assert.ok(!JSON.stringify(rows).includes(secret.slice(6)));
    assert.ok(!JSON.stringify(daemon.log).includes(secret));
  },
);

onServer("dashboard.quiet: neither searches nor links nor tokens get into the log", async (
  database,
) => {
  await using daemon = await startDaemon({ database: database.section });
  const operator = await signIn(daemon.url);
  const { token } = await linkOf(daemon, "bus_1");
  const business = await openLink(daemon.url, token);
  for (const [visiting, base] of [[operator, "/dashboard"], [business, "/portal"]] as const) {
    for (
      const path of [
        "search?q=sought-for",
        "deliveries?cursor=sought-for",
        "sought-for",
        "%E0%A4%A?q=sought-for",
      ]
    ) {
      await visiting.get(`${base}/${path}`);
      await visitor(daemon.url).get(`${base}/${path}`);
    }
    await visiting.post(`${base}/search?q=sought-for`, { q: "sought-for" });
  }
  const log = JSON.stringify(daemon.log);
  for (const secret of ["sought-for", token, ADMIN, operator.cookies(), business.cookies()]) {
    assert.ok(!log.includes(secret), secret);
  }
  assert.match(log, /Signed in.*Portal opened/);
});
