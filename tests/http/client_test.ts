import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import fc from "fast-check";
import { type AddressRules, parseCidr } from "../../lib/core/address.ts";
import {
  type Exchange,
  type HttpClient,
  type HttpClientOptions,
  makeHttpClient,
  type PostRequest,
  type Target,
} from "../../lib/http/client.ts";
import {
  endResponse,
  MAX_BODY_BYTES,
  MAX_HEAD_BYTES,
  newResponse,
  quote,
  readResponse,
  takeBody,
} from "../../lib/http/response_parser.ts";
import { type Leaf, type TestCertificates, testCertificates } from "../support/tls.ts";

const RULES: AddressRules = { allow_loopback: true, allow_networks: [], own_listener: [] };
const DENO_2_6 = Deno.version.deno.startsWith("2.6.");
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// ---- A receiver that plays whatever bytes it is told

interface Receiver {
  readonly port: number;
  /** Raw requests, in the order in which they were complete. */
  readonly requests: string[];
  readonly connections: number;
  readonly open: number;
  readonly peers: string[];
  close(): Promise<void>;
}

type Play = (socket: Socket, nth: number) => void;

/** Calls `play` when a request is complete: with the connection, and the request's number from 1. */
async function receiver(play: Play, host = "127.0.0.1"): Promise<Receiver> {
  const requests: string[] = [];
  const peers: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections++;
    peers.push(socket.remoteAddress ?? "");
    sockets.add(socket);
    let got = "";
    socket.on("data", (bytes: Buffer) => {
      got += bytes.toString("latin1");
      const request = wholeRequest(got);
      if (request === undefined) return;
      got = got.slice(request.length);
      requests.push(request);
      play(socket, requests.length);
    });
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, host, listening));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    peers,
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close(); // whose callback Deno 2.6 does not always call
      await until(() => sockets.size === 0 && !server.listening);
    },
  };
}

function wholeRequest(got: string): string | undefined {
  const end = got.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const length = Number(/content-length: (\d+)/i.exec(got.slice(0, end))?.[1] ?? 0);
  return got.length < end + 4 + length ? undefined : got.slice(0, end + 4 + length);
}

async function until(holds: () => boolean, within_ms = 10_000): Promise<void> {
  const end_ms = performance.now() + within_ms;
  while (!holds()) {
    assert.ok(performance.now() < end_ms, `never: ${holds}`);
    await sleep(5);
  }
}

function sleep(wait_ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, wait_ms));
}

/** Runs `use` with a client that is closed afterwards, and waits until nothing of it is open. */
async function withClient(
  use: (client: HttpClient) => Promise<void>,
  options: Partial<HttpClientOptions> = {},
): Promise<void> {
  const client = makeHttpClient({ rules: () => RULES, ...options });
  try {
    await use(client);
  } finally {
    client.close();
    await until(() => client.open_connections === 0);
  }
}

async function withReceiver(
  play: Play,
  use: (receiver: Receiver, client: HttpClient) => Promise<void>,
  options: Partial<HttpClientOptions> = {},
): Promise<void> {
  const server = await receiver(play);
  try {
    await withClient((client) => use(server, client), options);
  } finally {
    await server.close();
  }
}

function to(port: number, host = "127.0.0.1", scheme = "http"): Target {
  return { url: new URL(`${scheme}://${host}:${port}/hook?a=1`) };
}

function request(more: Partial<PostRequest> = {}): PostRequest {
  return { headers: "X-Test: 1\r\n", body: "{}", timeout_ms: 10_000, ...more };
}

function answered(exchange: Exchange): Extract<Exchange, { answered: true }> {
  assert.ok(exchange.answered, JSON.stringify(exchange));
  return exchange;
}

function failed(
  exchange: Exchange,
  reason: string,
  cause: RegExp,
): Extract<Exchange, { answered: false }> {
  assert.ok(!exchange.answered, `answered: ${JSON.stringify(exchange)}`);
  assert.equal(exchange.reason, reason, exchange.cause);
  assert.match(exchange.cause, cause);
  assert.ok(exchange.cause.length <= 200);
  // deno-lint-ignore no-control-regex -- control characters are what must not be there
  assert.doesNotMatch(exchange.cause, /[\x00-\x1f]/);
  return exchange;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

// ---- The request

Deno.test("post() sends one exact request and answers what came", async () => {
  await withReceiver(
    (socket) =>
      socket.write(
        "HTTP/1.1 201 Made\r\nX-A: b\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nok",
      ),
    async (server, client) => {
      const body = "\0\r\n\u00c3\u4e2d\u{1f4c5}";
      const exchange = answered(await client.post(to(server.port), request({ body })));
      assert.deepEqual(server.requests, [
        `POST /hook?a=1 HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nX-Test: 1\r\n` +
        `Content-Length: 12\r\n\r\n${text(new TextEncoder().encode(body))}`,
      ]);
      const { duration_ms, ...rest } = exchange;
      assert.deepEqual(rest, {
        answered: true,
        status: 201,
        head: "HTTP/1.1 201 Made\r\nX-A: b\r\nRetry-After: 7\r\nContent-Length: 2",
        retry_after: "7",
        body: new TextEncoder().encode("ok"),
        truncated: false,
        address: `127.0.0.1:${server.port}`,
      });
      assert.ok(duration_ms > 0 && duration_ms < 10_000);
    },
  );
});

Deno.test("post() writes header text as UTF-8, so that no character becomes a line break", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const headers = "X-Name: caf\u00e9 \u010a\r\n";
    answered(await client.post(to(server.port), request({ headers })));
    const sent = Buffer.from(server.requests[0] ?? "", "latin1").toString("utf8");
    assert.ok(sent.includes("X-Name: café Ċ\r\nContent-Length: 2\r\n\r\n{}"), sent);
  });
});

Deno.test("post() gets a large body through to a slow reader", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const body = "x".repeat(8 * 1024 * 1024);
    answered(await client.post(to(server.port), request({ body, timeout_ms: 30_000 })));
    assert.equal(
      server.requests[0]?.length,
      body.length + server.requests[0]!.indexOf("x".repeat(9)),
    );
  });
});

