import assert from "node:assert/strict";
import type { DatabaseAddress } from "../../../lib/core/database_address.ts";
import type { Settings } from "../../../lib/store/cluster.ts";
import { openPool } from "../../../lib/store/connect.ts";
import { makeConnector } from "../../../lib/store/connection/connector.ts";
import { isOutage } from "../../../lib/store/errors.ts";
import { isPermanent } from "../../../lib/store/connection/failure.ts";
import { serverConfig } from "../../support/config.ts";
import { server } from "../../support/databases.ts";
import { connectTo, freePort, freshDatabase, startPostgres } from "../../support/postgres.ts";
import { type Leaf, testCertificates } from "../../support/tls.ts";
import { startProxy } from "../../torture/proxy.ts";
import { sleep, until, within } from "../../support/wait.ts";
import {
  answersHttp,
  closes,
  makeFirewall,
  type Play,
  readsAndCloses,
  refuses,
  saysNothing,
  startPeer,
} from "./peers.ts";

const PORT = Number(new URL(server.url("postgres")).port);

/** A pool at an address. */
function poolAt(url: string | DatabaseAddress, max = 2, settings: Settings = {}) {
  const address = typeof url === "string" ? serverConfig(url).address : url;
  const connector = makeConnector(address);
  const pool = openPool(connector, { application_name: "test", settings, max });
  return Object.assign(pool, { connector, [Symbol.asyncDispose]: pool.close });
}

/** Why a statement fails. */
async function failureOf(query: PromiseLike<unknown>): Promise<Error & { code?: string }> {
  try {
    await within("the statement ends", query);
  } catch (error) {
    return error as Error;
  }
  return assert.fail("the statement succeeds");
}

const STORMS: readonly (readonly [string, Play, RegExp])[] = [
  ["accepts and closes", closes, /127\.0\.0\.1:\d+ closes connections before they are ready/],
  ["reads and closes", readsAndCloses, /127\.0\.0\.1:\d+ closes connections before they are ready/],
  [
    "answers HTTP",
    answersHttp,
    /127\.0\.0\.1:\d+ does not speak PostgreSQL's protocol: .*HTTP\/1\.1 400/,
  ],
  [
    "is full",
    refuses("53300", "too many clients"),
    /127\.0\.0\.1:\d+ answers FATAL: too many clients/,
  ],
  ["starts up", refuses("57P03", "starting up"), /127\.0\.0\.1:\d+ answers FATAL: starting up/],
];
for (const [name, play, says] of STORMS) {
  for (const sslmode of ["disable", "prefer"]) {
    Deno.test(`a server that ${name} gets few connections, and statements fail (${sslmode})`, async () => {
      await using peer = await startPeer(play);
      await using pool = poolAt(`postgres://u@127.0.0.1:${peer.port}/d?sslmode=${sslmode}`);
      const errors = await Promise.all(
        Array.from({ length: 300 }, () => failureOf(pool.sql`select 1`)),
      );
      for (const error of errors) {
        assert.match(error.message, says);
        assert.ok(isOutage(error));
        assert.ok(!isPermanent(error));
      }
      // One after the other, as a daemon asks that finds its database away.
      for (let asked = 0; asked < 300; asked++) await failureOf(pool.sql`select 1`);
      // prefer may open a second one for each attempt.
      assert.ok(peer.accepted < 60, `${peer.accepted} connections for 600 statements`);
    });
  }
}

Deno.test("a server that says nothing is given up after connect_timeout", async () => {
  await using peer = await startPeer(saysNothing);
  await using pool = poolAt(
    `postgres://u@127.0.0.1:${peer.port}/d?sslmode=disable&connect_timeout=1`,
  );
  const error = await failureOf(pool.sql`select 1`);
  assert.equal(error.message, `127.0.0.1:${peer.port} gives no answer within 1 s`);
  assert.ok(isOutage(error));
});

