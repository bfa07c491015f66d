import assert from "node:assert/strict";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { parse, stringify } from "yaml";
import type { Endpoint } from "../../lib/admin/shown.ts";
import { checkCertificate, checkPort } from "../../lib/cli/doctor/configuration.ts";
import { judgeDatabase } from "../../lib/cli/doctor/database.ts";
import { checkExpiring } from "../../lib/cli/doctor/endpoints.ts";
import { checkAddresses, checkDisk } from "../../lib/cli/doctor/machine.ts";
import type { Verdict } from "../../lib/cli/doctor/verdict.ts";
import { widthOf } from "../../lib/cli/table.ts";
import { parseCidr } from "../../lib/core/address.ts";
import { makeSecret, Secret } from "../../lib/core/secret.ts";
import {
  type CliOptions,
  type Ended,
  inTemporary,
  runCli,
  runHere,
  TASK_PERMISSIONS,
} from "../support/cli.ts";
import { serverConfig } from "../support/config.ts";
import { ADMIN, booking, endpoint, type Sections, VIEWER, writeConfig } from "../support/daemon.ts";
import {
  embeddedDatabase,
  emptyDatabase,
  initialise,
  onBoth,
  serverDatabase,
} from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { connectTo, freePort, startPostgres } from "../support/postgres.ts";
import { sentencesOf } from "../support/sentences.ts";
import { startReceiver, statuses } from "../support/receiver.ts";
import { type Leaf, testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

/** Every line that these tests have caused, for the last one. */
const seen: Verdict[] = [];

/** A run of the doctor: exit code, lines as people read them, and the same without their remedies. */
interface Visit {
  readonly code: number;
  readonly lines: readonly string[];
  readonly out: string;
}

async function visit(
  cli: (args: readonly string[], options?: CliOptions) => Promise<Ended>,
  args: readonly string[] = [],
  options: CliOptions = {},
): Promise<Visit> {
  const { code, out, err } = await cli(["doctor", "--json", ...args], options);
  assert.equal(err, "", out);
  const verdicts: Verdict[] = JSON.parse(out).data;
  note(verdicts);
  const lines = verdicts.map(lineOf);
  return { code, lines, out: lines.join("\n") };
}

function note(verdicts: readonly Verdict[]): void {
  seen.push(...verdicts);
  for (const verdict of verdicts) {
    assert.deepEqual(Object.keys(verdict).toSorted(), ["mark", "remedy", "subject", "text"]);
    assert.equal(verdict.remedy === null, verdict.mark === "✓", lineOf(verdict));
    assert.doesNotMatch(verdict.remedy ?? "", /\.$|^[A-Z][a-z]+ /, "it goes on after a semicolon");
  }
}

function lineOf({ mark, subject, text, remedy }: Verdict): string {
  return `${mark} ${subject}: ${text}${remedy === null ? "" : `; ${remedy}`}`;
}

function assertLine({ lines, out }: Visit, expected: RegExp): void {
  assert.ok(lines.some((line) => expected.test(line)), `${expected}\n${out}`);
}

/** Runs with a configuration's file and no daemon. */
async function withFile(
  sections: Sections,
  use: (path: string, look: (args?: readonly string[]) => Promise<Visit>) => Promise<void>,
): Promise<void> {
  const { path, remove } = writeConfig(sections);
  try {
    await use(path, (args) => visit((more) => runHere([...more, "-c", path]), args));
  } finally {
    remove();
  }
}

/** Changes a configuration's file. */
async function edit(path: string, change: (file: Record<string, unknown>) => void): Promise<void> {
  const file = parse(await Deno.readTextFile(path));
  change(file);
  await Deno.writeTextFile(path, stringify(file));
}

// --- servers that can be exchanged ----------------------------------------------------------------------

type Play = { readonly tls: TlsOptions } | ((socket: Socket) => void);

interface Exchangeable extends AsyncDisposable {
  readonly port: number;
  /** Plays something else at the same port; `undefined` closes it. */
  play(next: Play | undefined): Promise<void>;
}

async function exchangeable(first: Play | undefined): Promise<Exchangeable> {
  const port = await freePort();
  let close = () => Promise.resolve();
  const play = async (next: Play | undefined) => {
    await close();
    close = () => Promise.resolve();
    if (next === undefined) return;
    const sockets = new Set<Socket>();
    const server = typeof next === "function"
      ? createServer(next)
      : createTlsServer(next.tls, (socket) => socket.on("error", () => {}))
        .on("tlsClientError", () => {});
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
    });
    await new Promise<void>((listening) => server.listen(port, "127.0.0.1", () => listening()));
    close = async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    };
  };
  await play(first);
  return { port, play, [Symbol.asyncDispose]: () => close() };
}

const answering = (text: string) => (socket: Socket) =>
  void socket.on("data", () => socket.end(text));
const PLAIN_HTTP = answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");

// --- endpoints --------------------------------------------------------------------------------------------

interface EndpointFault {
  readonly id: string;
  readonly play: Play | undefined;
  readonly scheme?: "http";
  readonly host?: string;
  readonly tls?: Record<string, string>;
  readonly line: RegExp;
  /** The remedy: another server at the port, or a change of the endpoint in the file. */
  readonly then: Play | ((entry: Record<string, unknown>, port: number) => void);
}