Deno.test("post() follows no redirect and inflates nothing", async () => {
  const packed = "\x1f\x8b\x08\x00";
  await withReceiver(
    (socket) =>
      socket.write(Buffer.from(
        `HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n${packed}`,
        "latin1",
      )),
    async (server, client) => {
      const exchange = answered(await client.post(to(server.port), request()));
      assert.equal(exchange.status, 302);
      assert.equal(text(exchange.body), packed);
      assert.equal(server.requests.length, 1);
    },
  );
});

// ---- Responses, played over a socket

interface Played {
  readonly name: string;
  readonly bytes: string;
  /** Close behind the bytes. */
  readonly end?: boolean;
  readonly status?: number;
  readonly body?: string;
  readonly truncated?: boolean;
  readonly protocol?: RegExp;
  readonly connection?: RegExp;
  /** Whether the next request may come over the same connection. */
  readonly reused?: boolean;
}

const HEAD = "HTTP/1.1 200 OK\r\n";
const NO = "HTTP/1.1 204 No Content\r\n";
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
const BIG = "x".repeat(MAX_BODY_BYTES);

const PLAYED: Played[] = [
  // Framing
  { name: "content length", bytes: OK, body: "ok", reused: true },
  { name: "no content", bytes: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reused: true },
  { name: "304", bytes: "HTTP/1.1 304 N\r\n\r\n", status: 304, reused: true },
  // What announces a body that it must not have may send it, as the answer to the next request.
  { name: "304, length 9", bytes: "HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", status: 304 },
  { name: "204, length 0", bytes: `${NO}Content-Length: 0\r\n\r\n`, status: 204, reused: true },
  { name: "204, length 9", bytes: `${NO}Content-Length: 9\r\n\r\n`, status: 204 },
  { name: "204, chunked", bytes: `${NO}Transfer-Encoding: chunked\r\n\r\n`, status: 204 },
  { name: "zero length", bytes: `${HEAD}Content-Length: 0\r\n\r\n`, reused: true },
  { name: "no reason", bytes: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", reused: true },
  {
    name: "equal lengths",
    bytes: `${HEAD}Content-Length: 2\r\nContent-Length: 2, 2\r\n\r\nok`,
    body: "ok",
    reused: true,
  },
  { name: "until close", bytes: `${HEAD}\r\nhello`, end: true, body: "hello" },
  {
    name: "chunked",
    bytes: `${CHUNKED}2\r\nok\r\n3;x=y\r\n, x\r\n0\r\n\r\n`,
    body: "ok, x",
    reused: true,
  },
  {
    name: "chunked, trailer",
    bytes: `${CHUNKED}2\r\nok\r\n0\r\nX: y\r\n\r\n`,
    body: "ok",
    reused: true,
  },
  {
    name: "chunked, upper case",
    bytes: `${HEAD}TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n`,
    body: "0123456789",
    reused: true,
  },
  { name: "bytes behind the end", bytes: `${OK}HTTP/1.1 500 No\r\n\r\n`, body: "ok" },
  // Keeping the connection
  { name: "close", bytes: `${HEAD}Connection: close\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  { name: "close in a list", bytes: `${HEAD}Connection: x, Close\r\nContent-Length: 0\r\n\r\n` },
  { name: "1.0", bytes: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", body: "ok" },
  {
    name: "1.0, kept",
    bytes: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    body: "ok",
    reused: true,
  },
  {
    name: "keep-alive of one second",
    bytes: `${HEAD}Keep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n`,
  },
  {
    name: "keep-alive of nine seconds",
    bytes: `${HEAD}Keep-Alive: max=5, timeout=9\r\nContent-Length: 0\r\n\r\n`,
    reused: true,
  },
  // Statuses
  { name: "599", bytes: "HTTP/1.1 599 x\r\nContent-Length: 0\r\n\r\n", status: 599, reused: true },
  { name: "600", bytes: "HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n", status: 600, reused: true },
  { name: "999", bytes: "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", status: 999, reused: true },
  {
    name: "000",
    bytes: "HTTP/1.1 000 x\r\n\r\n",
    protocol: /malformed status line "HTTP\/1.1 000 x"/,
  },
  { name: "099", bytes: "HTTP/1.1 099 x\r\n\r\n", protocol: /malformed status line/ },
  { name: "two digits", bytes: "HTTP/1.1 20 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "four digits", bytes: "HTTP/1.1 2000 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "letters", bytes: "HTTP/1.1 2x0 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "no space", bytes: "HTTP/1.1200 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "two spaces", bytes: "HTTP/1.1  200 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "1.2", bytes: "HTTP/1.2 200 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "HTTP/2", bytes: "HTTP/2 200 OK\r\n\r\n", protocol: /malformed status line "HTTP\/2/ },
  { name: "lower case", bytes: "http/1.1 200 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "leading blank line", bytes: `\r\n${OK}`, protocol: /malformed status line ""/ },
  { name: "HTTP/0.9", bytes: "<html>hello</html>", protocol: /malformed status line "<html>/ },
  { name: "SSH", bytes: "SSH-2.0-x\r\n", protocol: /malformed status line "SSH-2.0-x"/ },
  { name: "control characters", bytes: "\x15\x03\x03\x00\n", protocol: /"\\x15\\x03\\x03\\x00"/ },
  {
    name: "endless status line",
    bytes: `HTTP/1.1 200 ${"a".repeat(MAX_HEAD_BYTES)}`,
    protocol: /head over 65536 bytes/,
  },
  // Interim responses
  {
    name: "100, 103",
    bytes: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n${OK}`,
    body: "ok",
    reused: true,
  },
  {
    name: "3,000 interims",
    bytes: "HTTP/1.1 102 P\r\n\r\n".repeat(3_000) + OK,
    body: "ok",
    reused: true,
  },
  {
    name: "4,000 interims",
    bytes: "HTTP/1.1 102 P\r\n\r\n".repeat(4_000) + OK,
    protocol: /head over/,
  },
  {
    name: "fat interims",
    bytes: `HTTP/1.1 102 P\r\nX: ${"a".repeat(9000)}\r\n\r\n`.repeat(8) + OK,
    protocol: /head over/,
  },
  { name: "101", bytes: "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", protocol: /101 Switching/ },
  {
    name: "close in an interim",
    bytes: `HTTP/1.1 100 C\r\nConnection: close\r\n\r\n${OK}`,
    body: "ok",
    reused: true,
  },
  // Fields
  {
    name: "both lengths",
    bytes: `${HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok`,
    protocol: /both/,
  },
  {
    name: "two lengths",
    bytes: `${HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
    protocol: /two different/,
  },
  {
    name: "length list",
    bytes: `${HEAD}Content-Length: 2, 3\r\n\r\nok`,
    protocol: /two different/,
  },
  {
    name: "signed length",
    bytes: `${HEAD}Content-Length: +2\r\n\r\nok`,
    protocol: /malformed Content-Length "\+2"/,
  },
  {
    name: "negative length",
    bytes: `${HEAD}Content-Length: -1\r\n\r\n`,
    protocol: /malformed Content-Length/,
  },
  {
    name: "hex length",
    bytes: `${HEAD}Content-Length: 0x2\r\n\r\nok`,
    protocol: /malformed Content-Length/,
  },
  {
    name: "empty length",
    bytes: `${HEAD}Content-Length:\r\n\r\n`,
    protocol: /malformed Content-Length/,
  },
  {
    name: "absurd length",
    bytes: `${HEAD}Content-Length: ${"9".repeat(16)}\r\n\r\n`,
    protocol: /malformed Content-Length/,
  },
  {
    name: "gzip, chunked",
    bytes: `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    protocol: /transfer coding/,
  },
  {
    name: "chunked twice",
    bytes: `${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    protocol: /transfer coding/,
  },
  { name: "folded", bytes: `${HEAD}X: a\r\n b\r\n\r\n`, protocol: /folded field/ },
  {
    name: "space before the colon",
    bytes: `${HEAD}X : a\r\n\r\n`,
    protocol: /malformed field "X : a"/,
  },
  { name: "no colon", bytes: `${HEAD}nonsense\r\n\r\n`, protocol: /malformed field/ },
  { name: "no name", bytes: `${HEAD}: a\r\n\r\n`, protocol: /malformed field/ },
  { name: "NUL", bytes: `${HEAD}X: a\x00b\r\n\r\n`, protocol: /malformed field "X: a\\x00b"/ },
  { name: "bare CR", bytes: `${HEAD}X: a\rb\r\n\r\n`, protocol: /malformed field/ },
  { name: "bare LF", bytes: `${HEAD}X: a\nY: b\r\n\r\n`, protocol: /line feed without/ },
  { name: "bare LF at the end", bytes: `${HEAD}X: a\r\n\n`, protocol: /line feed without/ },
  {
    name: "256 fields",
    bytes: `${HEAD}${"X: a\r\n".repeat(255)}Content-Length: 0\r\n\r\n`,
    reused: true,
  },
  {
    name: "257 fields",
    bytes: `${HEAD}${"X: a\r\n".repeat(257)}\r\n`,
    protocol: /more than 256 fields/,
  },
  {
    name: "64 KiB of head",
    bytes: `${HEAD}X: ${"a".repeat(MAX_HEAD_BYTES)}\r\n\r\n`,
    protocol: /head over/,
  },
  {
    name: "60 KB of head",
    bytes: `${HEAD}X: ${"a".repeat(60_000)}\r\nContent-Length: 0\r\n\r\n`,
    reused: true,
  },
  // What is wrong behind the head only cuts the body
  {
    name: "cut length",
    bytes: `${HEAD}Content-Length: 9\r\n\r\nshort`,
    end: true,
    body: "short",
    truncated: true,
  },
  { name: "cut chunk", bytes: `${CHUNKED}9\r\nshort`, end: true, body: "short", truncated: true },
  { name: "no last chunk", bytes: `${CHUNKED}2\r\nok\r\n`, end: true, body: "ok", truncated: true },
  { name: "bad chunk size", bytes: `${CHUNKED}2\r\nok\r\nzz\r\n`, body: "ok", truncated: true },
  { name: "bad chunk end", bytes: `${CHUNKED}2\r\nokay\r\n0\r\n\r\n`, body: "ok", truncated: true },
  { name: "huge chunk size", bytes: `${CHUNKED}${"f".repeat(17)}\r\n`, truncated: true },
  { name: "chunk line without CR", bytes: `${CHUNKED}2\nok\r\n0\r\n\r\n`, truncated: true },
  { name: "endless extension", bytes: `${CHUNKED}2;${"a".repeat(2000)}`, truncated: true },
  {
    name: "endless trailer",
    bytes: `${CHUNKED}0\r\n${"X: aaaaaaaaaa\r\n".repeat(1000)}`,
    truncated: true,
  },
  {
    name: "exactly 64 KiB",
    bytes: `${HEAD}Content-Length: ${BIG.length}\r\n\r\n${BIG}`,
    body: BIG,
    reused: true,
  },
  {
    name: "64 KiB and one",
    bytes: `${HEAD}Content-Length: ${BIG.length + 1}\r\n\r\n${BIG}y`,
    body: BIG,
    truncated: true,
  },
  {
    name: "64 KiB and one, chunked",
    bytes: `${CHUNKED}20000\r\n${BIG}y`,
    body: BIG,
    truncated: true,
  },
  { name: "64 KiB and one, until close", bytes: `${HEAD}\r\n${BIG}y`, body: BIG, truncated: true },
  // Ends
  { name: "closed at once", bytes: "", end: true, connection: /^closed before an answer/ },
  {
    name: "closed in the status line",
    bytes: "HTTP/1.1 20",
    end: true,
    connection: /^closed within/,
  },
  { name: "closed in the head", bytes: `${HEAD}X: a\r\n`, end: true, connection: /^closed within/ },
];

function play(played: Played): Play {
  return (socket) => {
    const bytes = Buffer.from(played.bytes, "latin1");
    if (played.end) socket.end(bytes);
    else socket.write(bytes);
  };
}

Deno.test("post() answers every response by the rules", async (t) => {
  for (const played of PLAYED) {
    await t.step(played.name, async () => {
      await withReceiver(play(played), async (server, client) => {
        const target = to(server.port);
        const exchange = await client.post(target, request());
        if (played.protocol !== undefined || played.connection !== undefined) {
          const reason = played.protocol === undefined ? "connection" : "protocol";
          const cause = played.protocol ?? played.connection ?? /^/;
          assert.equal(failed(exchange, reason, cause).address, `127.0.0.1:${server.port}`);
        } else {
          const { status, body, truncated, head } = answered(exchange);
          assert.equal(status, played.status ?? 200);
          assert.equal(text(body), played.body ?? "");
          assert.equal(truncated, played.truncated ?? false);
          assert.ok(head.startsWith("HTTP/1.") && head.length <= 8192);
        }
        assert.equal(server.requests.length, 1);
        await client.post(target, request());
        assert.equal(server.connections, played.reused ? 1 : 2);
      });
    });
  }
});

Deno.test("post() has its answer 1 s after the head, whatever the body does", async () => {
  await withReceiver(
    (socket) => socket.write(`${HEAD}Content-Length: 99\r\n\r\nslow`),
    async (server, client) => {
      const exchange = answered(await client.post(to(server.port), request()));
      assert.equal(text(exchange.body), "slow");
      assert.equal(exchange.truncated, true);
      assert.ok(exchange.duration_ms > 950, String(exchange.duration_ms));
      await until(() => server.open === 0);
    },
  );
});

Deno.test("post() counts the head's time only: a body may end behind the timeout", async () => {
  await withReceiver((socket) => {
    socket.write(`${HEAD}Content-Length: 4\r\n\r\n`);
    setTimeout(() => socket.write("late"), 500);
  }, async (server, client) => {
    const exchange = answered(await client.post(to(server.port), request({ timeout_ms: 300 })));
    assert.equal(text(exchange.body), "late");
    assert.equal(exchange.truncated, false);
  });
});

Deno.test("post() drops an endless body at 64 KiB", async () => {
  await withReceiver((socket) => {
    socket.write(`${HEAD}\r\n`);
    const more = () => {
      while (!socket.destroyed && socket.write(Buffer.alloc(65_536, "y")));
    };
    socket.on("drain", more);
    more();
  }, async (server, client) => {
    const exchange = answered(await client.post(to(server.port), request()));
    assert.equal(exchange.body.length, MAX_BODY_BYTES);
    assert.equal(exchange.truncated, true);
    await until(() => server.open === 0);
  });
});

Deno.test("post() uses an answer that comes before the request was taken in", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const served = (async () => {
    for await (const conn of listener) {
      await conn.read(new Uint8Array(1000));
      await conn.write(
        new TextEncoder().encode("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
      );
      conn.close(); // with unread bytes: the sender gets a reset
    }
  })();
  await withClient(async (client) => {
    for (const size of [100_000, 10_000_000]) {
      const body = "x".repeat(size);
      const target = { ...to(listener.addr.port), pool_key: String(size) };
      const exchange = await client.post(target, request({ body }));
      assert.equal(answered(exchange).status, 413);
    }
  });
  listener.close();
  await served;
});

Deno.test("post() leaves no connection in the pool whose request was not taken in", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns: Deno.Conn[] = [];
  const served = (async () => {
    for await (const conn of listener) {
      conns.push(conn);
      await conn.read(new Uint8Array(1000));
      await conn.write(new TextEncoder().encode("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    }
  })();
  await withClient(async (client) => {
    const body = "x".repeat(30_000_000);
    answered(await client.post(to(listener.addr.port), request({ body })));
    answered(await client.post(to(listener.addr.port), request()));
    assert.equal(conns.length, 2);
    await until(() => client.open_connections === 0); // neither lingers
  });
  for (const conn of conns) conn.close();
  listener.close();
  await served;
});

// ---- Keep-alive

Deno.test("post() sends each target its own path, body and headers on a shared connection", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    // Longer, shorter, and beyond what a connection keeps memory for.
    const bodies = ["{}", "x".repeat(5_000), "é".repeat(40_000), "[1]"];
    for (const [nth, body] of bodies.entries()) {
      const target = { url: new URL(`http://127.0.0.1:${server.port}/to/${nth}`) };
      answered(await client.post(target, request({ body, headers: `X-Nth: ${nth}\r\n` })));
    }
    assert.equal(server.connections, 1);
    for (const [nth, body] of bodies.entries()) {
      const bytes = new TextEncoder().encode(body);
      assert.equal(
        server.requests[nth],
        `POST /to/${nth} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nX-Nth: ${nth}\r\n` +
          `Content-Length: ${bytes.length}\r\n\r\n${text(bytes)}`,
      );
    }
  });
});

