import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Secret } from "../../lib/core/secret.ts";
import { HTTP_LIMITS, type HttpServer, listen } from "../../lib/http/server.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { has_openssl } from "../support/openssl.ts";
import { dial, speak } from "../support/raw.ts";
import { testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

const { ca, good } = await testCertificates();
const GET = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
/** The first bytes of a TLS record with a ClientHello of 512 bytes. */
const HELLO = new Uint8Array([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);

interface Warning {
  readonly text: string;
  readonly fields: unknown;
}

async function withServer(
  handshake_ms: number,
  test: (server: HttpServer, warnings: readonly Warning[]) => Promise<void>,
): Promise<void> {
  const warnings: Warning[] = [];
  const log = { warn: (text: string, fields?: unknown) => void warnings.push({ text, fields }) };
  const tls = { cert: good.cert, key: new Secret(good.key) };
  const server = await listen({ host: "127.0.0.1", port: 0, tls }, makeSignals(), log, {
    ...HTTP_LIMITS,
    handshake_ms,
  });
  server.serve((_, outgoing) => void outgoing.end("ok"));
  try {
    await test(server, warnings);
  } finally {
    await server.close();
  }
}

/** Connects and sends `bytes`. */
async function begin(port: number, bytes: string | Uint8Array): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port });
  socket.on("error", () => {});
  await once(socket, "connect");
  if (bytes.length > 0) socket.write(bytes);
  socket.resume();
  return socket;
}

Deno.test("tls.handshake: a handshake that never ends is cut off, and holds up nobody", () =>
  withServer(300, async ({ port }, warnings) => {
    const sockets = await Promise.all(
      ["", HELLO, HELLO.subarray(0, 3)].map((bytes) => begin(port, bytes)),
    );
    const closed = Promise.all(sockets.map((socket) => once(socket, "close")));
    assert.deepEqual((await speak({ port, ca }, [GET])).statuses, [200]);
    await closed;
    assert.deepEqual(warnings, [], "silence is no news");
  }));

Deno.test("tls.stop: handshakes under way do not hold up the end", async () => {
  let socket: Socket | undefined;
  // Only the end can cut it off.
  await withServer(3_600_000, async ({ port }) => {
    socket = await begin(port, HELLO);
    assert.deepEqual((await speak({ port, ca }, [GET])).statuses, [200]);
  });
  if (socket?.closed === false) await once(socket, "close");
});

Deno.test("tls.plain: plain HTTP is hung up on without an answer, and logged once", () =>
  withServer(3_600_000, async ({ port }, warnings) => {
    for (let nth = 0; nth < 5; nth++) {
      await once(await begin(port, GET), "close");
    }
    await until("it is logged", () => warnings.length > 0);
    assert.deepEqual(warnings, [{
      text: "TLS handshakes failed",
      fields: {
        count: 1,
        cause: "the client does not speak TLS: its URL begins with http:, most likely",
      },
    }]);
    assert.deepEqual((await speak({ port, ca }, [GET])).statuses, [200], "it goes on");
  }));

Deno.test("tls.unread: a client that does not read its answer over TLS is disconnected", async () => {
  const tls = { cert: good.cert, key: new Secret(good.key) };
  const log = { warn() {} };
  const server = await listen({ host: "127.0.0.1", port: 0, tls }, makeSignals(), log, {
    ...HTTP_LIMITS,
    silence_ms: 500,
  });
  let gone = false;
  server.serve((_, outgoing) => {
    outgoing.on("close", () => gone = true);
    outgoing.end("x".repeat(50_000_000));
  });
  const socket = dial({ port: server.port, ca });
  socket.on("error", () => {});
  socket.write(GET);
  socket.pause();
  try {
    await until("it is hung up on", () => gone);
  } finally {
    socket.destroy();
    await server.close();
  }
});

Deno.test({
  name: "tls.old: versions below TLS 1.2 are refused, and HTTP/2 is not chosen",
  ignore: !has_openssl,
  fn: () =>
    withServer(3_600_000, async ({ port }) => {
      const shake = async (...args: string[]) => {
        const { stdout, stderr } = await new Deno.Command("openssl", {
          args: ["s_client", "-connect", `127.0.0.1:${port}`, ...args],
          stdin: "null",
        }).output();
        return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      };
      const old = ["-cipher", "ALL:@SECLEVEL=0"];
      for (const version of ["-tls1", "-tls1_1"]) {
        assert.match(
          await shake(version, ...old),
          /alert (protocol version|handshake failure)/,
          version,
        );
      }
      for (const version of ["-tls1_2", "-tls1_3"]) {
        const said = await shake(version, "-alpn", "h2,http/1.1");
        assert.match(said, /ALPN protocol: http\/1\.1/, version);
      }
    }),
});