async function endpointFaults(directory: string): Promise<EndpointFault[]> {
  const made = await testCertificates();
  const file = async (name: string, text: string) => {
    await Deno.writeTextFile(`${directory}/${name}.pem`, text, { mode: 0o600 });
    return `file:${directory}/${name}.pem`;
  };
  const ca = await file("ca", made.ca);
  const own = await file("own", made.own_authority.cert);
  const cert = await file("cert", made.client.cert);
  const key = await file("key", made.client.key);
  const trusting = { ca };
  const good = { tls: made.good };
  const demanding = {
    tls: { ...made.good, ca: made.ca, requestCert: true, rejectUnauthorized: true },
  };
  const set = (name: string, value: unknown) => (entry: Record<string, unknown>) => {
    entry[name] = value;
  };
  return [
    {
      id: "expired",
      play: { tls: made.expired },
      tls: trusting,
      then: good,
      line: /expired on 2025-02-01; have its owner renew it$/,
    },
    {
      id: "not-yet",
      play: { tls: made.not_yet },
      tls: trusting,
      then: good,
      line: /not valid before 2099-01-01; check this machine's clock/,
    },
    {
      id: "wrong-name",
      play: { tls: made.wrong_name },
      tls: trusting,
      then: good,
      line: /is for other\.test, not for localhost; name one of these/,
    },
    {
      id: "self-signed",
      play: { tls: made.own_authority },
      then: set("tls", { ca: own }),
      line: /is self-signed; .* tls\.ca$/,
    },
    {
      id: "unknown",
      play: good,
      then: set("tls", { ca }),
      line: /unknown authority, "ca"; put that authority's certificate into tls\.ca/,
    },
    {
      id: "unknown-chain",
      play: { tls: made.chained },
      then: set("tls", { ca }),
      line: /unknown authority, "ca"; put .* tls\.ca$/,
    },
    {
      id: "unchained",
      play: { tls: made.unchained },
      tls: trusting,
      then: { tls: made.chained },
      line: /"intermediate" is missing; have its owner serve the whole chain/,
    },
    {
      id: "stale-chain",
      play: { tls: made.stale_chain },
      tls: trusting,
      then: { tls: made.chained },
      line: /intermediate certificate "stale" expired on/,
    },
    {
      id: "soon",
      play: { tls: made.soon },
      tls: trusting,
      then: good,
      line: /^! .* expires in 10 days \(.*\); have its owner renew it/,
    },
    {
      id: "https-at-http",
      play: PLAIN_HTTP,
      then: (entry, port) => entry["url"] = `http://localhost:${port}/`,
      line: /speaks plain HTTP there, not TLS; .* or write http:/,
    },
    {
      id: "http-at-https",
      play: good,
      scheme: "http",
      then: (entry, port) =>
        Object.assign(entry, { url: `https://localhost:${port}/`, tls: trusting }),
      line: /it speaks TLS there; write https:/,
    },
    {
      id: "https-at-ssh",
      play: (socket) => void socket.write("SSH-2.0-x\r\n"),
      tls: trusting,
      then: good,
      line: /speaks no TLS there: it says "SSH-2\.0-x"; correct the port/,
    },
    {
      id: "http-at-ssh",
      play: (socket) => void socket.write("SSH-2.0-x\r\n"),
      scheme: "http",
      then: PLAIN_HTTP,
      line: /no HTTP server: it says "SSH-2\.0-x"; correct the port/,
    },
    {
      id: "hangs-up",
      play: (socket) => void socket.on("data", () => socket.end()),
      tls: trusting,
      then: good,
      line: /hangs up during the TLS handshake; check that this port speaks TLS/,
    },
    {
      id: "silent",
      play: () => {},
      tls: trusting,
      then: good,
      line: /does not answer the TLS handshake; check that this port speaks TLS/,
    },
    {
      id: "demanding",
      play: demanding,
      tls: trusting,
      then: set("tls", { ca, cert, key }),
      line: /demands a client certificate; set tls\.cert and tls\.key/,
    },
    {
      id: "refusing",
      play: undefined,
      scheme: "http",
      then: PLAIN_HTTP,
      line: /it refuses connections; start the receiver/,
    },
    {
      id: "nowhere",
      play: PLAIN_HTTP,
      host: "nowhere.invalid",
      then: (entry, port) => entry["url"] = `http://localhost:${port}/`,
      line: /^✗ endpoint nowhere: DNS .*nowhere\.invalid/,
    },
  ];
}

Deno.test("doctor names each endpoint's fault, and its remedy makes it good", async () => {
  await using database = await serverDatabase();
  await inTemporary(async (directory) => {
    await using stack = new AsyncDisposableStack();
    const faults = await endpointFaults(directory);
    const servers = await Promise.all(faults.map(({ play }) => exchangeable(play)));
    for (const server of servers) stack.use(server);
    const receiver = stack.use(await startReceiver(statuses(500)));
    await using daemon = await startOperated({
      database: database.section,
      endpoints: [
        ...faults.map(({ id, scheme = "https", host = "localhost", tls }, at) =>
          endpoint(id, `${scheme}://${host}:${servers[at]?.port}/`, {
            events: ["booking.*"],
            ...(tls === undefined ? {} : { tls: { ...tls } }),
          })
        ),
        endpoint("stopped", receiver.url, { events: ["service.*"] }),
        endpoint("failing", receiver.url, { events: ["business.created"], retry: ["0s", "1h"] }),
      ],
    });
    await pauseAndFail(daemon);
    const cli = daemon.cli;
    const ill = await visit(cli);
    assert.equal(ill.code, 1);
    for (const { id, line } of faults) {
      const own = ill.lines.filter((one) => one.includes(` endpoint ${id}: `));
      assert.equal(own.length, 1, `${id}: ${own.join("\n")}`);
      assert.match(own[0] ?? "", line);
      assert.match(own[0] ?? "", /^[!✗] /);
    }
    assertLine(
      ill,
      /^! endpoint stopped: paused since .* \(Holiday\): .*; `bookme-webhooks resume stopped`/,
    );
    assertLine(
      ill,
      /^! endpoint failing: fails since \d.*Z, in the last 15m 1 http_5xx; delivered never; repair/,
    );
    for (const [at, { id, then }] of faults.entries()) {
      const server = servers[at] as Exchangeable;
      if (typeof then !== "function" || then === PLAIN_HTTP) await server.play(then as Play);
      else {
        await edit(daemon.path, (file) => {
          const entries = file["endpoints"] as Record<string, unknown>[];
          (then as (entry: unknown, port: number) => void)(
            entries.find((entry) => entry["id"] === id),
            server.port,
          );
        });
      }
    }
    const drifted = await visit(cli);
    assertLine(
      drifted,
      /^! endpoints: .* it has another url for .*nowhere; `bookme-webhooks reload` puts/,
    );
    assert.equal((await daemon.api("reload", ADMIN, "POST")).status, 200);
    receiver.answer(statuses(200));
    assert.equal((await daemon.api("endpoints/stopped/resume", ADMIN, "POST")).status, 200);
    const { body: event } = await daemon.post({ ...BUSINESS, timestamp: "2025-10-31T15:31:00Z" });
    await daemon.delivery(await daemon.deliveryId(event.id, "failing"));
    const well = await visit(cli);
    const marks = well.lines.filter((line) => / endpoint /.test(line) && !line.startsWith("✓"));
    assert.deepEqual(marks, [], well.out);
    assertLine(
      well,
      /^✓ endpoint refusing: localhost:\d+ is 127\.0\.0\.1.*; takes connections, without TLS$/,
    );
    assertLine(well, /^✓ endpoint soon: .*; TLS, its certificate expires in \d{4,} days/);
    assertLine(well, /^✓ endpoint demanding: the client certificate ".*" expires in \d{4,} days/);
    assertLine(well, /^✓ traffic: /);
    assert.equal(well.code, 0, well.out);
  });
});