Deno.test("post() keeps one connection for requests one after the other", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    for (let nth = 0; nth < 20; nth++) {
      // A target of its own each time: what counts is the origin.
      answered(await client.post(to(server.port), request()));
    }
    assert.equal(server.connections, 1);
    assert.equal(client.open_connections, 1);
    await Promise.all([1, 2, 3, 4].map(() => client.post(to(server.port), request())));
    assert.ok(server.connections <= 4);
    assert.equal(server.requests.length, 24);
  });
});

Deno.test("post() shares no connection between pool keys and TLS identities", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const target = to(server.port);
    answered(await client.post(target, request()));
    answered(await client.post({ ...target, pool_key: "a" }, request()));
    answered(await client.post({ ...target, tls: { ca: "x" } }, request()));
    assert.equal(server.connections, 3);
    answered(await client.post({ ...target, pool_key: "a" }, request()));
    assert.equal(server.connections, 3);
  });
});

Deno.test("post() never sends twice when a kept connection is closed under it", async () => {
  for (const how of ["end", "destroy", "reset"] as const) {
    await withReceiver((socket, nth) => {
      if (nth === 1) socket.write(OK);
      else if (how === "end") socket.end();
      else if (how === "reset") socket.resetAndDestroy?.() ?? socket.destroy();
      else socket.destroy();
    }, async (server, client) => {
      answered(await client.post(to(server.port), request()));
      const exchange = await client.post(to(server.port), request());
      failed(exchange, "connection", /^closed before an answer on a reused connection/);
      await sleep(50);
      assert.equal(server.requests.length, 2);
      assert.equal(server.connections, 1);
    });
  }
});