Deno.test("a server that closes sessions as soon as they are open gets few connections", async () => {
  const fresh = await freshDatabase(server);
  await using sql = connectTo(fresh.url);
  {
    await using pool = poolAt(fresh.url);
    let ended = 0;
    for (let asked = 0; asked < 200; asked++) {
      await pool.sql`select pg_terminate_backend(pg_backend_pid())`.catch(() => {});
      await sql`select 1`;
      ended++;
    }
    assert.equal(ended, 200);
    const [row] = await sql<{ sessions: number }[]>`
      select sessions::int from pg_stat_database where datname = current_database()`;
    assert.ok((row?.sessions ?? 999) < 100, `${row?.sessions} sessions for 200 statements`);
  }
  await sql.end();
  await fresh.drop();
});

Deno.test("statements run as soon as a server accepts connections again", async () => {
  await using peer = await startPeer(closes);
  await using pool = poolAt(`postgres://postgres@127.0.0.1:${peer.port},127.0.0.1:1/postgres`);
  await failureOf(pool.sql`select 1`);
  peer.play = makeFirewall(PORT).play;
  const [row] = await until("a statement runs", () => pool.sql`select 1 as one`);
  assert.equal(row?.one, 1);
});

Deno.test("a host that refuses gives way to the next one at once, and one that is silent soon", async () => {
  await using silent = await startPeer(saysNothing);
  const free = await freePort();
  const hosts = `127.0.0.1:${free},127.0.0.1:${silent.port},127.0.0.1:${PORT}`;
  await using pool = poolAt(`postgres://postgres@${hosts}/postgres?sslmode=disable`);
  const rows = await within(
    "all are answered",
    Promise.all(
      Array.from({ length: 20 }, (_, nth) => pool.sql`select ${nth}::int as nth`),
    ),
  );
  assert.deepEqual(rows.map(([row]) => row?.nth), Array.from({ length: 20 }, (_, nth) => nth));
  // The next session begins with the host that was found.
  assert.ok(silent.accepted <= 2, `${silent.accepted}`);
});

Deno.test("a socket is opened by its path, without TLS whatever sslmode says", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-socket-" });
  Deno.chmodSync(directory, 0o777);
  {
    await using own = await startPostgres({ unix_socket_directories: directory });
    const { port } = new URL(own.url("postgres"));
    const place = `host=${encodeURIComponent(directory)}&port=${port}`;
    await using pool = poolAt(`postgres://postgres@/postgres?${place}&sslmode=require`);
    const [row] = await pool.sql`select inet_server_addr() is null as is_socket`;
    assert.equal(row?.is_socket, true);
  }
  await using gone = poolAt(
    `postgres://postgres@/postgres?host=${encodeURIComponent(directory)}&port=1`,
  );
  const error = await failureOf(gone.sql`select 1`);
  assert.equal(
    error.message,
    `${directory}/.s.PGSQL.1 does not exist (ENOENT); check that the server runs`,
  );
  Deno.removeSync(directory, { recursive: true });
});

Deno.test("all hosts down: each is named, and no statement hangs", async () => {
  const [a, b] = [await freePort(), await freePort()];
  await using pool = poolAt(`postgres://u@127.0.0.1:${a},[::1]:${b}/d`);
  const errors = await Promise.all(Array.from({ length: 50 }, () => failureOf(pool.sql`select 1`)));
  for (const { message, code } of errors) {
    assert.equal(code, "ECONNREFUSED");
    assert.match(message, new RegExp(`^127\\.0\\.0\\.1:${a} refuses .*; \\[::1\\]:${b} refuses `));
  }
});