const BUSINESS = {
  event: "business.created",
  timestamp: "2025-10-31T15:30:00Z",
  data: { business: { id: "bus_1" } },
};

/** Posts to the admin API, and answers what that answers. */
async function change({ url }: Operated, path: string, body: unknown): Promise<{ id: string }> {
  const answer = await fetch(`${url}/api/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return JSON.parse(text);
}

async function pauseAndFail(daemon: Operated): Promise<void> {
  await change(daemon, "endpoints/stopped/pause", { reason: "Holiday" });
  const { body } = await daemon.post(BUSINESS);
  await daemon.delivery(
    await daemon.deliveryId(body.id, "failing"),
    (delivery) => delivery.attempts.length === 1,
  );
}

Deno.test("doctor examines from here if the daemon may not, or does not run", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  const daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const env = { TOKEN: VIEWER };
  const viewer = await visit(daemon.cli, ["--token", "env:TOKEN"], { env });
  assertLine(viewer, /^✓ endpoint crm: /);
  assertLine(
    viewer,
    /^! endpoints: the daemon did not examine .* may only read.*; name an admin's token/,
  );
  const admin = await visit(daemon.cli);
  assert.ok(!admin.out.includes("did not examine"), admin.out);
  await edit(daemon.path, (file) => {
    file["endpoints"] = [endpoint("new", receiver.url)];
  });
  assertLine(
    await visit(daemon.cli),
    /it lacks new; it still has crm; `bookme-webhooks reload` puts/,
  );
  await daemon.api("reload", ADMIN, "POST");
  assert.ok(!(await visit(daemon.cli)).out.includes("it lacks"));
  await edit(daemon.path, (file) => {
    file["endpoints"] = [];
  });
  await daemon.api("reload", ADMIN, "POST");
  assertLine(await visit(daemon.cli), /^! endpoints: there are none; add one to endpoints/);
  await edit(daemon.path, (file) => {
    file["endpoints"] = [endpoint("alone", receiver.url)];
  });
  await daemon.stop();
  const alone = await visit(daemon.cli);
  assertLine(alone, /^✓ endpoint alone: 127\.0\.0\.1:\d+; takes connections, without TLS$/);
  assert.equal(receiver.requests.length, 0);
  await daemon[Symbol.asyncDispose]();
});

Deno.test("doctor finds sealed secrets without their key", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await inTemporary(async (directory) => {
    const file = `${directory}/key`;
    await Deno.writeTextFile(file, "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", { mode: 0o600 });
    const sections = { database: database.section };
    const sealed = { ...sections, encryption_key: `file:${file}` };
    let id = "";
    {
      await using daemon = await startOperated(sealed);
      id = (await change(daemon, "endpoints", { url: receiver.url, events: ["*"] })).id;
    }
    {
      await using daemon = await startOperated(sections);
      const ill = await visit(daemon.cli);
      assert.equal(ill.code, 1);
      assertLine(
        ill,
        /^✗ encryption_key: none is configured, and the secrets of 1 endpoint .*; set/,
      );
      assertLine(
        ill,
        new RegExp(`^✗ endpoint ${id}: cannot be sent to: [^;]*; put the key that sealed`),
      );
    }
    await using daemon = await startOperated(sealed);
    const well = await visit(daemon.cli);
    assertLine(well, new RegExp(`^✓ endpoint ${id}: `));
    assert.ok(!well.out.includes("encryption_key"), well.out);
  });
});

Deno.test("doctor finds what is due and waits", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("slow", receiver.url, { rate_limit: "1/h" })],
  });
  for (const id of ["apt_1", "apt_2"]) await daemon.post(booking(id));
  await receiver.received(1);
  await using sql = connectTo("url" in database.section ? database.section.url : assert.fail());
  // Old, but due only now: a retry that waited a day is not late.
  await sql`update pending_deliveries set created_at = now() - interval '3 minutes'`;
  assertLine(await visit(daemon.cli), /^✓ traffic: /);
  await sql`update pending_deliveries set due_at = now() - interval '3 minutes'`;
  const ill = await visit(daemon.cli);
  assertLine(
    ill,
    /^! endpoint slow: 1 delivery due and not being sent, the first of them for 3 minutes; raise its rate_limit/,
  );
  await edit(daemon.path, (file) => {
    file["endpoints"] = [endpoint("slow", receiver.url)];
  });
  await daemon.api("reload", ADMIN, "POST");
  await receiver.received(2);
  assertLine(await visit(daemon.cli), /^✓ traffic: /);
});

Deno.test("doctor names the endpoints of alerts.to that alerts do not reach", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    alerts: { to: ["ops-alerts", "ops-alert"] },
    // It selects nothing that BookMe posts, which is usual.
    endpoints: [endpoint("ops-alerts", receiver.url, { events: ["webhooks.*"] })],
  });
  const checked = await daemon.cli(["check"]);
  assert.equal(checked.code, 0, "the API may have made it");
  const ill = await visit(daemon.cli);
  assert.equal(ill.code, 1);
  assertLine(
    ill,
    /^✗ alerts\.to: there is no endpoint ops-alert, so it gets no alerts; correct the id and reload, or make/,
  );
  await edit(daemon.path, (file) => {
    file["alerts"] = { to: ["ops-alerts"] };
  });
  await daemon.api("reload", ADMIN, "POST");
  assert.doesNotMatch((await visit(daemon.cli)).out, /alerts\.to/);
  await daemon.cli(["pause", "ops-alerts", "--reason", "moves"]);
  assertLine(
    await visit(daemon.cli),
    /^! alerts\.to: the endpoint ops-alerts is paused, so alerts wait; `bookme-webhooks resume ops-alerts`/,
  );
  await daemon.cli(["resume", "ops-alerts"]);
  assert.doesNotMatch((await visit(daemon.cli)).out, /alerts\.to/);
});

// --- events -----------------------------------------------------------------------------------------------

Deno.test("doctor counts the events without a known business, and refused posts", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  const sections = { database: database.section, endpoints: [endpoint("all", receiver.url)] };
  {
    await using daemon = await startOperated(sections);
    const fresh = await visit(daemon.cli);
    assertLine(fresh, /^✓ businesses: every event of the last 24 hours has a known one$/);
    assertLine(fresh, /^✓ ingest: no post was refused in the last hour$/);
    await daemon.post([booking("apt_1"), booking("apt_2", "bus_1"), booking("apt_2")]);
    assertLine(
      await visit(daemon.cli),
      /^✓ businesses: 1 event of the last 24 hours without a known one; no endpoint asks for one$/,
    );
  }
  const bella = endpoint("bella", receiver.url, { businesses: ["bus_1"] });
  await using daemon = await startOperated({ ...sections, endpoints: [bella] });
  await daemon.post(booking("apt_1"));
  assertLine(
    await visit(daemon.cli),
    /^! businesses: 2 events .*, not owed to the 1 endpoint with `businesses`; let BookMe post them/,
  );
});

// --- the configuration --------------------------------------------------------------------------------------

Deno.test("doctor prints each mistake of the file, and still looks outward", async () => {
  await using database = await serverDatabase();
  await using receiver = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const sound = parse(await Deno.readTextFile(daemon.path));
  await edit(daemon.path, (file) => {
    file["secrets"] = { ...sound.secrets, gone: "file:./gone.secret" };
    file["endpoints"] = [
      endpoint("crm", receiver.url),
      endpoint("lost", receiver.url, { secret: "gone", tiemout: "3s" }),
    ];
  });
  const ill = await visit(daemon.cli);
  assert.equal(ill.code, 2);
  assertLine(
    ill,
    /^✗ configuration: \S+config\.yaml:\d+:\d+: secrets\.gone: File .* does not exist; correct line/,
  );
  assertLine(ill, /^✗ configuration: \S+: endpoints\[1\]\.tiemout: .*; did you mean timeout\?$/);
  assertLine(ill, /^✓ daemon: .* is ready/);
  assertLine(ill, /^✓ database: PostgreSQL/);
  assertLine(ill, /^✓ endpoint crm: /);
  await edit(daemon.path, (file) => {
    file["database"] = { ...sound.database, min_fre: "1GiB" };
  });
  assertLine(await visit(daemon.cli), /^! database: not looked at: .*; correct those first$/);
  await Deno.writeTextFile(daemon.path, stringify(sound));
  const well = await visit(daemon.cli);
  assert.equal(well.code, 0, well.out);
  assertLine(well, /^✓ configuration: .* is valid$/);
  await Deno.writeTextFile(daemon.path, "server: { listen: nowhere }\n");
  const lost = await visit(daemon.cli);
  assertLine(
    lost,
    /^✗ daemon: .*server\.listen: .*; name its address with --url and its token with/,
  );
  await Deno.writeTextFile(daemon.path, "a: [\n");
  assert.equal((await visit(daemon.cli)).code, 2);
  const none = await visit((args) => runHere([...args, "-c", "/nowhere/config.yaml"]));
  assertLine(none, /^✗ configuration: .* does not exist; start with `cp config\.example\.yaml/);
  assert.equal(none.code, 2);
});