Deno.test("post() learns that a receiver closes behind each answer without saying so", async () => {
  await withReceiver((socket) => socket.end(OK), async (server, client) => {
    const target = to(server.port);
    let lost = 0;
    for (let nth = 0; nth < 100; nth++) {
      if (!(await client.post(target, request())).answered) lost++;
    }
    assert.ok(lost <= 1, `${lost} of 100 were lost`);
    assert.ok(server.connections >= 99);
  });
});

Deno.test("post() drops a connection that was closed, or spoke, while idle", async () => {
  for (
    const [name, misbehave] of [
      ["closed", (socket: Socket) => socket.end()],
      ["spoke", (socket: Socket) => socket.write(OK)],
    ] as const
  ) {
    let socket_of_first: Socket | undefined;
    await withReceiver((socket) => {
      socket_of_first ??= socket;
      socket.write(OK);
    }, async (server, client) => {
      answered(await client.post(to(server.port), request()));
      if (socket_of_first !== undefined) misbehave(socket_of_first);
      await until(() => client.open_connections === 0);
      answered(await client.post(to(server.port), request()));
      assert.equal(server.connections, 2, name);
    });
  }
});

Deno.test("post() closes idle connections after 1.5 s, or as the receiver says", async () => {
  await withReceiver((socket, nth) =>
    socket.write(
      nth === 1 ? OK : `${HEAD}Keep-Alive: timeout=4\r\nContent-Length: 0\r\n\r\n`,
    ), async (server, client) => {
    answered(await client.post(to(server.port), request()));
    const started_ms = performance.now();
    await until(() => client.open_connections === 0);
    const idle_ms = performance.now() - started_ms;
    assert.ok(idle_ms > 1400 && idle_ms < 2900, String(idle_ms));
    answered(await client.post(to(server.port), request()));
    await sleep(1900);
    answered(await client.post(to(server.port), request()));
    assert.equal(server.connections, 2);
  });
});