Deno.test("passwords: scram, md5, plain, wrong, none, and a server without proof of it", async () => {
  await using own = await startPostgres();
  await using sql = connectTo(own.url("postgres"));
  const odd = "pä ss\u00a0'wörd";
  await sql.unsafe(`
    create role scram login password '${odd.replace("'", "''")}';
    create role plain login password 'plain-password';
    set password_encryption = md5;
    create role hashed login password 'hashed-password'`).simple();
  await writeHba(sql, [
    "host all scram all scram-sha-256",
    "host all hashed all md5",
    "host all plain all password",
  ]);
  const { port } = new URL(own.url("postgres"));
  const url = (user: string, password: string) =>
    `postgres://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}/postgres`;
  for (
    const [user, password] of [["scram", odd], ["hashed", "hashed-password"], [
      "plain",
      "plain-password",
    ]] as const
  ) {
    await using pool = poolAt(url(user, password));
    const [row] = await pool.sql`select current_user::text as user`;
    assert.equal(row?.user, user);
    await using wrong = poolAt(url(user, "another-password"));
    const error = await failureOf(wrong.sql`select 1`);
    assert.equal(error.code, "28P01");
    assert.ok(isPermanent(error));
    assert.match(
      error.message,
      /password authentication failed for user ".*"; check database\.user/,
    );
    assert.doesNotMatch(error.message, /another-password/);
    await using none = poolAt(`postgres://${user}@127.0.0.1:${port}/postgres`);
    const missing = await failureOf(none.sql`select 1`);
    assert.match(missing.message, /asks for a password; set database\.password/);
    assert.ok(isPermanent(missing));
  }
});

Deno.test("a missing database, role or right is a permanent failure, not an outage", async () => {
  await using own = await startPostgres();
  await using sql = connectTo(own.url("postgres"));
  await sql.unsafe("create role app login; create role nobody nologin").simple();
  await sql.unsafe("create database closed");
  await sql.unsafe("revoke connect on database closed from public");
  const { port } = new URL(own.url("postgres"));
  for (
    const [user, name, code, says] of [
      ["app", "none", "3D000", /create it: createdb -E UTF8 -T template0 none$/],
      [
        "stranger",
        "postgres",
        "28000",
        /role "stranger" does not exist; create it: createuser stranger/,
      ],
      ["nobody", "postgres", "28000", /not permitted to log in/],
      ["app", "closed", "42501", /permission denied for database/],
    ] as const
  ) {
    await using pool = poolAt(`postgres://${user}@127.0.0.1:${port}/${name}`);
    const error = await failureOf(pool.sql`select 1`);
    assert.deepEqual([error.code, isPermanent(error)], [code, true]);
    assert.match(error.message, says);
  }
});

// --- TLS -------------------------------------------------------------------------------------------

type Client = ReturnType<typeof connectTo>;

/** Writes a file as the server's user, readable by it alone. Relative to the data directory. */
async function writeFile(sql: Client, name: string, text: string): Promise<void> {
  await sql.unsafe(`copy (select unnest(string_to_array('${text}', E'\\n')))
    to program 'umask 077; cat > ${name}'`);
}

async function writeHba(sql: Client, lines: readonly string[]): Promise<void> {
  const all = ["host all postgres all trust", ...lines].join("\n");
  await writeFile(sql, "pg_hba.conf", all);
  await sql`select pg_reload_conf()`;
  await until("the rules are read", async () => {
    const rows = await sql`select from pg_hba_file_rules where error is null`;
    return rows.length === lines.length + 1;
  });
}

/** Turns TLS on; clients' certificates are checked by `ca`. */
async function serveTls(sql: Client, { cert, key }: Leaf, ca: string): Promise<void> {
  await writeFile(sql, "server.crt", cert);
  await writeFile(sql, "server.key", key);
  await writeFile(sql, "root.crt", ca);
  await sql.unsafe("alter system set ssl_ca_file = 'root.crt'");
  await sql.unsafe("alter system set ssl = on");
  await sql`select pg_reload_conf()`;
  await until("TLS is on", async () => {
    const [row] = await sql`select current_setting('ssl') as ssl`;
    return row?.ssl === "on";
  });
}

