import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { parseSealKey } from "../../../lib/core/seal.ts";
import { rekey } from "../../../lib/maintenance/sealed_secrets.ts";
import { checkedApi, ENCRYPTION_KEY } from "../../support/checked.ts";
import { booking, endpoint, startDaemon } from "../../support/daemon.ts";
import { onBoth, onServer } from "../../support/databases.ts";
import { type Leaf, testCertificates } from "../../support/tls.ts";

const certificates = await testCertificates();
const { ca, client, good, soon, expired } = certificates;

/** An HTTPS server that demands a client certificate of `authority`. */
async function startDemanding(authority = ca) {
  /** The name in the client certificate of each request, and the connection's number. */
  const requests: { client: string; connection: number }[] = [];
  const connections: TLSSocket[] = [];
  const server = createServer(
    { ...good, ca: authority, requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      const socket = request.socket as TLSSocket;
      if (!connections.includes(socket)) connections.push(socket);
      requests.push({
        client: String(socket.getPeerCertificate().subject?.CN),
        connection: connections.indexOf(socket),
      });
      response.end();
    },
  ).on("tlsClientError", () => {});
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `https://localhost:${port}/`,
    requests,
    async [Symbol.asyncDispose]() {
      for (const socket of connections) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

/** Lines of the texts that must never show: those of the key. */
function linesOf({ key }: Leaf): string[] {
  return key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-"));
}

onBoth(
  "an endpoint made with tls shows its certificate to a receiver that demands one",
  async (database) => {
    await using receiver = await startDemanding();
    const sections = { database: database.section, encryption_key: ENCRYPTION_KEY };
    const shown: string[] = [];
    let id: string;
    {
      await using daemon = await startDaemon(sections);
      const api = await checkedApi(daemon);
      const { body: made } = await api.expect(201, "POST", "endpoints", {
        url: receiver.url,
        events: ["*"],
        tls: { ca: `# ours\n${ca}`, cert: client.cert, key: client.key },
      });
      id = made.id;
      const dates = {
        valid_from: "2025-01-01T00:00:00.000Z",
        valid_to: "2098-01-01T00:00:00.000Z",
      };
      assert.deepEqual(made.tls, {
        ca: [{ subject: "ca", issuer: "ca", ...dates }],
        cert: { subject: "client", issuer: "ca", ...dates },
      });
      const { body: event } = await daemon.post(booking("apt_1"));
      const { status, attempts } = await daemon.delivery(await daemon.deliveryId(event.id));
      assert.equal(status, "delivered", JSON.stringify(attempts));
      for (const path of ["endpoints", `endpoints/${id}`, "audit", "config"]) {
        shown.push(JSON.stringify((await api.expect(200, "GET", path)).body));
      }
      shown.push(JSON.stringify(made), JSON.stringify(daemon.log));
    }
    const [key, other] = [
      Deno.env.get("TEST_ENCRYPTION_KEY") ?? "",
      randomBytes(32).toString("hex"),
    ];
    Deno.env.set("TLS_TEST_KEY", other);
    {
      const db = await database.open();
      const rekeyed = await rekey(db, [other, key].map(parseSealKey));
      await db.close();
      assert.equal(rekeyed.resealed, 1);
    }
    {
      // The database alone has it, under the new key.
      await using daemon = await startDaemon({ ...sections, encryption_key: "env:TLS_TEST_KEY" });
      const { body: event } = await daemon.post(booking("apt_2"));
      const { status } = await daemon.delivery(await daemon.deliveryId(event.id));
      assert.equal(status, "delivered");
    }
    assert.deepEqual(receiver.requests.map((one) => one.client), ["client", "client"]);
    const db = await database.open();
    try {
      for (const table of ["endpoints", "endpoint_versions", "audit"]) {
        shown.push(JSON.stringify(await db.admin.unsafe(`select t::text from ${table} t`)));
      }
    } finally {
      await db.close();
    }
    for (const line of linesOf(client)) {
      const hex = Array.from(new TextEncoder().encode(line), (b) => b.toString(16)).join("");
      for (const text of shown) assert.ok(!text.includes(line) && !text.includes(hex));
    }
  },
);

onServer("PATCH of tls changes what is given, from the next connection on", async (database) => {
  await using receiver = await startDemanding();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
    delivery: { retry: ["0s"] },
  });
  const api = await checkedApi(daemon);
  const tls = { ca, cert: client.cert, key: client.key };
  const body = { url: receiver.url, events: ["*"], tls };
  const { id } = (await api.expect(201, "POST", "endpoints", body)).body;
  const patch = async (change: unknown) =>
    (await api.expect(200, "PATCH", `endpoints/${id}`, change)).body;
  const send = async () => {
    const { body: event } = await daemon.post(booking("apt_1"));
    return await daemon.delivery(await daemon.deliveryId(event.id));
  };
  await send();
  await patch({ description: "the same target" });
  await send();
  const { tls: next } = await patch({ tls: { cert: soon.cert, key: soon.key } });
  assert.equal(next.cert.subject, "soon");
  assert.equal(next.ca[0].subject, "ca");
  await send();
  assert.deepEqual(receiver.requests, [
    { client: "client", connection: 0 },
    { client: "client", connection: 0 },
    { client: "soon", connection: 1 },
  ]);

  await api.expect(200, "POST", `endpoints/${id}/rotate`);
  assert.equal((await send()).status, "delivered");
  assert.deepEqual((await patch({ tls: { ca: null } })).tls.ca, []);
  const distrusted = await send();
  assert.equal(distrusted.attempts[0].outcome, "tls", JSON.stringify(distrusted.attempts));
  assert.equal((await patch({ tls: { ca, cert: null, key: null } })).tls.cert, null);
  const refused = await send();
  assert.notEqual(refused.status, "delivered");
  assert.match(refused.attempts[0].advice, /client certificate/);
  assert.equal((await patch({ tls: null })).tls, null);
  assert.equal(receiver.requests.length, 4);

  const { body: audit } = await api.expect(200, "GET", `audit?object=${id}`);
  const removed = audit.data[0];
  assert.equal(removed.after.tls, "changed");
  assert.equal(removed.before.settings.tls.ca[0].subject, "ca");
  assert.equal(removed.after.settings.tls, null);
});

