import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { makeLog } from "../../lib/observe/log.ts";
import { ADMIN, booking, endpoint, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { until } from "../support/wait.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const MAX_BODY_BYTES = 64 * 1024;

/** The answer of a hostile receiver, which repeats `more` until the sender hangs up. */
interface Attack {
  readonly says: string | Uint8Array;
  readonly more?: string;
  readonly end?: boolean;
  /** Outcome that the attempt must have. */
  readonly outcome: "delivered" | "http_4xx" | "http_5xx" | "redirect" | "protocol" | "connection";
  readonly cause?: RegExp;
  readonly status?: number;
  readonly truncated?: boolean;
}

const BOMB = gzipSync(Buffer.alloc(50_000_000));
const FILL = "x".repeat(60_000);

const ATTACKS: Readonly<Record<string, Attack>> = {
  "gzip-bomb": {
    says: Buffer.concat([
      Buffer.from(`${OK}Content-Encoding: gzip\r\nContent-Length: ${BOMB.length}\r\n\r\n`),
      BOMB,
    ]),
    outcome: "delivered",
  },
  "gzip-unasked": {
    says: Buffer.concat([
      Buffer.from(`${OK}Content-Encoding: gzip\r\nConnection: close\r\n\r\n`),
      gzipSync("hello"),
    ]),
    end: true,
    outcome: "delivered",
    truncated: false,
  },
  "endless-body": { says: `${OK}\r\n`, more: FILL, outcome: "delivered", truncated: true },
  "endless-chunks": {
    says: `${OK}Transfer-Encoding: chunked\r\n\r\n`,
    more: `${FILL.length.toString(16)}\r\n${FILL}\r\n`,
    outcome: "delivered",
    truncated: true,
  },
  "endless-extension": {
    says: `${OK}Transfer-Encoding: chunked\r\n\r\n1;`,
    more: FILL,
    outcome: "delivered",
    truncated: true,
  },
  "endless-trailer": {
    says: `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n`,
    more: "X-A: aaaaaaaaaaaaaaaa\r\n".repeat(1000),
    outcome: "delivered",
    truncated: true,
  },
  "a-terabyte": {
    says: `${OK}Content-Length: 999999999999\r\n\r\n`,
    more: FILL,
    outcome: "delivered",
    truncated: true,
  },
  "cut-body": {
    says: `${OK}Content-Length: 100\r\n\r\nabc`,
    end: true,
    outcome: "delivered",
    truncated: true,
  },
  "endless-error": {
    says: "HTTP/1.1 500 No\r\n\r\n",
    more: FILL,
    outcome: "http_5xx",
    status: 500,
    truncated: true,
  },
  "endless-status-line": { says: "HTTP/1.1 200 ", more: FILL, outcome: "protocol", cause: /head/ },
  "endless-field": { says: `${OK}X-A: `, more: FILL, outcome: "delivered", truncated: true },
  "endless-fields": {
    says: OK,
    more: "X-A: a\r\n".repeat(1000),
    outcome: "delivered",
    truncated: true,
  },
  "endless-interim": {
    says: "HTTP/1.1 102 P\r\n\r\n",
    more: "HTTP/1.1 102 P\r\n\r\n".repeat(100),
    outcome: "protocol",
    cause: /head over/,
  },
  "early-hints": {
    says: `HTTP/1.1 103 H\r\nLink: </a>\r\n\r\n${OK}Content-Length: 0\r\n\r\n`,
    outcome: "delivered",
  },
  "switching": {
    says: "HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n",
    outcome: "protocol",
    cause: /101/,
  },
  "status-000": { says: "HTTP/1.1 000 No\r\n\r\n", outcome: "protocol" },
  "status-099": { says: "HTTP/1.1 099 No\r\n\r\n", outcome: "protocol" },
  "status-20": { says: "HTTP/1.1 20 OK\r\n\r\n", outcome: "protocol" },
  "status-2000": { says: "HTTP/1.1 2000 OK\r\n\r\n", outcome: "protocol" },
  "status-minus": { says: "HTTP/1.1 -200 OK\r\n\r\n", outcome: "protocol" },
  "status-letters": { says: "HTTP/1.1 2OO OK\r\n\r\n", outcome: "protocol" },
  "status-fullwidth": { says: "HTTP/1.1 \uff12\uff10\uff10 OK\r\n\r\n", outcome: "protocol" },
  "status-999": {
    says: "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    outcome: "http_5xx",
    status: 999,
  },
  "status-399": {
    says: "HTTP/1.1 399 Odd\r\nContent-Length: 0\r\n\r\n",
    outcome: "redirect",
    status: 399,
  },
  "http-0.9": { says: "<html>200 OK</html>", end: true, outcome: "protocol", cause: /status line/ },
  "http-2": { says: "\0\0\0\x04\0\0\0\0\0\n", outcome: "protocol" },
  "http-1.2": { says: "HTTP/1.2 200 OK\r\n\r\n", outcome: "delivered" },
  "smtp": { says: "220 mail.example ESMTP\r\n", outcome: "protocol" },
  "nothing": { says: "", end: true, outcome: "connection", cause: /closed before an answer/ },
  "half-a-head": { says: `${OK}X-A:`, end: true, outcome: "delivered", truncated: true },
  "both-lengths": {
    says: `${OK}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok`,
    outcome: "delivered",
  },
  "two-lengths": {
    says: `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
    outcome: "delivered",
  },
  "length-minus": { says: `${OK}Content-Length: -1\r\n\r\n`, outcome: "delivered" },
  "gzip-coding": { says: `${OK}Transfer-Encoding: gzip\r\n\r\n`, outcome: "delivered" },
  "folded": { says: `${OK}X-A: a\r\n b\r\n\r\n`, outcome: "delivered" },
  "bare-lf": { says: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", outcome: "delivered" },
  "nul-field": { says: `${OK}X-A: a\0b\r\n\r\n`, outcome: "delivered" },
  "two-answers": {
    says: `${OK}Content-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n`,
    outcome: "delivered",
    status: 200,
  },
  "script": {
    says:
      `${OK}X-Note: <script>alert(1)</script>\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>`,
    outcome: "delivered",
  },
  "script-status": {
    says: "HTTP/1.1 400 <img src=x onerror=alert(1)>\r\nContent-Length: 0\r\n\r\n",
    outcome: "http_4xx",
  },
  "ansi": {
    says: `${OK}X-Note: \x1b]0;owned\x07\r\nContent-Length: 9\r\n\r\n\x1b[2J\x1b[31m`,
    outcome: "delivered",
  },
  "ansi-cause": { says: "\x1b[2J\x1b]52;c;ZXZpbA==\x07\r\n\r\n", outcome: "protocol" },
  "crlf": {
    says: `${OK}Content-Length: 44\r\n\r\n\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n\r\nab`,
    outcome: "delivered",
  },
  "bidi": { says: `${OK}Content-Length: 3\r\n\r\n\xe2\x80\xae`, outcome: "delivered" },
  "latin1": {
    says: `${OK}X-A: \xff\xfe\r\nContent-Length: 2\r\n\r\n\xff\xfe`,
    outcome: "delivered",
  },
  "retry-for-ever": {
    says: "HTTP/1.1 503 No\r\nRetry-After: 99999999999999\r\nContent-Length: 0\r\n\r\n",
    outcome: "http_5xx",
    status: 503,
  },
  "cookie-and-location": {
    says: "HTTP/1.1 302 F\r\nLocation: http://169.254.169.254/\r\nSet-Cookie: a=b\r\n" +
      "Content-Length: 0\r\n\r\n",
    outcome: "redirect",
    status: 302,
  },
};

/** A receiver on bare sockets that answers each path with its entry of `ATTACKS`. */
async function startHostile() {
  const sockets = new Set<Socket>();
  let said = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).once("close", () => sockets.delete(socket));
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      const path = /POST \/(\S+) [^]*?\r\n\r\n/.exec(text)?.[1];
      if (path === undefined) return;
      text = ""; // the connection is reused if the answer allows it
      const attack = ATTACKS[path];
      if (attack !== undefined) play(socket, attack);
    });
  });
  function play(socket: Socket, { says, more, end }: Attack): void {
    const first = typeof says === "string" ? Buffer.from(says, "latin1") : says;
    if (end) return void socket.end(first);
    socket.write(first);
    if (more === undefined) return;
    const bytes = Buffer.from(more, "latin1");
    const go = () => {
      while (!socket.destroyed && said < 2_000_000_000) {
        said += bytes.length;
        if (!socket.write(bytes)) return void socket.once("drain", go);
      }
    };
    go();
  }
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await until("the receiver is closed", () => sockets.size === 0);
    },
  };
}

onServer(
  "response.hostile: whatever receivers answer has its reason, and a bounded size",
  async (database) => {
    await using hostile = await startHostile();
    const ids = Object.keys(ATTACKS);
    await using daemon = await startDaemon({
      database: database.section,
      // Longer than this test waits: nothing may wait for the end of an answer.
      delivery: { retry: ["0s"], timeout: "5m" },
      endpoints: ids.map((id) => endpoint(id.replaceAll(".", "-"), `${hostile.url}/${id}`)),
    });
    const before = Deno.memoryUsage().rss;
    for (let round = 0; round < 3; round++) {
      const { body: event } = await daemon.post(booking(`apt_${round}`));
      for (const id of ids) {
        const attack = ATTACKS[id] as Attack;
        const delivery = await daemon.delivery(
          await daemon.deliveryId(event.id, id.replaceAll(".", "-")),
        );
        const [attempt] = delivery.attempts;
        const about = `${id}: ${attempt.outcome} ${attempt.cause}`;
        assert.equal(attempt.outcome, attack.outcome, about);
        assert.equal(
          delivery.status,
          attack.outcome === "delivered" ? "delivered" : "failed",
          about,
        );
        if (attack.cause !== undefined) assert.match(attempt.cause, attack.cause);
        if (attack.status !== undefined) assert.equal(attempt.status, attack.status, about);
        if (attack.truncated !== undefined) {
          assert.equal(attempt.response.truncated, attack.truncated, about);
        }
        const { body = "", body_encoding } = attempt.response ?? {};
        assert.ok(
          Buffer.from(body, body_encoding === "base64" ? "base64" : "utf8").length <=
            MAX_BODY_BYTES,
          about,
        );
      }
    }
    const grown = Deno.memoryUsage().rss - before;
    assert.ok(grown < 400_000_000, `grew by ${grown} bytes`);
    assert.deepEqual(daemon.log.filter(({ level }) => level === "error"), []);
  },
);

onServer(
  "response.inert: what receivers say is shown as data, and nothing of it acts",
  async (database) => {
    await using hostile = await startHostile();
    const ids = ["script", "script-status", "ansi", "ansi-cause", "crlf", "bidi", "latin1"];
    await using daemon = await startDaemon({
      database: database.section,
      delivery: { retry: ["0s"], timeout: "10s" },
      endpoints: [...ids, "gzip-unasked"].map((id) => endpoint(id, `${hostile.url}/${id}`)),
    });
    const { body: event } = await daemon.post(booking("apt_1"));
    for (const id of ids) {
      const { id: delivery_id } = await daemon.delivery(await daemon.deliveryId(event.id, id));
      const response = await fetch(`${daemon.url}/api/deliveries/${delivery_id}`, {
        headers: { authorization: `Bearer ${ADMIN}` },
      });
      assert.match(response.headers.get("content-type") ?? "", /^application\/json\b/, id);
      assert.equal(response.headers.get("set-cookie"), null, id);
      const text = await response.text();
      // deno-lint-ignore no-control-regex -- control characters are what must not be there
      assert.doesNotMatch(text, /[\x00-\x1f\x7f]/, id);
    }
    const script = await daemon.delivery(await daemon.deliveryId(event.id, "script"));
    assert.equal(script.attempts[0].response.body, "<script>alert(1)</script>", "as it came");
    const gzip = await daemon.delivery(await daemon.deliveryId(event.id, "gzip-unasked"));
    const { body, body_encoding } = gzip.attempts[0].response;
    assert.equal(body_encoding, "base64");
    assert.deepEqual(Buffer.from(body, "base64"), gzipSync("hello"), "not inflated");
    // deno-lint-ignore no-control-regex
    assert.ok(daemon.log.every((line) => !/[\x00-\x1f]/.test(JSON.stringify(line))));
  },
);

Deno.test("response.log: a text log has one line for each entry, and no control characters", () => {
  const lines: string[] = [];
  const text = makeLog((line) => lines.push(line), "text", () => 0);
  const json = makeLog((line) => lines.push(line), "json", () => 0);
  for (const log of [text, json]) {
    log.warn("Odd", {
      cause: "\x1b[2J\r\n00:00:00.000 error: forged\x9b31m\x07\0",
      address: "\x7f",
    });
  }
  assert.equal(lines.length, 2);
  // deno-lint-ignore no-control-regex
  for (const line of lines) assert.doesNotMatch(line, /[\x00-\x1f]/);
  assert.doesNotMatch(lines[0] ?? "", /[\x7f-\x9f]/);
});