Deno.test("the six values of sslmode, as libpq has them", async () => {
  const { ca, good, wrong_name, client, self_signed } = await testCertificates();
  await using own = await startPostgres();
  await using sql = connectTo(own.url("postgres"));
  await sql.unsafe("create role app login");
  const { port } = new URL(own.url("postgres"));
  const base = serverConfig(`postgres://app@127.0.0.1:${port}/postgres`).address;
  /** `tls`, `plain`, or the code of the failure, with `!` if it is permanent. */
  const open = async (tls: DatabaseAddress["tls"], host = "127.0.0.1") => {
    await using pool = poolAt({ ...base, hosts: [{ host, port: Number(port) }], tls });
    try {
      const [row] = await pool.sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
      return row?.ssl ? "tls" : "plain";
    } catch (error) {
      return `${(error as { code?: string }).code}${isPermanent(error) ? "!" : ""}`;
    }
  };
  const modes = ["disable", "allow", "prefer", "require"] as const;
  const all = () => Promise.all(modes.map((mode) => open({ mode })));

  await writeHba(sql, ["host all app all trust"]);
  assert.deepEqual(await all(), ["plain", "plain", "plain", "TLS_REFUSED!"], "no TLS");
  await serveTls(sql, wrong_name, ca);
  assert.deepEqual(await all(), ["plain", "plain", "tls", "tls"], "both");
  assert.equal(await open({ mode: "verify-ca", ca }), "tls");
  assert.equal(await open({ mode: "verify-full", ca }), "TLS_FAILED!", "another name");
  assert.equal(
    await open({ mode: "verify-ca", ca: self_signed.cert }),
    "TLS_FAILED!",
    "another CA",
  );
  assert.equal(await open({ mode: "verify-full" }), "TLS_FAILED!", "the system's authorities");

  await writeHba(sql, ["hostssl all app all trust"]);
  assert.deepEqual(await all(), ["28000!", "tls", "tls", "tls"], "TLS only");
  await writeHba(sql, ["hostnossl all app all trust"]);
  assert.deepEqual(await all(), ["plain", "plain", "plain", "28000!"], "no TLS allowed");

  await writeHba(sql, ["hostssl all app all trust clientcert=verify-ca"]);
  await serveTls(sql, good, ca);
  await until(
    "the new certificate is served",
    async () =>
      await open({ mode: "verify-full", ca, cert: client.cert, key: secret(client.key) }) === "tls",
  );
  assert.equal(
    await open(
      { mode: "verify-full", ca, cert: client.cert, key: secret(client.key) },
      "localhost",
    ),
    "tls",
    "localhost, whichever of its addresses listens",
  );
  assert.equal(await open({ mode: "verify-full", ca }), "28000!", "no client certificate");
});

function secret(text: string) {
  return serverConfig(`postgres://u:${encodeURIComponent(text)}@h/d`).address.password ??
    assert.fail();
}

Deno.test("bytes after the answer to a request for TLS are refused", async () => {
  await using peer = await startPeer((socket) =>
    void socket.once("data", () => socket.write("SE"))
  );
  await using pool = poolAt(`postgres://u@127.0.0.1:${peer.port}/d?sslmode=require`);
  assert.match(
    (await failureOf(pool.sql`select 1`)).message,
    /does not speak PostgreSQL's protocol/,
  );
});

// Rows of which the server sends the first before it knows of the last.
const BROKEN = "select repeat('x', 9000), 1 / (6 - n) from generate_series(1, 6) n";
const SLOW = "select repeat('x', 9000), pg_sleep(n / 5 * 60) from generate_series(1, 6) n";

Deno.test("a statement that fails within its rows leaves nothing in the next result", async () => {
  await using pool = poolAt(server.url("postgres"), 1);
  const next = async () => [...await pool.sql`select n from generate_series(1, 3) n`];
  assert.equal((await failureOf(pool.sql.unsafe(BROKEN))).code, "22012");
  assert.deepEqual(await next(), [{ n: 1 }, { n: 2 }, { n: 3 }]);
  assert.equal((await failureOf(pool.sql.unsafe(BROKEN).values())).code, "22012");
  assert.deepEqual([...await pool.sql`select 7`.values()], [[7]]);

  await using other = connectTo(server.url("postgres"));
  const failing = failureOf(pool.sql.unsafe(SLOW));
  await until("it is in the middle of its rows", async () => {
    const [slow] = await other`
      select pg_terminate_backend(pid) from pg_stat_activity
      where wait_event = 'PgSleep' and query = ${SLOW}`;
    return slow !== undefined;
  });
  assert.ok(isOutage(await failing));
  // A session that was closed at once has to wait before the next.
  assert.deepEqual(await until("there is a session again", next), [{ n: 1 }, { n: 2 }, { n: 3 }]);
});

