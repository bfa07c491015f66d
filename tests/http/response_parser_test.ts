import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import {
  endResponse,
  MAX_BODY_BYTES,
  MAX_HEAD_BYTES,
  newResponse,
  quote,
  readResponse,
  takeBody,
} from "../../lib/http/response_parser.ts";
import { answered, failed, HEAD, OK, type Play, request, text, to, withReceiver } from "./peers.ts";

interface Played {
  readonly name: string;
  readonly bytes: string;
  /** Close after the bytes. */
  readonly end?: boolean;
  readonly status?: number;
  readonly body?: string;
  readonly truncated?: boolean;
  readonly protocol?: RegExp;
  readonly connection?: RegExp;
  /** Whether the next request may come over the same connection. */
  readonly reused?: boolean;
}

const NO = "HTTP/1.1 204 No Content\r\n";
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
const BIG = "x".repeat(MAX_BODY_BYTES);

const PLAYED: Played[] = [
  // Framing
  { name: "content length", bytes: OK, body: "ok", reused: true },
  { name: "no content", bytes: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reused: true },
  { name: "304", bytes: "HTTP/1.1 304 N\r\n\r\n", status: 304, reused: true },
  // A receiver that announces a forbidden body may send it, as the answer to the next request.
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
  { name: "bytes after the end", bytes: `${OK}HTTP/1.1 500 No\r\n\r\n`, body: "ok" },
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
    protocol: /^byte 10 of the head: malformed status line "HTTP\/1.1 000 x"/,
  },
  { name: "099", bytes: "HTTP/1.1 099 x\r\n\r\n", protocol: /malformed status line/ },
  { name: "two digits", bytes: "HTTP/1.1 20 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "four digits", bytes: "HTTP/1.1 2000 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "letters", bytes: "HTTP/1.1 2x0 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "no space", bytes: "HTTP/1.1200 OK\r\n\r\n", protocol: /malformed status line/ },
  { name: "two spaces", bytes: OK.replace(" ", "  "), body: "ok" },
  { name: "1.2", bytes: OK.replace("1.1", "1.2"), body: "ok" },
  { name: "1.10", bytes: OK.replace("1.1", "1.10"), body: "ok" },
  {
    name: "1.2, chunked",
    bytes: `${CHUNKED}2\r\nok\r\n0\r\n\r\n`.replace("1.1", "1.2"),
    body: "ok",
  },
  { name: "tabs", bytes: OK.replace("1.1 200 ", "1.1\t200\t"), body: "ok" },
  { name: "no reason, a space", bytes: OK.replace("200 OK", "200 "), body: "ok", reused: true },
  { name: "a reason beyond ASCII", bytes: OK.replace("OK", "\xc3\xa9"), body: "ok", reused: true },
  { name: "NUL in the reason", bytes: OK.replace("OK", "O\0K"), body: "ok" },
  { name: "bare CR in the reason", bytes: OK.replace("OK", "O\rK"), body: "ok" },
  {
    name: "a reason without a space",
    bytes: OK.replace("200 OK", "200OK"),
    body: "ok",
  },
  { name: "a dash before the reason", bytes: OK.replace("200 OK", "200-OK"), body: "ok" },
  { name: "2.0", bytes: OK.replace("1.1", "2.0"), body: "ok" },
  { name: "0.9", bytes: OK.replace("1.1", "0.9"), body: "ok" },
  { name: "HTTP/2", bytes: OK.replace("1.1", "2"), body: "ok" },
  {
    name: "HTTP/2, chunked",
    bytes: `${CHUNKED}2\r\nok\r\n0\r\n\r\n`.replace("1.1", "2"),
    body: "ok",
  },
  { name: "no version", bytes: OK.replace("1.1", ""), protocol: /^byte 6 .* status line "HTTP\/ / },
  { name: "half a version", bytes: OK.replace("1.1", "1."), protocol: /^byte 8 of the head: malf/ },
  { name: "lower case", bytes: OK.replace("HTTP", "http"), body: "ok" },
  { name: "mixed case", bytes: OK.replace("HTTP", "Http"), body: "ok" },
  { name: "an empty line first", bytes: `\r\n${OK}`, body: "ok" },
  { name: "line feeds first", bytes: `\n\r\n\n${OK}`, body: "ok" },
  { name: "a line of blanks first", bytes: ` \t\r\n${OK}`, body: "ok" },
  { name: "blanks first", bytes: ` \t${OK}`, body: "ok" },
  {
    name: "endless empty lines",
    bytes: "\r\n".repeat(MAX_HEAD_BYTES),
    protocol: /^byte 65537 of the head: head over/,
  },
  { name: "junk first", bytes: `x${OK}`, protocol: /^byte 1 of the head: malformed status line/ },
  {
    name: "a byte order mark first",
    bytes: `\xef\xbb\xbf${OK}`,
    protocol: /^byte 1 of the head: /,
  },
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
  {
    name: "an untidy interim",
    bytes: `HTTP/1.1 100 C\nX : a\r\n b\r\nContent-Length: x\r\n\r\n${OK}`,
    body: "ok",
  },
  {
    name: "101 after 100",
    bytes: "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 101 S\r\n\r\n",
    protocol: /^byte 19 of the head: 101/,
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
    bytes: `${HEAD}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
    body: "ok",
  },
  {
    name: "two lengths",
    bytes: `${HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
    end: true,
    body: "ok",
  },
  { name: "length list", bytes: `${HEAD}Content-Length: 2, 3\r\n\r\nok`, end: true, body: "ok" },
  { name: "signed length", bytes: `${HEAD}Content-Length: +2\r\n\r\nok`, end: true, body: "ok" },
  { name: "negative length", bytes: `${HEAD}Content-Length: -1\r\n\r\nok`, end: true, body: "ok" },
  { name: "hex length", bytes: `${HEAD}Content-Length: 0x2\r\n\r\nok`, end: true, body: "ok" },
  { name: "empty length", bytes: `${HEAD}Content-Length:\r\n\r\nok`, end: true, body: "ok" },
  {
    name: "absurd length",
    bytes: `${HEAD}Content-Length: ${"9".repeat(16)}\r\n\r\nok`,
    end: true,
    body: "ok",
  },
  { name: "gzip", bytes: `${HEAD}Transfer-Encoding: gzip\r\n\r\nok`, end: true, body: "ok" },
  {
    name: "gzip, chunked",
    bytes: `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\nok`,
    end: true,
    body: "ok",
  },
  {
    name: "identity",
    bytes: `${HEAD}Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok`,
    body: "ok",
  },
  {
    name: "identity until close",
    bytes: `${HEAD}Transfer-Encoding: Identity\r\n\r\nok`,
    end: true,
    body: "ok",
  },
  {
    name: "chunked twice",
    bytes:
      `${HEAD}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
    body: "ok",
  },
  { name: "folded", bytes: `${HEAD}X: a\r\n b\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  {
    name: "folded with a tab",
    bytes: `${HEAD}X:\r\n\ta: b\r\nContent-Length: 2\r\n\r\nok`,
    body: "ok",
  },
  { name: "folded at first", bytes: `${HEAD} X: a\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  {
    name: "folded length",
    bytes: `${HEAD}Content-Length: 1\r\n 2\r\n\r\nok`,
    end: true,
    body: "ok",
  },
  {
    name: "space before the colon",
    bytes: `${HEAD}X : a\r\nContent-Length: 2\r\n\r\nok`,
    body: "ok",
  },
  {
    name: "space before the colon of the length",
    bytes: `${HEAD}Content-Length\t : 2\r\n\r\nok`,
    body: "ok",
  },
  { name: "no colon", bytes: `${HEAD}nonsense\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  { name: "no name", bytes: `${HEAD}: a\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  { name: "NUL", bytes: `${HEAD}X: a\x00b\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  { name: "bare CR", bytes: `${HEAD}X: a\rb\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  {
    name: "a name with brackets",
    bytes: `${HEAD}X(A): a\r\nContent-Length: 2\r\n\r\nok`,
    body: "ok",
  },
  {
    name: "a value beyond ASCII",
    bytes: `${HEAD}X: \xc3\xa9\r\nContent-Length: 2\r\n\r\nok`,
    body: "ok",
    reused: true,
  },
  { name: "bare LF", bytes: `${HEAD}X: a\nY: b\r\nContent-Length: 2\r\n\r\nok`, body: "ok" },
  { name: "bare LF everywhere", bytes: OK.replaceAll("\r\n", "\n"), body: "ok" },
  { name: "CR CR LF", bytes: OK.replaceAll("\r\n", "\r\r\n"), body: "ok" },
  { name: "bare LF at the end", bytes: `${HEAD}Content-Length: 2\r\n\nok`, body: "ok" },
  {
    name: "256 fields",
    bytes: `${HEAD}${"X: a\r\n".repeat(255)}Content-Length: 0\r\n\r\n`,
    reused: true,
  },
  { name: "257 fields", bytes: `${HEAD}${"X: a\r\n".repeat(257)}\r\n`, truncated: true },
  {
    name: "64 KiB of head",
    bytes: `${HEAD}X: ${"a".repeat(MAX_HEAD_BYTES)}\r\n\r\n`,
    truncated: true,
  },
  {
    name: "60 KB of head",
    bytes: `${HEAD}X: ${"a".repeat(60_000)}\r\nContent-Length: 0\r\n\r\n`,
    reused: true,
  },
  // A mistake after the head only cuts the body
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
  { name: "closed in the head", bytes: `${HEAD}X: a\r\n`, end: true, truncated: true },
  { name: "closed in a field", bytes: `${HEAD}X:`, end: true, truncated: true },
  {
    name: "closed after the status line",
    bytes: "HTTP/1.1 503 No\n",
    end: true,
    status: 503,
    truncated: true,
  },
  {
    name: "closed before the status line's end",
    bytes: "HTTP/1.1 200 OK",
    end: true,
    truncated: true,
  },
  { name: "closed after the status", bytes: "HTTP/1.1 200", end: true, truncated: true },
  {
    name: "closed after bare carriage returns",
    bytes: "HTTP/1.1 200 OK\rContent-Length: 2\r\rok",
    end: true,
    truncated: true,
  },
  {
    name: "closed within an interim",
    bytes: "HTTP/1.1 100",
    end: true,
    connection: /^closed within/,
  },
  {
    name: "closed after an interim",
    bytes: "HTTP/1.1 100 C\r\n\r\n",
    end: true,
    connection: /^closed within/,
  },
];

function play(played: Played): Play {
  return (socket) => {
    const bytes = Buffer.from(played.bytes, "latin1");
    if (played.end) socket.end(bytes);
    else socket.write(bytes);
  };
}

Deno.test("post() classifies every response", async (t) => {
  for (const played of PLAYED) {
    await t.step(played.name, async () => {
      await withReceiver(play(played), async (server, client) => {
        const target = to(server.port);
        const exchange = await client.post(target, request());
        if (played.protocol !== undefined || played.connection !== undefined) {
          const reason = played.protocol === undefined ? "connection" : "protocol";
          const cause = played.protocol ?? played.connection ?? /^/;
          const failure = failed(exchange, reason, cause);
          assert.equal(failure.address, `127.0.0.1:${server.port}`);
          // How much had come by then is up to the network; it is the beginning, and at most 4 KiB.
          const received = failure.received === undefined ? "" : text(failure.received);
          assert.equal(received !== "", played.protocol !== undefined);
          assert.ok(received.length <= 4096 && played.bytes.startsWith(received));
        } else {
          const { status, body, truncated, head } = answered(exchange);
          assert.equal(status, played.status ?? 200);
          assert.equal(text(body), played.body ?? "");
          assert.equal(truncated, played.truncated ?? false);
          assert.ok(/^HTTP\/\d+(\.\d+)?\s*\d{3}/i.test(head) && head.length <= 8192);
        }
        assert.equal(server.requests.length, 1);
        await client.post(target, request());
        assert.equal(server.connections, played.reused ? 1 : 2);
      });
    });
  }
});

/** Everything that a caller sees of a response, after the bytes and then an end. */
function outcomeOf(bytes: Uint8Array, cuts: readonly number[], closed: boolean): unknown {
  const response = newResponse();
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= at) continue;
    const read_into = bytes.slice(at, cut);
    readResponse(response, read_into);
    read_into.fill(0); // the parser must not keep the memory
    at = cut;
    // Memory: the bytes of an unfinished head, and the kept part of a body.
    assert.ok(response.pending.length <= MAX_HEAD_BYTES);
    assert.ok(response.kept <= MAX_BODY_BYTES && response.line.length <= 2048);
    assert.ok(response.body.length <= 2 * MAX_BODY_BYTES);
  }
  const phase = response.phase;
  endResponse(response, closed);
  return {
    phase,
    end: response.phase,
    // The quoted part of a line that is not HTTP depends on how much of it had come.
    mistake: response.mistake.replace(/(malformed status line) .*/, "$1"),
    status: response.phase === "done" ? response.status : 0,
    head: response.head,
    retry_after: response.phase === "done" ? response.retry_after : "",
    truncated: response.truncated,
    body: text(takeBody(response)),
  };
}

Deno.test("readResponse() shows an untidy head as lines, and folded fields as one", () => {
  const response = newResponse();
  const head = "\r\n HTTP/1.2 503 Busy\nRetry-After:\r\n 120\r\nX-A: a\n\tb\r\r\n\n";
  readResponse(response, Buffer.from(head));
  assert.equal(response.head, "HTTP/1.2 503 Busy\r\nRetry-After: 120\r\nX-A: a b");
  assert.equal(response.retry_after, "120");
});

Deno.test("readResponse() keeps the first 4 KiB of what is no response, interims included", () => {
  const response = newResponse();
  const bytes = "HTTP/1.1 100 Continue\r\n\r\n" + "SSH".repeat(2_000);
  readResponse(response, Buffer.from(bytes));
  assert.equal(response.mistake.split('"')[0], "byte 26 of the head: malformed status line ");
  assert.equal(text(response.received), bytes.slice(0, 4096));
});

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

Deno.test("readResponse() passes over empty lines at once, not once from each of them", () => {
  let searches = 0;
  // Its parts are of this kind, too.
  class Searched extends Uint8Array {
    override indexOf(...args: Parameters<Uint8Array["indexOf"]>): number {
      searches++;
      return super.indexOf(...args);
    }
  }
  const response = newResponse();
  readResponse(response, Searched.from(Buffer.from("\r\n".repeat(1_000) + OK, "latin1")));
  assert.equal(response.phase, "done");
  assert.ok(searches < 20, `${searches} searches`);
});

Deno.test("quote() bounds and escapes", () => {
  assert.equal(quote("a\r\n\x1b[31m\u20ac"), '"a\\x0d\\x0a\\x1b[31m\\x20ac"');
  assert.ok(quote("\x00".repeat(5000)).length <= 125);
});
