import assert from "node:assert/strict";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import type { AddressInfo } from "node:net";
import { type AddressRules, parseCidr } from "../../lib/core/address.ts";
import { type Examination, judgeExamination } from "../../lib/core/examination.ts";
import type { AddressOptions } from "../../lib/http/addresses.ts";
import { examineTarget, isNameOf } from "../../lib/http/examine.ts";
import { sentencesOf } from "../support/sentences.ts";
import { has_openssl, startOpenssl } from "../support/openssl.ts";
import { testCertificates } from "../support/tls.ts";
import { RULES } from "./peers.ts";

const NOW_MS = Date.now();
const certificates = await testCertificates();

/** A real server for one step; what it is sent is kept. */
async function withServer(
  server: Server,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    await use((server.address() as AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((closed) => server.close(closed));
  }
}

function tlsServer(options: TlsOptions): Server {
  return createTlsServer(options, (socket) => socket.on("error", () => {}))
    .on("tlsClientError", () => {}) as unknown as Server;
}

function plainServer(answer: (socket: Socket, bytes: Uint8Array) => void): Server {
  return createServer((socket) => socket.on("data", (bytes) => answer(socket, bytes)));
}

/** Every finding of these tests, for the last one. */
const seen: string[] = [];

function judged(found: Examination): string[] {
  const findings = judgeExamination(found, NOW_MS)
    .map(({ mark, text, remedy }) => `${mark} ${text}${remedy === null ? "" : ` → ${remedy}`}`);
  seen.push(...findings);
  return findings;
}

async function examined(
  url: string,
  tls: { ca?: string; cert?: string; key?: string } = {},
  options: Partial<AddressOptions> = {},
) {
  const lookup = () => Promise.resolve(["127.0.0.1"]);
  const found = await examineTarget({ url: new URL(url), tls }, {
    rules: () => RULES,
    lookup,
    ...options,
  });
  return judged(found);
}

Deno.test("examineTarget() names what is wrong with a certificate, and the way out", async (t) => {
  const { ca } = certificates;
  const table: [keyof typeof certificates, string | undefined, string, RegExp[]][] = [
    ["good", ca, "localhost", [/^✓ localhost:\d+ is 127\.0\.0\.1; TLS, .* in \d+ days \(2098/]],
    ["good", ca, "127.0.0.1", [/^✓ 127\.0\.0\.1:\d+; TLS/]],
    ["chained", ca, "localhost", [/^✓/]],
    ["soon", ca, "localhost", [/^! .* expires in 10 days \(.*\) → have its owner renew it before/]],
    ["expired", ca, "localhost", [/^✗ .* expired on 2025-02-01 → have its owner renew it$/]],
    ["not_yet", ca, "localhost", [
      /^✗ .* is not valid before 2099-01-01 → check this machine's clock/,
    ]],
    ["wrong_name", ca, "localhost", [/is for other\.test, not for localhost → name one of these/]],
    ["named_by_subject", ca, "localhost", [/is for other\.test, not for localhost → name one/]],
    ["wrong_name", ca, "127.0.0.1", [/is for other\.test, not for 127\.0\.0\.1/]],
    ["self_signed", undefined, "localhost", [/is self-signed → .* tls\.ca$/]],
    ["good", undefined, "localhost", [/unknown authority, "ca" → put that authority's .* tls\.ca/]],
    ["chained", undefined, "localhost", [/unknown authority, "ca" → put .* tls\.ca$/]],
    ["unchained", ca, "localhost", [
      /no intermediate .* "intermediate" is missing → .*whole chain/,
    ]],
    ["stale_chain", ca, "localhost", [/intermediate certificate "stale" expired on 2025-02-01/]],
    ["expired", ca, "else.test", [/expired on/, /is for localhost, 127\.0\.0\.1, .* not for else/]],
  ];
  for (const [name, ca, host, expected] of table) {
    await t.step(`${name}, ${ca === undefined ? "no" : "with"} ca, for ${host}`, async () => {
      const { cert, key } = certificates[name] as { cert: string; key: string };
      await withServer(tlsServer({ cert, key }), async (port) => {
        const found = await examined(`https://${host}:${port}/`, ca === undefined ? {} : { ca });
        assert.equal(found.length, expected.length, found.join("\n"));
        expected.forEach((pattern, at) => assert.match(found[at] ?? "", pattern));
      });
    });
  }
});

Deno.test("examineTarget() knows a port that speaks something else", async () => {
  const said: string[] = [];
  const http = plainServer((socket, bytes) => {
    said.push(new TextDecoder("latin1").decode(bytes));
    socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  await withServer(http, async (port) => {
    const [text = ""] = await examined(`https://localhost:${port}/`);
    assert.match(text, /^✗ .* it speaks plain HTTP there, not TLS → correct the port .* http:\/\//);
    assert.match((await examined(`http://localhost:${port}/`))[0] ?? "", /^✓ .* without TLS$/);
  });
  assert.ok(said.every((text) => !/POST|HTTP/.test(text)), "no request is sent");
  await withServer(tlsServer(certificates.good), async (port) => {
    const [text = ""] = await examined(`http://localhost:${port}/`);
    assert.match(text, /^✗ .* it speaks TLS there → write https:\/\//);
  });
  const ssh = createServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"));
  await withServer(ssh, async (port) => {
    assert.match(
      (await examined(`https://localhost:${port}/`))[0] ?? "",
      /^✗ .* speaks no TLS there: it says "SSH-2\.0-OpenSSH_9\.2.*" → correct the port/,
    );
    assert.match(
      (await examined(`http://localhost:${port}/`))[0] ?? "",
      /^✗ .* no HTTP server: it says "SSH-2\.0/,
    );
  });
  await withServer(plainServer((socket) => socket.end()), async (port) => {
    const [text = ""] = await examined(`https://localhost:${port}/`);
    assert.match(text, /^✗ .* hangs up during the TLS handshake → check that this port speaks TLS/);
    assert.match((await examined(`http://localhost:${port}/`))[0] ?? "", /^✓ .* without TLS$/);
  });
});

Deno.test("examineTarget() knows a server that never answers the handshake", async () => {
  await withServer(plainServer(() => {}), async (port) => {
    const [text = ""] = await examined(`https://localhost:${port}/`);
    assert.match(text, /^✗ .* does not answer the TLS handshake → check that this port speaks TLS/);
  });
});

Deno.test("examineTarget() knows a server that demands a client certificate", async () => {
  const { good, client, ca } = certificates;
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const server = tlsServer({
      ...good,
      ca,
      requestCert: true,
      rejectUnauthorized: true,
      maxVersion,
    });
    await withServer(server, async (port) => {
      const url = `https://localhost:${port}/`;
      assert.match(
        (await examined(url, { ca }))[0] ?? "",
        /^✗ .* client certificate.* → .*set tls\.cert and tls\.key/,
      );
      const right = await examined(url, { ca, cert: client.cert, key: client.key });
      assert.match(right[0] ?? "", /^✓/);
    });
  }
  const unreadable = { cert: "nonsense", key: "nonsense" };
  await withServer(tlsServer(good), async (port) => {
    assert.match((await examined(`https://localhost:${port}/`, unreadable))[0] ?? "", /^✗ /);
  });
});

Deno.test({
  name: "examineTarget() explains the alerts of OpenSSL (needs openssl)",
  ignore: !has_openssl,
  async fn() {
    const { good, ca, self_signed: { cert, key }, client } = certificates;
    const demands = (directory: string) => [
      ...["-Verify", "1", "-CAfile", `${directory}/ca.pem`, "-verify_return_error"],
    ];
    const table: [
      (directory: string) => readonly string[],
      { cert?: string; key?: string },
      RegExp,
    ][] = [
      [() => [], {}, /^✓/],
      [() => ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], {}, /no TLS newer than 1\.1 → .* 1\.2/],
      [() => ["-tls1_2", "-cipher", "AES128-SHA"], {}, /refuses the TLS handshake \(H.* → it may/],
      [demands, {}, /demands a client certificate → set tls\.cert and tls\.key/],
      [demands, { cert, key }, /refuses the client certificate \(UnknownCA\) → .* accept/],
      [demands, client, /^✓/],
      [
        (directory) => [...demands(directory), "-tls1_2"],
        {},
        /refuses the TLS handshake .* → it may demand a client certificate: set tls\.cert/,
      ],
      [(directory) => [...demands(directory), "-tls1_2"], client, /^✓/],
      [
        (directory) => [
          ...["-servername", "else.test", "-servername_fatal"],
          ...["-cert2", `${directory}/cert.pem`, "-key2", `${directory}/key.pem`],
        ],
        {},
        /serves no host of the name localhost → correct the host in its url/,
      ],
    ];
    for (const [args, identity, expected] of table) {
      await using server = await startOpenssl(good, args, { "ca.pem": ca });
      const tls = "cert" in identity ? { ca, cert: identity.cert, key: identity.key } : { ca };
      const [text = ""] = await examined(
        `https://localhost:${server.port}/`,
        tls as { ca: string },
      );
      assert.match(text, expected);
    }
  },
});

Deno.test("examineTarget() judges DNS and each address as a delivery does", async () => {
  const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
  const at = (...addresses: string[]) => () => Promise.resolve(addresses);
  const rules = (more: Partial<AddressRules>) => () => ({ ...RULES, ...more });
  const private_net = { allow_networks: [parseCidr("10.0.0.0/8")] };
  const https = "https://crm.test/";
  const table: [string, Partial<AddressOptions>, RegExp][] = [
    [
      https,
      { lookup: failing("ENOTFOUND") },
      /^✗ DNS has no address for crm\.test \(ENOTFOUND\) → corr/,
    ],
    [https, { lookup: at() }, /^✗ DNS has no address for crm\.test/],
    [
      https,
      { lookup: failing("EAI_AGAIN") },
      /^✗ DNS gives no answer .* → check this machine's resolver/,
    ],
    [https, { lookup: failing("ESERVFAIL") }, /^✗ DNS gives no answer/],
    [
      https,
      { lookup: at("10.0.0.7", "203.0.113.1") },
      /^✗ crm\.test: 10\.0\.0\.7 is not allowed: .* → add its network/,
    ],
    [https, { lookup: at("192.0.2.1", "8.8.8.8") }, /nothing is sent to its other 1 either/],
    [https, { lookup: at("169.254.169.254") }, /^✗ .* metadata .* → correct its url or its DNS/],
    [
      https,
      { lookup: at("127.0.0.1"), rules: rules({ allow_loopback: false }) },
      /loopback .* → put a reverse proxy/,
    ],
    [
      "http://crm.test/",
      { lookup: at("8.8.8.8"), rules: rules(private_net) },
      /plain http .* → write https/,
    ],
    ["http://8.8.8.8/", {}, /^✗ .*http.* → change its url$/],
    [
      https,
      { lookup: at("::1"), source_address: "127.0.0.1" },
      /family of delivery\.source_address 127\.0\.0\.1 → remove/,
    ],
    [
      https,
      { lookup: at("203.0.113.9"), rules: rules({ public_url: new URL(https) }) },
      /^✗ .*server\.public_url/,
    ],
  ];
  for (const [url, options, expected] of table) {
    const found = await examined(url, {}, options);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", expected);
  }
});

Deno.test("examineTarget() tries one address after the other", async () => {
  const closed = createServer();
  let free = 0;
  await withServer(closed, (port) => Promise.resolve(void (free = port)));
  assert.match(
    (await examined(`http://localhost:${free}/`))[0] ?? "",
    /^✗ .*; it refuses connections → start the receiver, or correct the port/,
  );
  await withServer(plainServer((socket) => socket.end()), async (port) => {
    const lookup = () => Promise.resolve(["127.0.0.99", "127.0.0.1"]);
    assert.match(
      (await examined(`http://two.test:${port}/`, {}, { lookup }))[0] ?? "",
      /^! .*127\.0\.0\.99:\d+ refuses connections → have its owner repair that address/,
    );
    const source_address = "203.0.113.77";
    const found = await examined(`http://localhost:${port}/`, {}, { source_address });
    assert.match(found[0] ?? "", /^✗ .* → correct delivery\.source_address/);
  });
});

Deno.test("judgeExamination() has words for networks that a test cannot make", () => {
  const base = {
    https: true,
    host: "crm.test",
    port: 443,
    refused: [],
    chain: [],
    is_for_host: true,
    client_certificate: null,
  };
  const lost = (code: string, ...addresses: string[]) => ({
    ...base,
    addresses,
    lost: addresses.map((address) => ({ address, trouble: { code, message: code } })),
  });
  const alert = (name: string) => ({
    ...base,
    addresses: ["203.0.113.7"],
    lost: [],
    reached: "203.0.113.7",
    spoken: "tls" as const,
    tls: { code: "ERR_SSL_ALERT", message: `received fatal alert: ${name}` },
  });
  const shown = {
    ...alert(""),
    chain: [{
      subject: "crm",
      issuer: "authority",
      names: [],
      valid_from: NOW_MS - 1,
      valid_to: NOW_MS + 1,
      names_issuer: true,
    }],
  };
  const client_certificate = { ...shown.chain[0]!, subject: "client" };
  const table: [Examination, RegExp][] = [
    [lost("ENETUNREACH", "2001:db8::1"), /has IPv6 addresses only → give this machine IPv6/],
    [lost("ETIMEDOUT", "203.0.113.7"), /does not answer → check .* firewall/],
    [lost("EHOSTUNREACH", "203.0.113.7", "203.0.113.8"), /203\.0\.113\.8 cannot be reached/],
    [lost("ECONNRESET", "203.0.113.7"), /resets connections → check/],
    [lost("EADDRNOTAVAIL", "203.0.113.7"), /cannot be reached from this machine's addresses/],
    [lost("EMFILE", "203.0.113.7"), /cannot be connected to: EMFILE/],
    [
      { ...shown, is_for_host: false },
      /is for no host \(its subject is "crm"\), not for crm\.test/,
    ],
    [
      { ...shown, tls: { code: "ERR_OTHER", message: "revoked" } },
      /is not trusted: revoked → have its owner correct it/,
    ],
    [
      { ...alert("HandshakeFailure"), client_certificate },
      /→ have its owner accept tls\.cert, and turn on the ciphers/,
    ],
    [alert("ProtocolVersion"), /no TLS newer than 1\.1 → have its owner turn on/],
    [alert("UnrecognisedName"), /serves no host of the name crm\.test → correct the host/],
    [alert("HandshakeFailure"), /refuses the TLS handshake .* → it may demand a client/],
    [
      { ...alert(""), tls: { code: "ECONNRESET", message: "closed" } },
      /hangs up .* → it may demand/,
    ],
    [{ ...alert(""), tls: { code: "ETIMEDOUT", message: "no answer" } }, /falls silent during/],
    [alert("InternalError"), /handshake fails: .*InternalError → check tls\.cert/],
  ];
  for (const [found, expected] of table) {
    const [finding = ""] = judged(found);
    assert.match(finding, /^✗ /);
    assert.match(finding, expected);
  }
  const DAY_MS = 86_400_000;
  for (
    const [from_days, to_days, expected] of [
      [-1, 22.5, /^✓ the client certificate "client" expires in 22 days \(/],
      [-1, 1.5, /^! .* expires in 1 day \(.*\) → put a new one into tls\.cert before that day/],
      [-2, -1, /^! .* expired on .* → put a new one into tls\.cert, and its key/],
      [1, 2, /^! .* is not valid before .* → check this machine's clock; if it is right/],
    ] as const
  ) {
    const own = {
      ...client_certificate,
      valid_from: NOW_MS + from_days * DAY_MS,
      valid_to: NOW_MS + to_days * DAY_MS,
    };
    const well = { ...shown, client_certificate: own };
    const { tls: _, ...trusted } = well;
    assert.match(judged(trusted)[1] ?? "", expected);
    // Next to a fault, only what may be its reason.
    assert.equal(
      judged({ ...alert("BadCertificate"), client_certificate: own }).length,
      to_days > 21 ? 1 : 2,
    );
  }
});

Deno.test("every finding that an examination can have was caused above", async () => {
  const source = new URL("../../lib/core/examination.ts", import.meta.url);
  const said = seen.join("\n");
  const missing = sentencesOf(await Deno.readTextFile(source))
    .filter((sentence) => !said.includes(sentence));
  assert.deepEqual(missing, []);
});

Deno.test("isNameOf() knows wildcards of one label, and no other", () => {
  const table: [name: string, host: string, expected: boolean][] = [
    ["crm.example.com", "crm.example.com", true],
    ["CRM.example.com", "crm.EXAMPLE.com", true],
    ["*.example.com", "crm.example.com", true],
    ["*.example.com", "crm.example.com.", true],
    ["*.example.com", "a.crm.example.com", false],
    ["*.example.com", "example.com", false],
    ["*.example.com", ".example.com", false],
    ["c*.example.com", "crm.example.com", false],
    ["crm.example.com", "xcrm.example.com", false],
    ["*", "localhost", false],
  ];
  for (const [name, host, expected] of table) {
    assert.equal(isNameOf(name, host), expected, `${name} ${host}`);
  }
});
