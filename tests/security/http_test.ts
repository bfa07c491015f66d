import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { Secret } from "../../lib/core/secret.ts";
import { HTTP_LIMITS, type HttpLimits, listen } from "../../lib/http/server.ts";
import type { ServerTls } from "../../lib/http/server_tls.ts";
import { makeSignals } from "../../lib/observe/signals.ts";
import { countRefusals } from "../support/refusals.ts";
import { dial, END, type Part, type Place, speak, type Spoken } from "../support/raw.ts";
import { testCertificates } from "../support/tls.ts";
import { until } from "../support/wait.ts";

const QUIET = { warn() {} };
const POST = "POST /ingest HTTP/1.1\r\nHost: x\r\n";
const GET = "GET /a HTTP/1.1\r\nHost: x\r\n";
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;

interface Seen {
  readonly path: string;
  readonly body: string;
}

type WithServer = (
  limits: Partial<HttpLimits>,
  test: (
    port: Place,
    seen: Seen[],
    refusals: Record<string, number>,
    gate: { hold(): PromiseWithResolvers<void> },
  ) => Promise<void>,
) => Promise<void>;

const { ca, good } = await testCertificates();
const TLS = { cert: good.cert, key: new Secret(good.key) };

/** Registers a test for a plain server and one for a server with TLS. */
function onWires(id: string, run: (withServer: WithServer) => Promise<void>): void {
  Deno.test(id, () => run((limits, test) => serveSeen(null, limits, test)));
  Deno.test(`${id} (TLS)`, () => run((limits, test) => serveSeen(TLS, limits, test)));
}

/** A server that records what reaches the program. */
async function serveSeen(
  tls: ServerTls | null,
  ...[limits, test]: Parameters<WithServer>
): Promise<void> {
  const signals = makeSignals();
  const server = await listen({ host: "127.0.0.1", port: 0, tls }, signals, QUIET, {
    ...HTTP_LIMITS,
    ...limits,
  });
  const seen: Seen[] = [];
  let held: PromiseWithResolvers<void> | undefined;
  const gate = { hold: () => held = Promise.withResolvers<void>() };
  const app = new Hono();
  app.onError((_, c) => c.text("cut off", 500)); // a body that was cut off
  app.all("*", async (c) => {
    const body = c.req.method === "GET" ? "" : await c.req.text();
    seen.push({ path: c.req.path, body });
    if (c.req.method === "POST") await held?.promise;
    return c.text("ok");
  });
  server.serve(getRequestListener(app.fetch, { autoCleanupIncoming: false }));
  try {
    const place = tls === null ? server.port : { port: server.port, ca };
    await test(place, seen, countRefusals(signals, "http"), gate);
  } finally {
    await server.close();
  }
}

/** Every post is answered at once, its body unread. */
async function withHasty(test: (port: number) => Promise<void>): Promise<void> {
  // Nothing but the early answer may close a connection.
  const limits = { ...HTTP_LIMITS, headers_ms: 600_000, request_ms: 600_000 };
  const options = { host: "127.0.0.1", port: 0, tls: null };
  const server = await listen(options, makeSignals(), QUIET, limits);
  server.serve((_, outgoing) => void outgoing.end("no"));
  try {
    await test(server.port);
  } finally {
    await server.close();
  }
}

const UNSENT = `${POST}Content-Length: 100\r\n\r\n{`;

Deno.test("http.hasty: after an early answer whoever sends the rest may go on, and nobody else", async () => {
  await withHasty(async (port) => {
    const { statuses } = await speak(port, [UNSENT, "x".repeat(99) + `${GET}\r\n`], 2);
    assert.deepEqual(statuses, [200, 200]);
    for (const parts of [UNSENT, `${CHUNKED}5\r\nx`]) {
      const { statuses, closed } = await speak(port, [parts], Infinity);
      assert.deepEqual(statuses, [200]);
      assert.ok(closed);
    }
  });
});