Deno.test("doctor knows a secret's file that this user may not read", async () => {
  await using database = await serverDatabase();
  const { path, remove } = writeConfig({
    database: database.section,
    secrets: { main: "file:./x" },
  });
  const secret = `${path.slice(0, path.lastIndexOf("/"))}/x`;
  await Deno.writeTextFile(secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", {
    mode: 0o600,
  });
  try {
    const permissions = ["-A", `--deny-read=${secret}`];
    const look = (permissions: readonly string[]) =>
      visit((args) => runCli([...args, "-c", path], { permissions }));
    const ill = await look(permissions);
    assertLine(ill, /^✗ configuration: .*cannot be read.*; let this user read it, or run this as/);
    assertLine(ill, /^✓ database: /);
    assertLine(await look(["-A"]), /^✓ configuration: /);
  } finally {
    remove();
  }
});

Deno.test("doctor warns of unsigned ingest in production, and of files that everyone may read", async () => {
  await using database = await serverDatabase();
  await inTemporary(async (directory) => {
    const file = async (name: string, text: string) => {
      await Deno.writeTextFile(`${directory}/${name}`, text, { mode: 0o600 });
      return `file:${directory}/${name}`;
    };
    const strong = makeSecret(crypto.getRandomValues(new Uint8Array(32)));
    const sections = {
      database: database.section,
      environment: "production",
      secrets: { main: await file("main.secret", strong) },
      admin: {
        tokens: [{ name: "ops", token: await file("ops.token", strong), role: "admin" }],
      },
    };
    await withFile(sections, async (path, look) => {
      assertLine(
        await look(),
        /^! ingest\.secret: posts are not signed: .*; set ingest\.secret to/,
      );
      await edit(path, (file) => {
        file["ingest"] = { secret: "main" };
      });
      assertLine(await look(), /^✓ ingest\.secret: posts must be signed$/);
      Deno.chmodSync(`${directory}/main.secret`, 0o644);
      assertLine(await look(), /^✗ configuration: .*readable by everyone/);
      await edit(path, (file) => {
        file["environment"] = "development";
      });
      assertLine(
        await look(),
        /^! secrets: everyone on this machine may read \S+main\.secret \(mode 0644\); chmod 600 \S+$/,
      );
      Deno.chmodSync(`${directory}/main.secret`, 0o600);
      assert.ok(!(await look()).out.includes("everyone on"));
    });
    await withFile({ database: database.section }, async (path, look) => {
      Deno.chmodSync(path, 0o644);
      const ill = await look();
      assertLine(ill, /^! secrets: everyone .*config\.yaml \(mode 0644\)/);
      assertLine(ill, /^✓ ingest\.secret: posts are not signed, which is for development only$/);
      Deno.chmodSync(path, 0o600);
      assert.ok(!(await look()).out.includes("everyone on"));
    });
  });
});

Deno.test("checkPort() knows the ports that take a privilege", () => {
  const user = { is_root: false, unprivileged_from: 1024 };
  const found = checkPort(80, user);
  note(found);
  assert.match(
    found.map(lineOf).join(),
    /^! server\.listen: port 80 is below 1024.*; choose a higher/,
  );
  for (
    const [port, privileges] of [
      [8080, user],
      [0, user],
      [80, { ...user, is_root: true }],
      [80, { ...user, unprivileged_from: 80 }],
      [80, undefined],
    ] as const
  ) assert.deepEqual(checkPort(port, privileges), []);
});