Deno.test("post() keeps at most as many idle connections as it is told", async () => {
  await withReceiver(
    (socket) => void setTimeout(() => socket.write(OK), 30),
    async (server, client) => {
      await Promise.all(Array.from({ length: 8 }, () => client.post(to(server.port), request())));
      await until(() => client.open_connections === 3);
    },
    { max_idle_per_origin: 3 },
  );
});

Deno.test("post() judges an idle connection's address anew when the rules change", async () => {
  let rules = RULES;
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    answered(await client.post(to(server.port), request()));
    rules = { ...RULES };
    answered(await client.post(to(server.port), request()));
    assert.equal(server.connections, 1);
    rules = { ...RULES, allow_loopback: false };
    failed(await client.post(to(server.port), request()), "blocked", /loopback/);
    assert.equal(server.requests.length, 2);
    await until(() => server.open === 0);
  }, { rules: () => rules });
});

// ---- Time

Deno.test("post() has one deadline over silence in every phase", async () => {
  await withReceiver(() => {}, async (server, client) => {
    const exchange = await client.post(to(server.port), request({ timeout_ms: 200 }));
    const { duration_ms } = failed(exchange, "timeout", /^no response from 127.0.0.1:\d+ within/);
    assert.ok(duration_ms >= 200 && duration_ms < 2000, String(duration_ms));
    await until(() => server.open === 0);
    const tls = await client.post(
      to(server.port, "127.0.0.1", "https"),
      request({ timeout_ms: 200 }),
    );
    failed(tls, "timeout", /^no end of the TLS handshake/);
  });
  await withReceiver((socket) => socket.write("HTTP/1.1 200 OK\r\nX-"), async (server, client) => {
    failed(
      await client.post(to(server.port), request({ timeout_ms: 200 })),
      "timeout",
      /^no response/,
    );
  });
  await withClient(async (client) => {
    const exchange = await client.post(to(9, "silent.test"), request({ timeout_ms: 200 }));
    failed(exchange, "timeout", /^no answer from DNS for silent\.test within 200 ms/);
  }, { lookup: () => new Promise(() => {}) });
});

Deno.test("post() times out a head that trickles in", async () => {
  await withReceiver((socket) => {
    const drip = setInterval(() => socket.write("X"), 20);
    socket.write(`${HEAD}`);
    socket.on("close", () => clearInterval(drip));
  }, async (server, client) => {
    const exchange = await client.post(to(server.port), request({ timeout_ms: 300 }));
    failed(exchange, "timeout", /^no response/);
  });
});

Deno.test("post() takes an answer that waited while the process was held up", async () => {
  await withReceiver((socket) => {
    socket.write(OK);
    // The answer is in the socket; the deadline passes while nothing can run.
    setTimeout(() => {
      const end_ms = performance.now() + 400;
      while (performance.now() < end_ms);
    }, 0);
  }, async (server, client) => {
    answered(await client.post(to(server.port), request({ timeout_ms: 200 })));
  });
});