/** Times that a session is cut in the middle of statements; 14 were enough for one that hung for good. */
const CUTS = 80;

Deno.test("each statement gets its own answer or fails, however often sessions are cut", async () => {
  const proxy = await startProxy(() => PORT);
  await using _ = { [Symbol.asyncDispose]: () => proxy.close() };
  const url = new URL(server.url("postgres"));
  url.port = String(proxy.port);
  url.searchParams.set("sslmode", "disable");
  await using pool = poolAt(url.href);
  let cuts = 0;
  proxy.watch = (statement, moment) => {
    if (statement !== "ingest" || Math.random() > 0.1) return "pass";
    cuts++;
    return moment === "answered" || cuts % 2 === 0 ? "reset" : "lose";
  };
  const settled = (statement: Promise<readonly { readonly n?: number }[]>) =>
    within("the statement ends", statement.catch(() => undefined));
  let n = 0;
  const store = async () => {
    while (cuts < CUTS) {
      const asked = ++n;
      // A long one is written at once, a short one with those that come after it.
      const text = "x".repeat(asked % 2 === 0 ? 2_000 : 1);
      const rows = await settled(
        pool.sql`with found as (select 1) select ${asked}::int as n, length(${text}) from found`,
      );
      if (rows !== undefined) assert.equal(rows[0]?.n, asked);
    }
  };
  const probe = async () => {
    for (; cuts < CUTS; await sleep(30)) await settled(pool.sql`select 1 as n`);
  };
  await Promise.all([store(), store(), probe()]);
});

Deno.test("one session that falls silent is left, and no other, with and without TLS", async () => {
  await using own = await startPostgres();
  const { ca, good } = await testCertificates();
  await using sql = connectTo(own.url("postgres"));
  await serveTls(sql, good, ca);
  const firewall = makeFirewall(Number(new URL(own.url("postgres")).port));
  await using peer = await startPeer(firewall.play);
  for (const sslmode of ["disable", "require"]) {
    const url = new URL(own.url("postgres"));
    url.port = String(peer.port);
    url.searchParams.set("sslmode", sslmode);
    const accepted = peer.accepted;
    await using pool = poolAt(url.href, 2, { statement_timeout: 500 });
    // Each waits, so that they take a session each.
    const ask = () => pool.sql`select pg_backend_pid() as pid from pg_sleep(0.1)`;
    await ask();
    firewall.forget();
    const [forgotten, [other]] = await Promise.all([failureOf(ask()), ask()]);
    assert.equal(forgotten.code, "CONNECTION_CLOSED");
    assert.equal(
      forgotten.message,
      "A session of the database fell silent: it owed an answer for 1 s",
    );
    // The other one, idle for as long, is kept.
    const pids = (await Promise.all([ask(), ask()])).map(([row]) => row?.pid);
    assert.equal(new Set(pids).size, 2);
    assert.ok(pids.includes(other?.pid));
    assert.equal(peer.accepted, accepted + 3);
  }
});

Deno.test("an answer that stops in its middle is silence as well", async () => {
  await using pool = poolAt(server.url("postgres"), 1, { statement_timeout: 500 });
  await pool.sql`set statement_timeout = 0`;
  const { message } = await failureOf(pool.sql.unsafe(SLOW));
  assert.equal(message, "A session of the database fell silent: it owed an answer for 1 s");
  assert.equal((await pool.sql`select 1 as one`)[0]?.one, 1);
});
