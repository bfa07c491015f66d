import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { send } from "../../lib/cli/daemon_api/request.ts";
import { runCli, runHere, startCli, TASK_PERMISSIONS } from "../support/cli.ts";
import { has_openssl, startOpenssl } from "../support/openssl.ts";
import type { Socket } from "node:net";
import { ADMIN, booking, endpoint, writeConfig } from "../support/daemon.ts";
import { embeddedDatabase, onServer } from "../support/databases.ts";
import { type Operated, startOperated } from "../support/operated.ts";
import { freePort } from "../support/postgres.ts";
import { dial, portIn, speak } from "../support/raw.ts";
import { startReceiver } from "../support/receiver.ts";
import { forgedKey, type Leaf, testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

const certificates = await testCertificates();
const { ca, good, soon, expired, self_signed } = certificates;
const EVENT = JSON.stringify(booking("apt_1"));

/** A directory with certificate and key, and the section `server` that names them. */
async function makeFiles(leaf: Leaf) {
  const directory = await Deno.makeTempDir({ prefix: "bookme-own-tls-" });
  const put = ({ cert, key }: Leaf) => {
    Deno.writeTextFileSync(`${directory}/tls.pem`, cert);
    Deno.writeTextFileSync(`${directory}/tls.key`, key, { mode: 0o600 });
  };
  put(leaf);
  return {
    put,
    server: {
      listen: `127.0.0.1:${await freePort()}`,
      tls: { cert: `file:${directory}/tls.pem`, key: `file:${directory}/tls.key` },
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

/** The digest of the certificate that a new connection is shown. */
async function shownBy({ url }: Pick<Operated, "url">): Promise<string> {
  const socket = connectTls({ host: "127.0.0.1", port: portIn(url), rejectUnauthorized: false });
  await once(socket, "secureConnect");
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  await once(socket, "close");
  return fingerprint256;
}

function digestOf({ cert }: Leaf): string {
  return new X509Certificate(cert).fingerprint256;
}

/** Everything that a connection has received. */
function hear(socket: Socket): () => string {
  let text = "";
  socket.on("data", (bytes) => text += bytes);
  return () => text;
}

onServer("with server.tls everything goes over TLS", async (database) => {
  await using files = await makeFiles(good);
  await using receiver = await startReceiver();
  using client = Deno.createHttpClient({ caCerts: [ca] });
  await using daemon = await startOperated({
    database: database.section,
    server: files.server,
    endpoints: [endpoint("crm", receiver.url)],
  }, client);
  assert.match(daemon.url, /^https:\/\/127\.0\.0\.1:\d+$/);
  const posted = await daemon.post(EVENT);
  assert.equal(posted.status, 202);
  await daemon.delivery(await daemon.deliveryId(posted.body.id));
  const { body: config } = await daemon.api("config");
  assert.match(config.server.tls.cert, /^good until 2098-01-01 \(SHA-256 [0-9A-F:]{95}\)$/);
  assert.equal(config.server.tls.key, "[redacted]");
  const scraped = await fetch(`${daemon.url}/metrics`, {
    client,
    headers: { authorization: `Bearer ${ADMIN}` },
  });
  const ends_at = Date.parse("2098-01-01T00:00:00Z") / 1000;
  const line = `bookme_webhooks_server_certificate_ends_timestamp_seconds ${ends_at}\n`;
  assert.ok((await scraped.text()).includes(line));
  const link = await fetch(`${daemon.url}/api/portal-links`, {
    client,
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: JSON.stringify({ business: "bus_1" }),
  });
  assert.ok((await link.json()).url.startsWith(`${daemon.url}/portal/open/`));
});

onServer(
  "over TLS one may sign in by any name, and the cookie is for https only",
  async (database) => {
    await using files = await makeFiles(good);
    await using daemon = await startOperated({ database: database.section, server: files.server });
    const port = portIn(daemon.url);
    const body = `token=${ADMIN}`;
    const login = (host: string, origin: string) =>
      speak({ port, ca }, [
        `POST /dashboard/login HTTP/1.1\r\nHost: ${host}\r\nOrigin: ${origin}\r\n` +
        "Content-Type: application/x-www-form-urlencoded\r\n" +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
      ]);
    for (const host of [`127.0.0.1:${port}`, `localhost:${port}`]) {
      const { text } = await login(host, `https://${host}`);
      const cookie =
        `__Host-bookme_${port}=[\\w-]{43}; Max-Age=43200; Path=/; HttpOnly; Secure; SameSite=Strict`;
      assert.match(text, new RegExp(`\r\nset-cookie: ${cookie}\r\n`, "i"), host);
      assert.deepEqual((await login(host, `http://${host}`)).statuses, [403], host);
    }
  },
);

onServer("a reload shows a new certificate, and open connections go on", async (database) => {
  await using files = await makeFiles(good);
  using client = Deno.createHttpClient({ caCerts: [ca] });
  await using daemon = await startOperated(
    { database: database.section, server: files.server },
    client,
  );
  const place = { port: portIn(daemon.url), ca };
  const stream = dial(place);
  const streamed = hear(stream);
  stream.write(
    `GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ADMIN}\r\n\r\n`,
  );
  const slow = dial(place);
  const answered = hear(slow);
  const half = EVENT.length / 2;
  slow.write(
    "POST /ingest HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
      `Content-Length: ${EVENT.length}\r\n\r\n${EVENT.slice(0, half)}`,
  );
  try {
    await until("the stream has begun", () => streamed().includes("text/event-stream"));
    await Promise.all(slow.pending ? [once(slow, "secureConnect")] : []);
    assert.equal(await shownBy(daemon), digestOf(good));

    files.put(soon);
    const planned = await daemon.cli(["check", "--diff"]);
    const line = `server.tls.cert changed from good until 2098-01-01 (SHA-256 ${
      digestOf(good)
    }) to soon until`;
    assert.ok(planned.out.includes(line), planned.out + planned.err);
    assert.ok(planned.out.includes(digestOf(soon)) && !planned.out.includes("next start"));
    assert.equal(await shownBy(daemon), digestOf(good), "a plan changes nothing");

    const reloaded = await daemon.cli(["reload"]);
    assert.deepEqual([reloaded.code, reloaded.out.includes(line)], [0, true], reloaded.err);
    assert.equal(await shownBy(daemon), digestOf(soon));

    slow.write(EVENT.slice(half));
    await until("the slow request is answered", () => /^HTTP\/1\.1 202 /.test(answered()));
    slow.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await until("its connection goes on", () => /HTTP\/1\.1 200 /.test(answered()));
    const id = /"id":"(evt_\w+)"/.exec(answered())?.[1] ?? "none";
    await until("the stream goes on", () => streamed().includes(id));
    assert.ok(!JSON.stringify(daemon.log).includes("PRIVATE KEY"));
  } finally {
    for (const socket of [stream, slow]) socket.destroy();
  }
});

onServer("an invalid certificate changes nothing, and says why", async (database) => {
  await using files = await makeFiles(good);
  await using daemon = await startOperated({ database: database.section, server: files.server });
  files.put({ cert: soon.cert, key: good.key });
  const { code, err } = await daemon.cli(["reload"]);
  assert.equal(code, 2, err);
  assert.match(err, /server\.tls\.key: Is not the key of the first certificate in cert/);
  assert.equal(await shownBy(daemon), digestOf(good));
});

onServer("TLS is switched on and off at the next start only", async (database) => {
  await using files = await makeFiles(good);
  await using daemon = await startOperated({ database: database.section, server: files.server });
  const text = Deno.readTextFileSync(daemon.path);
  Deno.writeTextFileSync(daemon.path, text.replace(/ {2}tls:\n( {4}.*\n)+/, ""));
  using client = Deno.createHttpClient({ caCerts: [ca] });
  const answer = await fetch(`${daemon.url}/api/reload`, {
    client,
    method: "POST",
    headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" },
    body: "{}",
  });
  assert.deepEqual((await answer.json()).at_next_start, ["server.tls changed"]);
  assert.equal(await shownBy(daemon), digestOf(good));
});

Deno.test("an expired certificate is warned about at the start", async () => {
  await using database = await embeddedDatabase();
  await using files = await makeFiles(expired);
  await using daemon = await startOperated({ database: database.section, server: files.server });
  const line = daemon.log.find(({ message }) =>
    /certificate of server\.tls is not valid/.test(message)
  );
  assert.deepEqual([line?.level, line?.cause], ["warn", "Expired at 2025-02-01T00:00:00Z"]);
});

onServer("commands trust the certificate of their own file, and no other", async (database) => {
  await using files = await makeFiles(self_signed);
  await using daemon = await startOperated({ database: database.section, server: files.server });
  const { port } = new URL(daemon.url);
  for (const args of [[], ["--url", `https://localhost:${port}`]]) {
    const { code, err } = await daemon.cli(["stats", ...args]);
    assert.equal(code, 0, err);
  }
  const doctor = await daemon.cli(["doctor"]);
  assert.match(doctor.out, /✓ daemon: https:\/\/127\.0\.0\.1:\d+ is ready/);
  assert.match(doctor.out, /✓ server\.tls: the certificate of localhost, 127\.0\.0\.1 expires in/);
  assert.match(
    (await daemon.cli(["check"])).out,
    /listens on +127\.0\.0\.1:\d+, with TLS +\(certificate expires in/,
  );

  files.put(good);
  const other = await daemon.cli(["stats"]);
  assert.equal(other.code, 1);
  assert.match(
    other.err,
    /neither trusted nor that of server\.tls\.cert; .* reload` on its machine, or SIGHUP$/m,
  );
  assert.equal((await daemon.cli(["healthcheck"])).code, 0, "which sends no token");
  assert.equal((await daemon.cli(["reload"])).code, 0);
  assert.equal((await daemon.cli(["stats"])).code, 0);
});

Deno.test("a command that does not trust a daemon sends it nothing", async () => {
  await using files = await makeFiles(self_signed);
  const { path, remove } = writeConfig({
    database: { directory: "./data" },
    server: files.server,
  });
  const heard: string[] = [];
  const accepted = Promise.withResolvers<void>();
  const impostor = createTlsServer({ cert: good.cert, key: good.key }, (socket) => {
    socket.on("data", (bytes) => heard.push(String(bytes)));
    socket.on("error", () => {});
    socket.on("close", accepted.resolve);
  });
  const [host, port] = files.server.listen.split(":");
  impostor.listen(Number(port), host);
  try {
    await once(impostor, "listening");
    const { code, err } = await runHere(["stats", "--config", path]);
    assert.equal(code, 1);
    assert.match(err, /neither trusted/);
    await accepted.promise;
    assert.deepEqual(heard, []);
  } finally {
    impostor.close();
    remove();
  }
});

// Trust by the key holds only if a handshake proves it, also one whose authority is not checked.
Deno.test({
  name: "a command does not trust a certificate without its key",
  ignore: !has_openssl,
  fn: async () => {
    await using impostor = await startOpenssl(
      { cert: good.cert, key: forgedKey(good, soon) },
      () => [],
    );
    const answer = send(`https://127.0.0.1:${impostor.port}/`, {
      cert: { pem: good.cert, may_be_newer: false },
    });
    await assert.rejects(answer, /No answer from .*: unable to verify/);
  },
});

onServer("a command over TLS needs no more permissions", async (database) => {
  await using files = await makeFiles(self_signed);
  await using daemon = await startOperated({ database: database.section, server: files.server });
  const { code, err } = await runCli(["stats", "--config", daemon.path], {
    permissions: TASK_PERMISSIONS,
  });
  assert.equal(code, 0, err);
});

onServer("forward follows the stream over TLS", async (database) => {
  await using files = await makeFiles(self_signed);
  await using receiver = await startReceiver();
  await using local = await startReceiver();
  await using daemon = await startOperated({
    database: database.section,
    server: files.server,
    endpoints: [endpoint("crm", receiver.url)],
  });
  const forwarding = startCli([
    ...["forward", "--config", daemon.path, "--endpoint", "crm", "--to", local.url],
  ]);
  await forwarding.until(/crm/);
  await daemon.cli(["send", "booking.created", "--endpoint", "crm"]);
  await local.received(1);
  forwarding.kill("SIGTERM");
  await forwarding.ended;
});