Deno.test("post() is interrupted by its signal, in every phase", async () => {
  await withReceiver(() => {}, async (server, client) => {
    const aborted = AbortSignal.abort();
    const at_once = await client.post(to(server.port), request({ signal: aborted }));
    failed(at_once, "interrupted", /./);
    assert.equal(server.connections, 0);
    const stop = new AbortController();
    const waiting = client.post(to(server.port), request({ signal: stop.signal }));
    await until(() => server.requests.length === 1);
    stop.abort();
    const { duration_ms } = failed(await waiting, "interrupted", /./);
    assert.ok(duration_ms < 5000);
  });
  await withReceiver(
    (socket) => socket.write(`${HEAD}Content-Length: 9\r\n\r\nsome`),
    async (server, client) => {
      const stop = new AbortController();
      const waiting = client.post(to(server.port), request({ signal: stop.signal }));
      await until(() => server.requests.length === 1);
      await sleep(30);
      stop.abort();
      assert.equal(answered(await waiting).truncated, true); // the head has decided
    },
  );
});

Deno.test("close() ends what is under way and refuses what comes", async () => {
  const server = await receiver(() => {});
  const client = makeHttpClient({ rules: () => RULES });
  const waiting = client.post(to(server.port), request());
  await until(() => server.requests.length === 1);
  client.close();
  failed(await waiting, "interrupted", /client was closed/);
  failed(await client.post(to(server.port), request()), "interrupted", /client was closed/);
  await until(() => client.open_connections === 0);
  await server.close();
});

// ---- Addresses

Deno.test("post() blocks a name when any of its addresses is forbidden", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const exchange = await client.post(to(server.port, "mixed.test"), request());
    const cause = /^10\.0\.0\.5 is not allowed: private addresses/;
    assert.equal(failed(exchange, "blocked", cause).address, null);
    assert.equal(server.connections, 0);
  }, { lookup: () => Promise.resolve(["127.0.0.1", "10.0.0.5"]) });
});

Deno.test("post() blocks literals, metadata and the daemon's own listener", async () => {
  const cases: [string, RegExp][] = [
    ["http://169.254.169.254/latest", /metadata/],
    ["http://[::ffff:a9fe:a9fe]/", /metadata/],
    ["http://10.0.0.1/", /private/],
    ["https://[64:ff9b::7f00:1]/", /carries 127\.0\.0\.1/],
    ["http://0.0.0.0:9/", /unspecified/],
    ["http://1.1.1.1/", /plain http to a public address/],
    ["http://127.0.0.1:8080/", /own listener/],
    ["http://localhost:8080/", /own listener/],
  ];
  const own = { ...RULES, own_listener: [{ address: "0.0.0.0", port: 8080 }] };
  await withClient(async (client) => {
    for (const [url, rule] of cases) {
      failed(await client.post({ url: new URL(url) }, request()), "blocked", rule);
    }
  }, { rules: () => own });
});

Deno.test("post() reaches an IPv4 address that is written as IPv6", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    for (const host of ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "mapped.test"]) {
      answered(await client.post(to(server.port, host), request()));
    }
    const rules = { ...RULES, allow_loopback: false };
    await withClient(async (strict) => {
      const exchange = await strict.post(to(server.port, "[::ffff:127.0.0.1]"), request());
      failed(exchange, "blocked", /^::ffff:7f00:1 is not allowed: loopback/);
    }, { rules: () => rules });
  }, { lookup: () => Promise.resolve(["::ffff:127.0.0.1"]) });
});

Deno.test("post() lets plain http to listed networks only, whatever a name resolves to", async () => {
  const rules = { ...RULES, allow_networks: [parseCidr("10.0.0.0/8")] };
  await withClient(async (client) => {
    const exchange = await client.post(to(80, "public.test"), request());
    failed(exchange, "blocked", /^1\.1\.1\.1 is not allowed: plain http/);
  }, { rules: () => rules, lookup: () => Promise.resolve(["1.1.1.1"]) });
});

Deno.test("post() goes on to the next address where one refuses", async () => {
  const server = await receiver((socket) => socket.write(OK));
  await withClient(async (client) => {
    const exchange = answered(await client.post(to(server.port, "two.test"), request()));
    assert.equal(exchange.address, `127.0.0.1:${server.port}`);
    assert.match(server.requests[0] ?? "", /\r\nHost: two\.test:\d+\r\n/);
  }, { lookup: () => Promise.resolve(["127.0.0.9", "::1", "127.0.0.1"]) });
  await server.close();
});

Deno.test({
  name: "post() gives an address that swallows connections only its share of the time",
  ignore: DENO_2_6, // its node:net goes on trying after destroy(), into the tests that follow
}, async () => {
  const server = await receiver((socket) => socket.write(OK));
  const { port } = server;
  // A queue for one that nobody takes from: what comes when it is full is not answered at all.
  const full = Deno.listen({ hostname: "127.0.0.2", port, tcpBacklog: 1 });
  const filling = Array.from({ length: 6 }, () => {
    const stop = new AbortController();
    const conn = Deno.connect({ hostname: "127.0.0.2", port, signal: stop.signal })
      .catch(() => undefined);
    return { stop, conn };
  });
  await sleep(200);
  await withClient(async (client) => {
    const exchange = await client.post(to(port, "two.test"), request({ timeout_ms: 1000 }));
    const { address, duration_ms } = answered(exchange);
    assert.equal(address, `127.0.0.1:${port}`);
    assert.ok(duration_ms >= 450 && duration_ms < 1000, String(duration_ms));
    const literal = await client.post(to(port, "127.0.0.2"), request({ timeout_ms: 200 }));
    failed(literal, "timeout", /^no connection to 127\.0\.0\.2:\d+ within 200 ms/);
  }, { lookup: () => Promise.resolve(["127.0.0.2", "127.0.0.1"]) });
  for (const { stop } of filling) stop.abort();
  for (const { conn } of filling) (await conn)?.close();
  full.close();
  await server.close();
});