Deno.test("checkCertificate() knows a listener's certificate that has ended, or soon will", async () => {
  const { good, soon, expired, not_yet } = await testCertificates();
  const judge = ({ cert, key }: Leaf) => {
    const tls = { cert, key: new Secret(key) };
    const listen = { host: "127.0.0.1", port: 8443 };
    const server = { listen, tls, trusted_proxies: [], public_url: null };
    const found = checkCertificate(server, Date.now());
    note(found);
    return found.map(lineOf).join();
  };
  assert.match(judge(good), /^✓ server\.tls: the certificate of localhost, .* expires in \d+ days/);
  assert.match(
    judge(soon),
    /^! server\.tls: the certificate of .* expires in 1\d days .*then reload$/,
  );
  assert.match(
    judge(expired),
    /^✗ server\.tls: .* not valid: Expired at 2025-02-01T00:00:00Z; put/,
  );
  assert.match(judge(not_yet), /^✗ server\.tls: .* not valid: Is not valid before 2099-01-01/);
});

Deno.test("doctor looks at everything with the permissions of the executable", async () => {
  const script = await Deno.readTextFile(new URL("../../deploy/compile.sh", import.meta.url));
  const permissions = script.match(/--allow-\S+/g) ?? [];
  assert.deepEqual(permissions, TASK_PERMISSIONS);
  await using database = await serverDatabase();
  const config = {
    database: database.section,
    endpoints: [endpoint("crm", "http://127.0.0.1:9/")],
  };
  await withFile(config, async (path, look) => {
    const subjects = ({ lines }: Visit) => lines.map((line) => line.slice(0, line.indexOf(":")));
    const own = await visit((args) => runCli([...args, "-c", path], { permissions }));
    assert.deepEqual(subjects(own), subjects(await look()));
  });
});

// --- the daemon ---------------------------------------------------------------------------------------------

Deno.test("doctor says why a daemon cannot be asked, and how it can", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({ database: database.section });
  const { port } = new URL(daemon.url);
  const wrong = await visit(daemon.cli, ["--token", "env:TOKEN"], {
    env: { TOKEN: "x".repeat(24) },
  });
  assertLine(wrong, /^✗ daemon: .* refuses the token .*; was it started with another/);
  assertLine(
    await visit(daemon.cli),
    /^✓ daemon: .* is ready, and takes the token "ops" of admin\.tok/,
  );
  const listen = `127.0.0.1:${await freePort()}`;
  await withFile(
    { database: database.section, server: { listen: "127.0.0.1:0" } },
    async (path, look) => {
      assertLine(
        await look(),
        /^! daemon: server\.listen takes any free port, .*; name it with --url/,
      );
      assertLine(await look(["--url", daemon.url]), /^✓ daemon: /);
      await edit(path, (file) => {
        file["server"] = { listen };
        file["admin"] = { tokens: [] };
      });
      assertLine(await look(), /^✗ daemon: .*admin: Has no tokens; the admin API needs one/);
    },
  );
  await withFile({ database: database.section, server: { listen } }, async (_, look) => {
    const ill = await look();
    assertLine(ill, /^✗ daemon: No answer from .*; start it with `bookme-webhooks --config \S+`$/);
    assertLine(
      await look(["--url", `http://${listen}`]),
      /^✗ daemon: .*; check --url, and start it/,
    );
    await using other = await exchangeable(PLAIN_HTTP);
    const at = `http://127.0.0.1:${other.port}`;
    assertLine(
      await look(["--url", at]),
      /^✗ daemon: .* is no bookme-webhooks daemon .*; correct --url$/,
    );
    assertLine(await look(["--url", `http://127.0.0.1:${port}`]), /^✓ daemon: /);
  });
  await using other = await exchangeable(PLAIN_HTTP);
  await withFile(
    { database: database.section, server: { listen: `127.0.0.1:${other.port}` } },
    async (_, look) => {
      assertLine(
        await look(),
        /is no bookme-webhooks daemon \(status 400\); stop the other program/,
      );
    },
  );
});

Deno.test("doctor does not wait for a daemon that hangs", async () => {
  await using database = await serverDatabase();
  await using silent = await exchangeable(() => {});
  const { path, remove } = writeConfig({
    database: database.section,
    server: { listen: `127.0.0.1:${silent.port}` },
  });
  try {
    assertLine(
      await visit((args) => runHere([...args, "-c", path])),
      /^✗ daemon: No answer from http:\/\/127\.0\.0\.1:\d+ within 10 s; see .* log, and restart it/,
    );
  } finally {
    remove();
  }
});