/** Each is refused with that status, the connection is closed, and nothing reaches the program. */
function refuses(
  id: string,
  status: number,
  attacks: Readonly<Record<string, string>>,
  answer?: RegExp,
) {
  onWires(id, (withServer) =>
    withServer({}, async (port, seen) => {
      for (const [name, bytes] of Object.entries(attacks)) {
        const spoken = await speak(port, [bytes], Infinity);
        assert.deepEqual(spoken.statuses, [status], `${name}: ${spoken.text}`);
        assert.ok(spoken.closed, name);
        if (answer !== undefined) assert.match(spoken.text, answer, name);
      }
      assert.deepEqual(seen, []);
      assert.deepEqual((await speak(port, [`${GET}\r\n`])).statuses, [200], "it goes on");
    }));
}

refuses("http.framing: a request whose length is in doubt is refused", 400, {
  "both lengths": `${POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "both, the other way": `${POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
  "two lengths": `${POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} `,
  "the same twice": `${POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`,
  "a list": `${POST}Content-Length: 2, 2\r\n\r\n{}`,
  "a plus": `${POST}Content-Length: +2\r\n\r\n{}`,
  "a minus": `${POST}Content-Length: -2\r\n\r\n{}`,
  "hexadecimal": `${POST}Content-Length: 0x2\r\n\r\n{}`,
  "a space within": `${POST}Content-Length: 2 2\r\n\r\n{}`,
  "a vertical tab": `${POST}Content-Length:\v2\r\n\r\n{}`,
  "no number": `${POST}Content-Length:\r\n\r\n{}`,
  "beyond 64 bits": `${POST}Content-Length: ${"9".repeat(23)}\r\n\r\n{}`,
  "a space before the colon": `${POST}Content-Length : 2\r\n\r\n{}`,
  "xchunked": `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
  "gzip, chunked": `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "chunked, identity": `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
  "identity": `${POST}Transfer-Encoding: identity\r\n\r\n{}`,
  "quoted": `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`,
  "chunked twice":
    `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a space before TE's colon": `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
  "chunked in HTTP/1.0":
    "POST /ingest HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
});

refuses("http.chunks: a malformed chunk ends the request and the connection", 400, {
  "a plus": `${CHUNKED}+2\r\n{}\r\n0\r\n\r\n`,
  "0x": `${CHUNKED}0x2\r\n{}\r\n0\r\n\r\n`,
  "beyond 64 bits": `${CHUNKED}${"f".repeat(20)}\r\n{}\r\n0\r\n\r\n`,
  "no number": `${CHUNKED}\r\n{}\r\n0\r\n\r\n`,
  "bare line feeds": `${CHUNKED}2\n{}\n0\n\n`,
  "a line feed in an extension": `${CHUNKED}2;a\nb\r\n{}\r\n0\r\n\r\n`,
  "more than its size": `${CHUNKED}2\r\n{}x\r\n0\r\n\r\n`,
  "a length in the trailer": `${CHUNKED}2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n`,
});

refuses("http.fields: a malformed header field is refused", 400, {
  "folded": `${POST}X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}`,
  "folded at first": "POST /ingest HTTP/1.1\r\n Host: x\r\nContent-Length: 2\r\n\r\n{}",
  "folded length": `${POST}Content-Length: 1\r\n 2\r\n\r\n{}`,
  "NUL in a value": `${POST}X-A: a\0b\r\nContent-Length: 2\r\n\r\n{}`,
  "NUL in a name": `${POST}X-\0A: a\r\nContent-Length: 2\r\n\r\n{}`,
  "a control character": `${POST}X-A: a\x01b\r\nContent-Length: 2\r\n\r\n{}`,
  "a bare carriage return": `${POST}X-A: a\rb\r\nContent-Length: 2\r\n\r\n{}`,
  "bare line feeds": "POST /ingest HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
  "one bare line feed": `${POST}X-A: a\nX-B: b\r\nContent-Length: 2\r\n\r\n{}`,
  "a bare line feed at the end": `${POST}Content-Length: 2\r\n\n{}`,
  "a space before the colon": `${POST}X-A : a\r\nContent-Length: 2\r\n\r\n{}`,
  "no colon": `${POST}nonsense\r\nContent-Length: 2\r\n\r\n{}`,
  "no name": `${POST}: a\r\nContent-Length: 2\r\n\r\n{}`,
  "a name beyond ASCII": `${POST}X-\xe9: a\r\nContent-Length: 2\r\n\r\n{}`,
  "a name with brackets": `${POST}X(A): a\r\nContent-Length: 2\r\n\r\n{}`,
  "no Host": "GET /a HTTP/1.1\r\n\r\n",
  "two Hosts": `${GET}Host: y\r\n\r\n`,
});

refuses("http.target: what is no path of ours is refused", 400, {
  "absolute": "POST http://other/ingest HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
  "asterisk": "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
  "a control character": "GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
  "NUL": "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
  "a space": "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
  "raw UTF-8": "GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
  "tabs": "GET\t/a\tHTTP/1.1\r\nHost: x\r\n\r\n",
  "a method in lower case": "get /a HTTP/1.1\r\nHost: x\r\n\r\n",
  "a method that is none": "FOO /a HTTP/1.1\r\nHost: x\r\n\r\n",
});

refuses("http.version: nothing but HTTP/1.1 and 1.0 is spoken", 400, {
  "0.9": "GET /a\r\n\r\n",
  "1.2": "GET /a HTTP/1.2\r\nHost: x\r\n\r\n",
  "2.0": "GET /a HTTP/2.0\r\nHost: x\r\n\r\n",
  "none": "GET /a HTTP/x\r\nHost: x\r\n\r\n",
  "HTTP/2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
  "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  "h2c":
    `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
  "h2c with a body": `${POST}Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n{}`,
  "websocket":
    `${GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n`,
});

refuses("http.head: a head over 16 KiB or 100 fields is refused", 431, {
  "a long value": `${GET}X: ${"a".repeat(20_000)}\r\n\r\n`,
  "a long name": `${GET}${"a".repeat(20_000)}: x\r\n\r\n`,
  "a long target": `GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
  "101 fields": `${GET}${"X: a\r\n".repeat(100)}\r\n`,
  "a thousand fields": `${GET}${"X: a\r\n".repeat(1000)}\r\n`,
  "an endless trailer": `${CHUNKED}0\r\n${"X-A: aaaaaaaaaaaaaaaa\r\n".repeat(3000)}\r\n`,
});

onWires("http.tunnel: CONNECT is hung up on", (withServer) =>
  withServer({}, async (port, seen) => {
    const spoken = await speak(port, ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"], Infinity);
    assert.ok(spoken.closed && spoken.statuses.every((status) => status >= 400), spoken.text);
    assert.deepEqual(seen, []);
  }));

onWires(
  "http.smuggled: no body is ever read as the next request",
  (withServer) =>
    withServer({}, async (port, seen) => {
      const inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
      const length = `Content-Length: ${inner.length}\r\n\r\n${inner}`;
      const attacks: Record<string, [text: string, answers: number]> = {
        "a GET with a body": [`${GET}${length}${GET}\r\n`, 2],
        "a body that is a request": [`${POST}${length}${GET}\r\n`, 2],
        "chunks that are one": [
          `${CHUNKED}${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n${GET}\r\n`,
          2,
        ],
        "behind a refused one": [`${POST}Upgrade: h2c\r\n${length}${GET}\r\n`, Infinity],
        "behind both lengths": [
          `${POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`,
          Infinity,
        ],
      };
      for (const [name, [text, answers]] of Object.entries(attacks)) {
        const { statuses } = await speak(port, [text], answers);
        assert.deepEqual(statuses, answers === 2 ? [200, 200] : [400], name);
      }
      assert.deepEqual(seen.filter(({ path }) => path === "/smuggled"), []);
    }),
);

const GOOD = `${POST}Content-Length: 2\r\n\r\n{}`;

refuses("http.after: nothing after a refused request in the same write is begun", 400, {
  "two Hosts": `${POST}Host: y\r\nContent-Length: 2\r\n\r\n{}${GOOD}`,
  "no Host": `POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}${GOOD}`,
  "an upgrade": `${POST}Upgrade: h2c\r\nContent-Length: 2\r\n\r\n{}${GOOD}`,
  "an absolute target": `GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n${GOOD}`,
  "an asterisk": `OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n${GOOD}${GOOD}`,
  "a tunnel": `CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n${GOOD}`,
  "the same length twice": `${POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}${GOOD}`,
  "both lengths": `${POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${GOOD}`,
  "chunked in HTTP/1.0":
    `POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n${GOOD}`,
  "a malformed chunk": `${CHUNKED}zz\r\n${GOOD}`,
  "a folded field": `${POST}X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}${GOOD}`,
  "HTTP/1.2": `GET /a HTTP/1.2\r\nHost: x\r\n\r\n${GOOD}`,
});

onWires(
  "http.before: good requests before a mistake are answered, then the connection closes",
  (withServer) =>
    withServer({}, async (port, seen) => {
      const mistakes: Record<string, [string, ...(typeof END)[]]> = {
        "garbage": ["garbage\r\n\r\n"],
        "much garbage": ["\0".repeat(200_000)],
        "a tunnel": ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"],
        "half a body": [`${POST}Content-Length: 5\r\n\r\n{}`, END],
        "a malformed chunk": [`${CHUNKED}zz\r\n${GOOD}`],
        "both lengths": [`${POST}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
        "a folded field": [`${POST}X-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}`],
        "TLS": ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        "the end": ["", END],
      };
      for (const [name, [first = "", ...parts]] of Object.entries(mistakes)) {
        for (const good of [GOOD, GOOD + GOOD]) {
          const spoken = await speak(port, [good + first, ...parts], Infinity);
          const expected = Array(good.length / GOOD.length).fill(200);
          assert.deepEqual(spoken.statuses, expected, `${name}: ${spoken.text}`);
          assert.ok(spoken.closed, name);
          assert.equal(seen.splice(0).length, expected.length, `${name}: all it ran is answered`);
        }
      }
    }),
);

onWires(
  "http.closing: nothing after Connection: close or HTTP/1.0 is begun",
  (withServer) =>
    withServer({}, async (port, seen) => {
      for (
        const first of [
          `${POST}Connection: close\r\nContent-Length: 2\r\n\r\n{}`,
          "POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        ]
      ) {
        const spoken = await speak(port, [first + GOOD], Infinity);
        assert.deepEqual(spoken.statuses, [200], spoken.text);
        assert.equal(seen.splice(0).length, 1);
      }
    }),
);

onWires(
  "http.turns: a request begins once the one before is answered",
  (withServer) =>
    withServer({}, async (port, seen, _, gate) => {
      const turn = gate.hold();
      const asked = speak(port, [GOOD.repeat(3)], 3);
      await until("the first has begun", () => seen.length > 0);
      assert.deepEqual((await speak(port, [`GET /b HTTP/1.1\r\nHost: x\r\n\r\n`])).statuses, [200]);
      assert.equal(seen.filter(({ path }) => path === "/ingest").length, 1);
      turn.resolve();
      assert.deepEqual((await asked).statuses, [200, 200, 200]);
      assert.equal(seen.length, 4);
    }),
);

const LONG = "a".repeat(17_000);
const ENDLESS = "a".repeat(2_000_000);

refuses("http.endless: chunk sizes, extensions and trailers are cut off at 16 KiB", 431, {
  "a short trailer of many fields": `${CHUNKED}2\r\n{}\r\n0\r\n${"X-A: a\r\n".repeat(2_060)}\r\n`,
  "an extension": `${CHUNKED}2;${LONG}\r\n{}\r\n0\r\n\r\n`,
  "a quoted extension": `${CHUNKED}2;a="${LONG}"\r\n{}\r\n0\r\n\r\n`,
  "an extension of the second chunk": `${CHUNKED}1\r\n{\r\n1;${LONG}\r\n}\r\n0\r\n\r\n`,
  "an extension of the last chunk": `${CHUNKED}2\r\n{}\r\n0;${LONG}\r\n\r\n`,
  "zeros": `${CHUNKED}${"0".repeat(17_000)}2\r\n{}\r\n0\r\n\r\n`,
  "zeros at the end": `${CHUNKED}2\r\n{}\r\n${"0".repeat(17_000)}\r\n\r\n`,
  "a trailer of many fields": `${CHUNKED}2\r\n{}\r\n0\r\n${"X-A: a\r\n".repeat(2_500)}\r\n`,
  "a trailer of one field": `${CHUNKED}2\r\n{}\r\n0\r\nX-A: ${LONG}\r\n\r\n`,
  "an extension without end": `${CHUNKED}2;${ENDLESS}`,
  "zeros without end": `${CHUNKED}${"0".repeat(2_000_000)}`,
  "a trailer without end": `${CHUNKED}2\r\n{}\r\n0\r\nX-A: ${ENDLESS}`,
});

onWires(
  "http.chunked: many chunks with extensions below the limit are one body",
  (withServer) =>
    withServer({}, async (port, seen) => {
      const chunks = `1;${"a".repeat(15_000)}\r\n{\r\n`.repeat(20) + "1\r\n}\r\n".repeat(20_000);
      const spoken = await speak(port, [`${CHUNKED}${chunks}0\r\nX-A: b\r\n\r\n${GOOD}`], 2);
      assert.deepEqual(spoken.statuses, [200, 200]);
      assert.deepEqual(seen.map(({ body }) => body), ["{".repeat(20) + "}".repeat(20_000), "{}"]);
    }),
);

onWires(
  "http.pipelined: requests in one piece are answered one by one, in order",
  (withServer) =>
    withServer({}, async (port, seen) => {
      const text = Array.from(
        { length: 500 },
        (_, nth) => `GET /${nth} HTTP/1.1\r\nHost: x\r\n\r\n`,
      );
      const { statuses } = await speak(port, [text.join("")], 500);
      assert.deepEqual(statuses, Array(500).fill(200));
      assert.deepEqual(seen.map(({ path }) => path), text.map((_, nth) => `/${nth}`));
    }),
);

onWires(
  "http.expect: 100-continue is answered, other expectations are not met",
  (withServer) =>
    withServer({}, async (port, seen) => {
      const asked = await speak(port, [
        `${POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`,
        50,
        "{}",
      ]);
      assert.match(asked.text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200/);
      assert.deepEqual(seen, [{ path: "/ingest", body: "{}" }]);
      const odd = await speak(port, [`${POST}Expect: banana\r\nContent-Length: 2\r\n\r\n{}`]);
      assert.deepEqual(odd.statuses, [417]);
      assert.equal(seen.length, 1);
    }),
);

const SHORT = { headers_ms: 600, request_ms: 900, keep_alive_ms: 500, check_ms: 50 };

/** Sends `text` a byte at a time, for longer than any limit. */
function drip(text: string): Part[] {
  return [...text].flatMap((char) => [char, 40]);
}

onWires(
  "http.slow: slow heads, slow bodies and silence are answered 408 in time",
  (withServer) =>
    withServer(SHORT, async (port, seen) => {
      const attacks: Record<string, Part[]> = {
        "silence": [],
        "a slow request line": drip(`GET /${"a".repeat(100)} HTTP/1.1\r\n`),
        "a slow head": [GET, ...drip("X-A: aaaaaaaaaaa\r\n".repeat(8))],
        "half a head": [GET],
        "a slow body": [`${POST}Content-Length: 200\r\n\r\n`, ...drip("a".repeat(200))],
        "half a body": [`${POST}Content-Length: 200\r\n\r\nabc`],
        "slow chunks": [CHUNKED, ...drip("1\r\na\r\n".repeat(30))],
      };
      const spoken = await Promise.all(
        Object.values(attacks).map((parts) => speak(port, parts, Infinity)),
      );
      for (const [nth, name] of Object.keys(attacks).entries()) {
        assert.deepEqual(spoken[nth]?.statuses, [408], name);
        assert.ok(spoken[nth]?.closed, name);
      }
      assert.deepEqual(seen, []);
    }),
);

onWires(
  "http.idle: a connection without a request is closed",
  (withServer) =>
    withServer(SHORT, async (port) => {
      const spoken = await speak(port, [`${GET}\r\n`], Infinity);
      assert.deepEqual(spoken.statuses, [200]);
      assert.ok(spoken.closed);
    }),
);

Deno.test("http.unread: a client that does not read its answer is disconnected", async () => {
  const server = await listen({ host: "127.0.0.1", port: 0, tls: null }, makeSignals(), QUIET, {
    ...HTTP_LIMITS,
    silence_ms: 500,
  });
  let gone = false;
  server.serve((_, outgoing) => {
    outgoing.on("close", () => gone = true);
    outgoing.end("x".repeat(50_000_000));
  });
  const socket = connect({ host: "127.0.0.1", port: server.port });
  socket.on("error", () => {});
  socket.write(`${GET}\r\n`);
  socket.pause();
  try {
    await until("it is hung up on", () => gone);
  } finally {
    socket.destroy();
    await server.close();
  }
});

onWires(
  "http.connections: connections above the limit are closed, and later ones accepted",
  (withServer) =>
    withServer({ connections: 8 }, async (port) => {
      const sockets = await Promise.all(Array.from({ length: 8 }, async () => {
        const socket = dial(port);
        await once(socket, typeof port === "number" ? "connect" : "secureConnect");
        return socket;
      }));
      await until("the ninth is hung up on", async () => {
        const { statuses, closed } = await speak(port, [`${GET}\r\n`]);
        return closed && statuses.length === 0;
      });
      for (const socket of sockets) socket.destroy();
      await until("there is room again", async () => {
        const { statuses } = await speak(port, [`${GET}\r\n`]);
        return statuses[0] === 200;
      });
    }),
);

Deno.test("http.descriptors: a server that had no descriptors left takes connections again", () =>
  starve(null));

Deno.test("http.descriptors (TLS): so does one with TLS", () => starve(TLS));

async function starve(tls: ServerTls | null): Promise<void> {
  const pem = tls === null ? null : { cert: tls.cert, key: tls.key.reveal() };
  const script = `
      import { HTTP_LIMITS, listen } from "./lib/http/server.ts";
      import { makeSignals } from "./lib/observe/signals.ts";
      import { Secret } from "./lib/core/secret.ts";
      const pem = ${JSON.stringify(pem)};
      const tls = pem === null ? null : { cert: pem.cert, key: new Secret(pem.key) };
      // As a daemon does: Deno 2.9 needs a descriptor for its first signal listener, or panics.
      Deno.addSignalListener("SIGHUP", () => {});
      const log = { warn: (text) => console.log(text) };
      const limits = { ...HTTP_LIMITS, handshake_ms: 500, watch_ms: 200 };
      const server = await listen({ host: "127.0.0.1", port: 0, tls }, makeSignals(), log, limits);
      server.serve((_, outgoing) => outgoing.end("ok"));
      console.log(server.port);`;
  const { pathname: cwd } = new URL("../..", import.meta.url);
  const run = `ulimit -n 64; exec "${Deno.execPath()}" eval --ext=ts "$0"`;
  const child = new Deno.Command("sh", {
    args: ["-c", run, script],
    cwd,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const crowd: Socket[] = [];
  try {
    const port = Number((await lines.read()).value);
    for (let i = 0; i < 100; i++) crowd.push(await open(port)); // the kernel accepts them all
    crowd.splice(0).forEach((socket) => socket.destroy());
    assert.match((await lines.read()).value ?? "", /was reopened/);
    // Perhaps not the first, which may have reached the old socket.
    await until("it answers", async () => {
      const place = tls === null ? port : { port, ca };
      const { statuses } = await speak(place, [`${GET}\r\n`]);
      return statuses[0] === 200;
    });
  } finally {
    crowd.forEach((socket) => socket.destroy());
    await lines.cancel();
    child.kill("SIGKILL");
    await child.status;
  }
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => resolve(socket)).once("error", reject);
  });
}

onWires(
  "http.counted: refused shapes are counted by their mistake, and answered as a problem",
  (withServer) =>
    withServer({}, async (port, _, refusals) => {
      const spoken: Spoken = await speak(port, [`${GET}Upgrade: h2c\r\n\r\n`]);
      assert.match(spoken.text, /\r\ncontent-type: application\/problem\+json\r\n/i);
      const { code, detail } = JSON.parse(spoken.body);
      assert.equal(code, "malformed");
      assert.match(detail, /HTTP\/1\.1/);
      await speak(port, [`${GET}Host: y\r\n\r\n`]);
      await speak(port, [`${GET}Host: y\r\n\r\n`]);
      assert.deepEqual(refusals, { upgrade: 1, host: 2 });
    }),
);