Deno.test("post() tells of every address that refused", async () => {
  const server = await receiver(() => {});
  const { port } = server;
  await server.close();
  await withClient(async (client) => {
    const exchange = await client.post(to(port), request());
    failed(exchange, "connection", new RegExp(`^ECONNREFUSED 127\\.0\\.0\\.1:${port}$`));
    const both = await client.post(to(port, "two.test"), request());
    failed(both, "connection", /^ECONNREFUSED 127\.0\.0\.1:\d+, ECONNREFUSED 127\.0\.0\.2:\d+$/);
  }, { lookup: () => Promise.resolve(["127.0.0.1", "127.0.0.2"]) });
});

Deno.test("post() shares one lookup among requests at the same time, and reports DNS", async () => {
  const server = await receiver((socket) => socket.write(OK));
  let lookups = 0;
  const lookup = async (host: string) => {
    lookups++;
    await sleep(30);
    if (host === "none.test") return [];
    if (host === "lost.test") throw Object.assign(new Error("x"), { code: "ENOTFOUND" });
    return ["127.0.0.1"];
  };
  await withClient(async (client) => {
    const target = to(server.port, "shared.test");
    await Promise.all(
      Array.from({ length: 10 }, async () => answered(await client.post(target, request()))),
    );
    assert.equal(lookups, 1);
    failed(await client.post(to(1, "lost.test"), request()), "dns", /^ENOTFOUND lost\.test$/);
    failed(await client.post(to(1, "none.test"), request()), "dns", /^No address for none\.test/);
  }, { lookup });
  await server.close();
});

Deno.test("post() asks the system's resolver", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    answered(await client.post(to(server.port, "localhost"), request()));
    const exchange = await client.post(to(server.port, "nowhere.invalid"), request());
    assert.ok(!exchange.answered && ["dns", "timeout"].includes(exchange.reason));
  });
});

Deno.test("post() sends from the source address", async () => {
  await withReceiver((socket) => socket.write(OK), async (server, client) => {
    const sent = await client.post(to(server.port), request());
    if (DENO_2_6) {
      failed(sent, "connection", /^sending from 127\.0\.0\.7 does not work/);
      assert.equal(server.requests.length, 0);
    } else {
      answered(sent);
      assert.deepEqual(server.peers, ["127.0.0.7"]);
    }
    const exchange = await client.post(to(server.port, "[::1]"), request());
    failed(exchange, "connection", /^No address of the family of 127\.0\.0\.7/);
  }, { source_address: "127.0.0.7" });
});

// ---- TLS

interface TlsReceiver {
  readonly port: number;
  readonly connections: number;
  readonly requests: number;
  close(): Promise<void>;
}

function tlsReceiver(leaf: Leaf): TlsReceiver {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...leaf });
  const open = new Set<Promise<void>>();
  const conns = new Set<Deno.TlsConn>();
  let connections = 0;
  let requests = 0;
  const serve = async (conn: Deno.TlsConn) => {
    try {
      await conn.handshake();
      connections++;
      while (await conn.read(new Uint8Array(4096)) !== null) {
        requests++;
        await conn.write(new TextEncoder().encode(OK));
      }
    } catch { /* what the client makes of it is what is tested */ }
    conns.delete(conn);
    try {
      conn.close();
    } catch { /* closed by close() */ }
  };
  const accepting = (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      const served = serve(conn).finally(() => open.delete(served));
      open.add(served);
    }
  })();
  return {
    port: listener.addr.port,
    get connections() {
      return connections;
    },
    get requests() {
      return requests;
    },
    close: async () => {
      listener.close();
      for (const conn of conns) conn.close();
      await accepting;
      await Promise.all(open);
    },
  };
}