onServer(
  "the API names each mistake in tls by its place, and none of the key",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [
        endpoint("file", "https://localhost:9/", {
          tls: { ca: `file:${certificates.files.ca}` },
        }),
      ],
    });
    const api = await checkedApi(daemon);
    const https = { url: "https://localhost:9/", events: ["*"] };
    const http = { ...https, url: "http://localhost:9/" };
    const table: [body: unknown, pointer: string, message: RegExp][] = [
      [{ ...https, tls: "pem" }, "/tls", /Must be an object/],
      [{ ...https, tls: { pem: ca } }, "/tls/pem", /There is no member "pem"/],
      [{ ...https, tls: { ca: 1 } }, "/tls/ca", /Must be a string/],
      [{ ...https, tls: { ca: "x".repeat(65_537) } }, "/tls/ca", /at most 65536 characters/],
      [{ ...https, tls: { ca: `file:${certificates.files.ca}` } }, "/tls/ca", /Must be PEM/],
      [{ ...https, tls: { cert: client.cert } }, "/tls", /cert and key together/],
      [
        { ...https, tls: { cert: client.cert, key: good.key } },
        "/tls/key",
        /not the key of the first/,
      ],
      [
        { ...https, tls: { cert: expired.cert, key: expired.key } },
        "/tls/cert",
        /^Expired at 2025/,
      ],
      [{ ...http, tls: { ca } }, "/tls", /no meaning for an http: URL/],
    ];
    for (const [body, pointer, message] of table) {
      const { body: answer } = await api.expect(422, "POST", "endpoints", body);
      const [mistake, ...others] = answer.errors;
      assert.deepEqual(others, []);
      assert.equal(mistake.pointer, pointer);
      assert.match(mistake.message, message);
      for (const leaf of [client, good]) {
        for (const line of linesOf(leaf)) assert.ok(!JSON.stringify(answer).includes(line));
      }
    }
    assert.equal(
      (await api.expect(201, "POST", "endpoints", { ...https, tls: null })).body.tls,
      null,
    );
    const tls = { ca, cert: client.cert, key: client.key };
    const { id } = (await api.expect(201, "POST", "endpoints", { ...https, tls })).body;
    const refused = async (patch: unknown) =>
      (await api.expect(422, "PATCH", `endpoints/${id}`, patch)).body.errors[0];
    assert.equal((await refused({ url: http.url })).pointer, "/tls");
    assert.equal((await refused({ tls: { key: null } })).pointer, "/tls");
    assert.equal((await refused({ tls: { key: good.key } })).pointer, "/tls/key");
    await api.expect(200, "PATCH", `endpoints/${id}`, { url: http.url, tls: null });
    // Those of the file are shown too, and changed there.
    const { body: file } = await api.expect(200, "GET", "endpoints/file");
    assert.deepEqual(file.tls.ca.map(({ subject }: { subject: string }) => subject), ["ca"]);
    await api.expect(409, "PATCH", "endpoints/file", { tls: null });
  },
);

onServer("POST /api/endpoints/:id/check counts the client certificate's days", async (database) => {
  await using receiver = await startDemanding();
  await using daemon = await startDaemon({
    database: database.section,
    encryption_key: ENCRYPTION_KEY,
  });
  const api = await checkedApi(daemon);
  const tls = { ca, cert: soon.cert, key: soon.key };
  const body = { url: receiver.url, events: ["*"], tls };
  const { id } = (await api.expect(201, "POST", "endpoints", body)).body;
  const { body: late } = await api.expect(200, "POST", `endpoints/${id}/check`);
  assert.equal(late.ok, true);
  assert.deepEqual(late.findings.map(({ mark }: { mark: string }) => mark), ["✓", "!"]);
  assert.match(late.findings[1].text, /^the client certificate "soon" expires in 10 days \(/);
  assert.match(late.findings[1].remedy, /tls\.cert before that day/);
  assert.equal(late.client_certificate.days_left, 10);
  assert.equal(late.certificate.subject, "good");
  await api.expect(200, "PATCH", `endpoints/${id}`, { tls: { cert: null, key: null } });
  const { body: without } = await api.expect(200, "POST", `endpoints/${id}/check`);
  assert.equal(without.ok, false);
  assert.equal(without.client_certificate, null);
  assert.match(without.findings[0].text, /client certificate/);
  assert.deepEqual(receiver.requests, [], "no request is sent");
});