/** A daemon's answers with some of them changed, as one of another version or state would answer. */
async function standIn(url: string, change: (path: string, body: string) => string | undefined) {
  const server: HttpServer = createHttpServer(async (request, response) => {
    const answer = await fetch(url + request.url, {
      method: request.method ?? "GET",
      headers: { authorization: request.headers.authorization ?? "" },
    });
    const body = await answer.text();
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(change(request.url ?? "", body) ?? body);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

Deno.test("doctor knows a daemon of another version, and one that is not ready", async () => {
  await using database = await serverDatabase();
  await using daemon = await startOperated({ database: database.section });
  {
    await using older = await standIn(
      daemon.url,
      (path) => path === "/livez" ? '{"status":"ok","version":"0.0.1"}' : undefined,
    );
    const ill = await visit(daemon.cli, ["--url", older.url]);
    assertLine(ill, /^! daemon's version: 0\.0\.1, this is \S+; restart the older one$/);
    assert.equal(ill.code, 0);
    assertLine(await visit(daemon.cli), /^✓ daemon's version: \d/);
  }
  const table: [part: string, check: string, remedy: RegExp][] = [
    ["dispatcher", "The daemon is stopping; it only stores events", /start it again$/],
    [
      "dispatcher",
      "The dispatcher has had no answer for 8 seconds",
      /see the daemon's log, and restart/,
    ],
    [
      "database",
      "could not extend file: No space left on device",
      /free some space on the database/,
    ],
    [
      "database",
      "127.0.0.1:5432 refuses connections (ECONNREFUSED)",
      /see the lines on the database/,
    ],
  ];
  for (const [part, check, remedy] of table) {
    const checks = { database: "ok", dispatcher: "ok", [part]: check };
    await using troubled = await standIn(
      daemon.url,
      (path) => path === "/readyz" ? JSON.stringify({ status: "unavailable", checks }) : undefined,
    );
    const ill = await visit(daemon.cli, ["--url", troubled.url]);
    assert.equal(ill.code, 1);
    const line = ill.lines.find((one) => one.startsWith("✗ daemon: ")) ?? "";
    assert.ok(line.includes(`is not ready: ${check}`), ill.out);
    assert.match(line, remedy);
  }
});

onBoth(
  "doctor finds nothing broken before the first start, and the daemon missing after it",
  async (database) => {
    const listen = `127.0.0.1:${await freePort()}`;
    const { section } = database;
    const sections = "directory" in section
      // With a directory of its own the first start makes a token, too.
      ? {
        server: { listen },
        database: { directory: `${section.directory}/new` },
        admin: undefined,
      }
      : { server: { listen }, database: section };
    await withFile(sections, async (_, look) => {
      const first = await look();
      assertLine(
        first,
        /^! daemon: not started yet; start it with `bookme-webhooks --config \S+yaml`$/,
      );
      if (database.kind === "embedded") {
        assertLine(first, /^✓ database: embedded, not there yet: the first start makes it in /);
      } else assertLine(first, /^! schema: not there yet; the next start migrates it/);
      assert.equal(first.code, 0, first.out);
      assertLine(await look(["--url", `http://${listen}`]), /^✗ daemon: /);
      if ("directory" in section) await initialise(`${section.directory}/new`);
      await using daemon = await startOperated(sections);
      assertLine(await visit(daemon.cli), /^✓ daemon: /);
      await daemon.stop();
      const stopped = await look();
      assertLine(stopped, /^✗ daemon: No answer from /);
      assert.equal(stopped.code, 1);
    });
  },
  emptyDatabase,
);

// --- the embedded database ------------------------------------------------------------------------------------

Deno.test("doctor leaves the database to a daemon that is only short of disk", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  const { directory } = database.section;
  await using daemon = await startOperated({ database: { directory, min_free: "999999999GiB" } });
  const ill = await visit(daemon.cli);
  assert.equal(ill.code, 1, ill.out);
  assertLine(
    ill,
    /^✗ daemon: .* is not ready: Disk low: .*; free some space, or lower database\.min_free/,
  );
  assertLine(ill, /^✓ database: embedded in .*, in the daemon's hands/);
  assertLine(ill, /^✗ disk: Disk low: .*; free some space/);
  assertLine(ill, /^✓ data directory: only its owner may enter/);
  await edit(daemon.path, (file) => {
    file["database"] = { directory, min_free: "0B" };
  });
  await daemon.api("reload", ADMIN, "POST");
  const well = await visit(daemon.cli);
  assert.equal(well.code, 0, well.out);
  assertLine(well, /^✓ disk: /);
});

Deno.test("doctor finds an embedded database that is in use, open to others, or broken", async () => {
  await using database = await embeddedDatabase();
  assert.ok("directory" in database.section);
  const { directory } = database.section;
  await withFile({ database: { directory } }, async (path, look) => {
    {
      await using _held = await database.open();
      const held = await look();
      assertLine(
        held,
        /^✗ database: The database directory .* in use by process \d+; stop that one/,
      );
    }
    Deno.chmodSync(directory, 0o755);
    assertLine(await look(), /^! data directory: others may enter .* \(mode 0755\); chmod 700 /);
    Deno.chmodSync(directory, 0o700);
    const well = await look();
    assertLine(well, /^✓ data directory: /);
    assertLine(well, /^✓ database: PostgreSQL 18/);
    Deno.renameSync(`${directory}/postgres/global`, `${directory}/global`);
    assertLine(await look(), /^✗ database: .* cannot be opened: .*; see docs\/operations\.md/);
    Deno.renameSync(`${directory}/global`, `${directory}/postgres/global`);
    assertLine(await look(), /^✓ database: /);
    await Deno.writeTextFile(`${directory}/file`, "");
    await edit(path, (file) => {
      file["database"] = { directory: `${directory}/file` };
    });
    assert.match((await look()).out, /^(✗|✓) database: /m);
  });
});

// --- PostgreSQL -------------------------------------------------------------------------------------------------

Deno.test("doctor names what is wrong with a server, and its remedy makes it good", async () => {
  await using server = await startPostgres({ fsync: "on" });
  await using admin = connectTo(server.url("postgres"));
  const { port } = new URL(server.url("postgres"));
  const at = (user: string, name: string, more = "") =>
    `postgres://${user}@127.0.0.1:${port}/${name}${more}`;
  for (const role of ["limited", "barred", "guest"]) {
    await admin.unsafe(`create role ${role} login password 'right-${role}'`);
  }
  await admin.unsafe(`create database shop template template0 encoding 'UTF8'`);
  await admin.unsafe(`create database locked template template0 encoding 'UTF8'`);
  await admin.unsafe(`create database west template template0 encoding 'LATIN1' locale 'C'`);
  await admin.unsafe("alter role limited connection limit 0");
  await admin.unsafe("revoke connect on database locked from public");
  await admin.unsafe("create database shut template template0 allow_connections false");
  await using standby = await server.standby("s1");
  const table: {
    readonly url: string;
    readonly line: RegExp;
    /** Follows the remedy; may answer another URL. */
    readonly fix: () => Promise<unknown>;
  }[] = [
    {
      url: at("nobody-yet", "shop"),
      line: /^✗ database: .*role "nobody-yet" does not exist; create it: createuser nobody-yet/,
      fix: () => admin.unsafe(`create role "nobody-yet" login`),
    },
    {
      url: at("postgres", "missing"),
      line: /^✗ database: .*database "missing" does not exist; create it: createdb .* missing$/,
      fix: () => admin.unsafe("create database missing template template0 encoding 'UTF8'"),
    },
    {
      url: at("limited", "shop"),
      line: /^✗ database: .*too many connections.*; close other connections, or raise/,
      fix: () => admin.unsafe("alter role limited connection limit -1"),
    },
    {
      url: at("barred", "locked"),
      line: /^✗ database: .*permission denied for database.*; grant the role the right to connect/,
      fix: () => admin.unsafe("grant connect on database locked to barred"),
    },
    {
      url: at("guest", "shop"),
      line:
        /^✗ rights: the role guest may not create tables in the schema public; grant create on sch/,
      fix: () => Promise.resolve(), // as every line on rights, below
    },
    {
      url: at("postgres", "shut"),
      line: /^✗ database: .*not currently accepting connections; see the server's log$/,
      fix: () => admin.unsafe("alter database shut allow_connections true"),
    },
    {
      url: standby.url("postgres"),
      line: /^✗ database: .*is a standby, which accepts no writes; name the primary in database$/,
      fix: () => Promise.resolve(server.url("postgres")),
    },
    {
      url: at("postgres", "west"),
      line: /^✗ database: its encoding is LATIN1; make one in UTF8/,
      fix: async () => {
        await admin.unsafe("drop database west");
        await admin.unsafe("create database west template template0 encoding 'UTF8'");
      },
    },
    {
      url: at("postgres", "shop", "?sslmode=require"),
      line: /^✗ database: .*offers no TLS; turn on ssl on the server, or choose another sslmode$/,
      fix: () => Promise.resolve(at("postgres", "shop", "?sslmode=prefer")),
    },
  ];
  for (const { url, line, fix } of table) {
    await withFile({ database: { url } }, async (path, look) => {
      const ill = await look();
      assertLine(ill, line);
      assert.equal(ill.code, 1, ill.out);
      const other = await fix();
      if (typeof other === "string") {
        await edit(path, (file) => {
          file["database"] = { url: other };
        });
      }
      // A new role may connect, and make tables only once that is granted, by the words of the remedy.
      const [, grant] = /^✗ rights: .*; (grant create .*)$/m.exec((await look()).out) ?? [];
      if (grant !== undefined) {
        await using owner = connectTo(server.url(new URL(url).pathname.slice(1)));
        await owner.unsafe(grant);
      }
      const well = await look();
      assertLine(well, /^✓ database: PostgreSQL/);
      assert.ok(!/^✗ (database|rights)/m.test(well.out), well.out);
    });
  }
  await withFile({ database: { url: at("postgres", "shop") } }, async (_, look) => {
    assertLine(await look(), /^✓ durability: fsync on, full_page_writes on$/);
    await admin.unsafe("alter system set full_page_writes = off");
    await admin.unsafe("select pg_reload_conf()");
    assertLine(
      await look(),
      /^! durability: full_page_writes is off: .*; alter system set full_page_writes = on; select pg/,
    );
    await admin.unsafe("alter system set full_page_writes = on");
    await admin.unsafe("select pg_reload_conf()");
    assertLine(await look(), /^✓ durability: /);
    assert.deepEqual([...await admin`select from pg_class where relname = 'migrations'`], []);
  });
});

Deno.test("doctor knows passwords, tables of another owner, and schemas of other versions", async () => {
  await using server = await startPostgres();
  await using sql = connectTo(server.url("postgres"));
  await sql.unsafe("create role app login password 'right'");
  await sql.unsafe("grant create on schema public to app");
  const { port } = new URL(server.url("postgres"));
  const url = (password: string) => `postgres://app${password}@127.0.0.1:${port}/postgres`;
  await using daemon = await startOperated({ database: { url: server.url("postgres") } });
  await withFile({ database: { url: url("") } }, async (_, look) => {
    assertLine(await look(), /^✗ rights: the role app may not read and write .* more; connect as/);
    await sql.unsafe("grant all on all tables in schema public to app");
    const unowned = /^✗ rights: the role app does not own the table events, .*, or (grant .*)$/m;
    const { out } = await look();
    assert.match(out, unowned);
    const [, grant = ""] = unowned.exec(out) ?? [];
    await sql.unsafe(grant);
    const well = await look();
    assertLine(well, /^✓ schema: version \d+$/);
    assert.ok(!/^✗ rights/m.test(well.out), well.out);
  });
  await daemon.stop();
  const [{ data_directory = "" } = {}] = await sql`show data_directory`;
  await sql.unsafe(`copy (select 'host all app all scram-sha-256' union all select
    'host all all all trust') to '${data_directory}/pg_hba.conf'`);
  await sql`select pg_reload_conf()`;
  for (const password of [":wrong", ""]) {
    await withFile({ database: { url: url(password) } }, async (path, look) => {
      assertLine(
        await look(),
        /^✗ database: .*password.*; (check database\.user|set database\.password)/,
      );
      await edit(path, (file) => {
        file["database"] = { url: url(":right") };
      });
      const well = await look();
      assertLine(well, /^✓ database: /);
      assert.ok(!well.out.includes("right@"), "no password is shown");
    });
  }
  await withFile({ database: { url: server.url("postgres") } }, async (_, look) => {
    await sql`insert into migrations (version, name) values (999, 'of the future')`;
    assertLine(await look(), /^✗ schema: version 999 is newer than this program.*; run the newer/);
    await sql`delete from migrations`;
    assertLine(await look(), /^! schema: version 0 of \d+; the next start migrates it/);
  });
});

Deno.test("doctor knows a server that is away, or no PostgreSQL", async () => {
  await using server = await startPostgres();
  const url = server.url("postgres");
  await withFile({ database: { url } }, async (path, look) => {
    await server.stop();
    const ill = await look();
    assertLine(ill, /^✗ database: .* refuses connections \(ECONNREFUSED\); start the server, or/);
    assert.equal(ill.code, 1);
    await server.start();
    assertLine(await look(), /^✓ database: /);
    {
      await using session = connectTo(url);
      const [{ data_directory = "" } = {}] = await session`show data_directory`;
      const [pid = ""] = Deno.readTextFileSync(`${data_directory}/postmaster.pid`).split("\n");
      Deno.kill(Number(pid), "SIGTERM"); // it stops once the session ends
      const stopping = await until("it says so", async () => {
        const found = await look();
        return /shutting down/.test(found.out) ? found : undefined;
      });
      assertLine(stopping, /^✗ database: .*shutting down; wait until the server has started, or/);
    }
    await server.stop();
    await server.start();
    assertLine(await look(), /^✓ database: /);
    await using mute = await exchangeable(() => {});
    await using other = await exchangeable(PLAIN_HTTP);
    for (
      const [wrong, line] of [
        [`postgres://x@127.0.0.1:${other.port}/y`, /does not speak .*; correct host and port/],
        [
          "postgres://x:hunter2@nowhere.invalid/y",
          /^✗ database: .*nowhere\.invalid.*; correct the host/,
        ],
        [
          `postgres://x@127.0.0.1:${mute.port}/y?connect_timeout=2`,
          /gives no answer within 2 s; check that it runs, and the firewalls in between$/,
        ],
        ["postgres://x@127.0.0.1:1,127.0.0.1:2/y", /127\.0\.0\.1:2 refuses .*; start the server/],
      ] as const
    ) {
      await edit(path, (file) => {
        file["database"] = { url: wrong };
      });
      const ill = await look();
      assertLine(ill, line);
      assert.ok(!ill.out.includes("hunter2"));
    }
    await edit(path, (file) => {
      file["database"] = { url };
    });
    assertLine(await look(), /^✓ database: /);
  });
});

Deno.test("judgeDatabase() has words for servers that a test cannot make", () => {
  const health = {
    version: "18.4",
    schema_version: 1,
    unusable: null,
    fsync: "on",
    full_page_writes: "on",
    encoding: "UTF8",
    role: "app",
    schema: "public",
    may_create: true,
    forbidden: [],
    owner: null,
    sealed: 0,
    ahead_ms: 3,
    round_trip_ms: 1,
  };
  const needs = { schema_version: 1, has_key: false };
  const table: [Partial<typeof health> | { schema: null }, RegExp][] = [
    [{ version: "14.9" }, /^✗ database: PostgreSQL 14\.9 is too old; use 15 or later$/m],
    [
      { ahead_ms: 90_000 },
      /^! clock: the database's is 90000 ms ahead of this .*; synchronise both/m,
    ],
    [{ ahead_ms: -90_000 }, /^! clock: the database's is 90000 ms behind this machine's/m],
    [{ ahead_ms: 1_500 }, /^✓ clock: within 1500 ms of the database's$/m],
    [{ schema: null, schema_version: null } as never, /^✗ rights: no schema of the search_path/m],
  ];
  for (const [change, expected] of table) {
    const found = judgeDatabase({ ...health, ...change } as typeof health, needs);
    note(found);
    assert.match(found.map(lineOf).join("\n"), expected);
  }
});

// --- the machine --------------------------------------------------------------------------------------------------

Deno.test("checkDisk() has the free space and the limit, and no view of a server's disk", () => {
  const database = {
    kind: "embedded",
    directory: "/data",
    min_free_bytes: 512 * 1024 * 1024,
  } as const;
  const at = (free_mib: number) => checkDisk({ database }, () => free_mib * 1024 * 1024);
  const unread = checkDisk({ database }, () => {
    throw new Error("EIO");
  });
  const found = [
    at(4096),
    at(600),
    at(100),
    unread,
    checkDisk({ database: serverConfig("postgres://db.example.com/x") }),
  ];
  note(found);
  const fine = "free for /data; ingest stops below 512 MiB (database.min_free)";
  const remedy = "free some space, or move database.directory to a larger disk";
  assert.deepEqual(found.map(lineOf), [
    `✓ disk: 4 GiB ${fine}`,
    `! disk: 600 MiB ${fine}; ${remedy}`,
    "✗ disk: Disk low: /data has 100 MiB free, and ingest stops below 512 MiB (database.min_free); " +
    remedy,
    "! disk: the free space of /data cannot be read: EIO; run this as the daemon's user",
    "✓ disk: the server's cannot be seen from here; watch its free space there",
  ]);
});

Deno.test("checkAddresses() compares this machine's addresses with the ip_ranges in force", () => {
  const config = (source_address: string | null) => ({
    environment: "development" as const,
    ip_ranges: { development: [parseCidr("192.168.1.0/24")], production: [] },
    delivery: { source_address, timeout_ms: 1, retry_ms: [0], concurrency: 1, allow_networks: [] },
  });
  const own = ["192.168.1.7", "10.0.0.7"];
  const table: [string | null, readonly string[], RegExp][] = [
    [
      null,
      own,
      /: 192\.168\.1\.7 of this machine lies in ip_ranges\.development \(192\.168\.1\.0\/24\)/,
    ],
    [
      null,
      ["10.0.0.7"],
      /^! .* no address of this machine \(10\.0\.0\.7\) lies in .*; add the address/,
    ],
    [null, [], /^! .* no address of this machine \(it has the loopback's only\) lies in .*; add/],
    ["192.168.1.7", own, /^✓ .* 192\.168\.1\.7 lies in/],
    ["10.0.0.7", own, /^! .* 10\.0\.0\.7 lies outside .*; correct one of the two/],
    [
      "192.168.1.8",
      own,
      /^✗ .* 192\.168\.1\.8 is no address of this machine \(192\.168\.1\.7, 10\.0\.0\.7\); set it to one that is/,
    ],
    // Not among those listed, and yet one to send from: on Linux each of its network is.
    ["127.0.0.2", own, /^! .* 127\.0\.0\.2 lies outside .*; correct one of the two/],
  ];
  for (const [source_address, addresses, expected] of table) {
    const found = checkAddresses(config(source_address), addresses);
    note([found]);
    assert.match(lineOf(found), expected);
  }
});

Deno.test("checkExpiring() says what will be cancelled, and what sends it before", () => {
  const first_at = "2026-11-27T10:00:00.000Z";
  const look = (paused: boolean, expires: Endpoint["expires"]) => {
    const found = checkExpiring([{ id: "crm", paused, expires } as Endpoint]);
    note(found);
    return found.map(lineOf).join("\n");
  };
  assert.equal(look(true, null), "");
  assert.match(
    look(true, { deliveries: 2, deliveries_exact: true, first_at }),
    /^! endpoint crm: 2 waiting deliveries will be cancelled from 2026-11-27T10:00:00.000Z on: they .*; send them with `bookme-webhooks resume crm`, or cancel them$/,
  );
  assert.match(
    look(false, { deliveries: 1_000, deliveries_exact: false, first_at }),
    /: 1000 or more waiting deliveries .*; give the daemons what they need to send to it/,
  );
});

// --- output -------------------------------------------------------------------------------------------------------

Deno.test("doctor prints a line for each verdict, with its remedy", async () => {
  await using database = await serverDatabase();
  await withFile({ database: database.section }, async (path, look) => {
    const { lines } = await look();
    const { out, err } = await runHere(["doctor", "-c", path]);
    const steady = (line: string) => line.replace(/\d+ ms/g, "N ms");
    assert.deepEqual(out.trimEnd().split("\n").map(steady), lines.map(steady));
    assert.equal(err, "");
    const narrow = await runHere(["doctor", "-c", path], {
      isTerminal: true,
      columns: 60,
      env: { NO_COLOR: "1" },
    });
    const rows = narrow.out.trimEnd().split("\n");
    for (const row of rows) assert.match(row, /^([✓!✗] \S| {2}\S)/);
    // A path is longer, and stays whole.
    for (const row of rows) assert.ok(widthOf(row) <= 60 || / .*\/\S*$/.test(row), row);
    assert.match(rows.join("").replace(/ +/g, " "), /fsync is off: a crash/);
  });
});

// Those of lib/core/examination.ts and daemons.ts are held by their own tests.
Deno.test("every line that doctor can print was caused above", async () => {
  const folder = new URL("../../lib/cli/doctor/", import.meta.url);
  const said = seen.map(lineOf).join("\n");
  const missing: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name === "daemons.ts") continue;
    const source = await Deno.readTextFile(new URL(name, folder));
    for (
      const sentence of sentencesOf(source.replace(/export const doctor[\s\S]*?async run/, ""))
    ) {
      if (!said.includes(sentence)) missing.push(`${name}: ${sentence}`);
    }
  }
  assert.deepEqual(missing, []);
});