Deno.test("post() speaks TLS to whom the certificate names, and keeps the connection", async () => {
  const { ca, good } = await testCertificates();
  const server = tlsReceiver(good);
  await withClient(async (client) => {
    for (const host of ["good.test", "localhost", "127.0.0.1"]) {
      const target = { ...to(server.port, host, "https"), tls: { ca } };
      for (let nth = 0; nth < 3; nth++) {
        const exchange = answered(await client.post(target, request()));
        assert.equal(exchange.address, `127.0.0.1:${server.port}`);
        assert.equal(text(exchange.body), "ok");
      }
    }
    assert.equal(server.connections, 3);
    assert.equal(server.requests, 9);
  }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
  await server.close();
});

Deno.test("post() refuses a certificate it cannot trust, and says why", async (t) => {
  const made = await testCertificates();
  const cases: [string, Leaf, string, string | undefined, RegExp][] = [
    ["unknown authority", made.good, "localhost", undefined, /UnknownIssuer/],
    ["wrong name", made.wrong_name, "localhost", made.ca, /other\.test/],
    ["wrong address", made.wrong_name, "127.0.0.1", made.ca, /127\.0\.0\.1/],
    ["expired", made.expired, "localhost", made.ca, /^certificate expired 2025-02-01T00:00:00Z/],
    ["not valid yet", made.not_yet, "localhost", made.ca, /not valid before 2099-01-01T00:00:00Z/],
    ["self-signed", made.self_signed, "localhost", made.ca, /SELF_SIGNED|UnknownIssuer/],
  ];
  for (const [name, leaf, host, ca, cause] of cases) {
    await t.step(name, async () => {
      const server = tlsReceiver(leaf);
      await withClient(async (client) => {
        const target = to(server.port, host, "https");
        const tls = ca === undefined ? {} : { ca };
        const exchange = await client.post({ ...target, tls }, request());
        assert.equal(failed(exchange, "tls", cause).address, `127.0.0.1:${server.port}`);
        assert.equal(server.requests, 0);
      }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
      await server.close();
    });
  }
});

Deno.test("post() calls everything that fails within a handshake tls", async () => {
  const certificates = await testCertificates();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let greeting: string | undefined = "SSH-2.0-x\r\n";
  const served = (async () => {
    for await (const conn of listener) {
      if (greeting !== undefined) {
        await conn.read(new Uint8Array(4096));
        await conn.write(new TextEncoder().encode(greeting));
      }
      conn.close();
    }
  })();
  await withClient(async (client) => {
    const target = { ...to(listener.addr.port, "127.0.0.1", "https"), tls: certificates };
    failed(await client.post(target, request()), "tls", /./);
    greeting = undefined;
    failed(await client.post(target, request()), "tls", /./);
    const unreadable = { ...target, tls: { cert: "nonsense", key: "nonsense" } };
    failed(await client.post(unreadable, request()), "tls", /./);
  });
  listener.close();
  await served;
});

Deno.test("post() shows its client certificate to who asks for one", async (t) => {
  const certificates = await testCertificates();
  const { ca, client: own } = certificates;
  await t.step("with it", async () => {
    const server = await demandingServer(certificates);
    await withClient(async (client) => {
      const target = { ...to(server.port, "localhost", "https"), tls: { ca, ...own } };
      assert.equal(answered(await client.post(target, request())).status, 204);
    }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
    await server.close();
  });
  await t.step("without it", async () => {
    const server = await demandingServer(certificates);
    await withClient(async (client) => {
      const target = { ...to(server.port, "localhost", "https"), tls: { ca } };
      failed(await client.post(target, request()), "tls", /./);
    }, { lookup: () => Promise.resolve(["127.0.0.1"]) });
    await server.close();
  });
});

/** A TLS server that demands a client certificate of the authority. */
async function demandingServer({ ca, good }: TestCertificates) {
  const server = createTlsServer({ ...good, ca, requestCert: true, rejectUnauthorized: true });
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 204 No Content\r\n\r\n"));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    close: () => new Promise((done) => server.close(done)),
  };
}

// ---- The parser by itself

/** Everything that a caller can see of a response, after the bytes and then an end. */
function outcomeOf(bytes: Uint8Array, cuts: readonly number[], closed: boolean): unknown {
  const response = newResponse();
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= at) continue;
    const read_into = bytes.slice(at, cut);
    readResponse(response, read_into);
    read_into.fill(0); // the memory is not the parser's to keep
    at = cut;
    // Memory: the bytes of an unfinished head, and what is kept of a body.
    assert.ok(response.pending.length <= MAX_HEAD_BYTES);
    assert.ok(response.kept <= MAX_BODY_BYTES && response.line.length <= 2048);
    assert.ok(response.body.length <= 2 * MAX_BODY_BYTES);
  }
  const phase = response.phase;
  endResponse(response, closed);
  return {
    phase,
    end: response.phase,
    // What is quoted of a line that is not HTTP at all depends on how much of it there was.
    mistake: response.mistake.replace(/^(malformed status line) .*/, "$1"),
    status: response.phase === "done" ? response.status : 0,
    head: response.head,
    retry_after: response.phase === "done" ? response.retry_after : "",
    truncated: response.truncated,
    body: text(takeBody(response)),
  };
}

const VALID = [
  OK,
  `HTTP/1.1 100 Continue\r\n\r\n${OK}`,
  `${CHUNKED}2\r\nok\r\n3;x=y\r\n, x\r\n0\r\nX: y\r\n\r\n`,
  `${HEAD}Connection: close\r\nRetry-After: 5\r\n\r\nuntil the end`,
  "HTTP/1.0 503 Busy\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
  `${HEAD}Content-Length: 70000\r\n\r\n${"z".repeat(70_000)}`,
];

const piece = fc.oneof(
  fc.constantFrom(...VALID, "HTTP/1.1 ", "200 OK\r\n", "\r\n\r\n", "\r", "\n", ": ", " ", "\x00"),
  fc.constantFrom("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "5\r\n", "0\r\n"),
  fc.uint8Array({ maxLength: 20 }).map(text),
);

const mutated = fc.tuple(
  fc.constantFrom(...VALID),
  fc.array(fc.tuple(fc.nat(), fc.nat(3), fc.nat(255)), { maxLength: 4 }),
).map(([valid, changes]) => {
  let bytes = valid;
  for (const [where, kind, byte] of changes) {
    const at = where % Math.min(bytes.length + 1, 200);
    const char = String.fromCharCode(byte);
    if (kind === 0) bytes = bytes.slice(0, at) + char + bytes.slice(at + 1);
    else if (kind === 1) bytes = bytes.slice(0, at) + char + bytes.slice(at);
    else if (kind === 2) bytes = bytes.slice(0, at) + bytes.slice(at + 1);
    else bytes = bytes.slice(0, at);
  }
  return bytes;
});

Deno.test("readResponse() gives one result however the bytes are split, and never throws", () => {
  const responses = fc.oneof(
    mutated,
    fc.array(piece, { maxLength: 12 }).map((all) => all.join("")),
  );
  fc.assert(
    fc.property(
      responses,
      fc.array(fc.nat(300), { maxLength: 12 }),
      fc.boolean(),
      (response, places, closed) => {
        const bytes = new Uint8Array(Buffer.from(response, "latin1"));
        const whole = outcomeOf(bytes, [], closed);
        const cuts = [...new Set(places)].sort((a, b) => a - b).filter((at) => at < bytes.length);
        assert.deepEqual(outcomeOf(bytes, cuts, closed), whole);
        if (bytes.length < 400) {
          assert.deepEqual(outcomeOf(bytes, [...bytes.keys()], closed), whole);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

Deno.test("readResponse() reads the table's responses byte by byte as in one piece", () => {
  for (const { name, bytes: response, end } of PLAYED) {
    const bytes = new Uint8Array(Buffer.from(response, "latin1"));
    const closed = end ?? false;
    const whole = outcomeOf(bytes, [], closed);
    assert.deepEqual(outcomeOf(bytes, [1, 9, 10, 17, 33, 65_000], closed), whole, name);
    if (bytes.length < 20_000) {
      assert.deepEqual(outcomeOf(bytes, [...bytes.keys()], closed), whole, name);
    }
  }
});

Deno.test("quote() bounds and escapes", () => {
  assert.equal(quote("a\r\n\x1b[31m\u20ac"), '"a\\x0d\\x0a\\x1b[31m\\x20ac"');
  assert.ok(quote("\x00".repeat(5000)).length <= 125);
});
