/** Ten thousand generated inputs for every place that reads bytes from outside. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/error.ts";
import { loadConfig } from "../../lib/config/load.ts";
import {
  endResponse,
  MAX_BODY_BYTES,
  MAX_HEAD_BYTES,
  newResponse,
  readResponse,
  takeBody,
} from "../../lib/http/response_parser.ts";
import { endpoint, startDaemon } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { END, portIn, speak } from "../support/raw.ts";
import { startReceiver } from "../support/receiver.ts";
import { sampleOf } from "../support/samples.ts";
import { until } from "../support/wait.ts";

const CASES = { ingest: 4_000, config: 2_000, response: 4_000 };
const BATCH = 10;

/** A change to a text: characters at a place are replaced by others. */
const change = fc.record({
  at: fc.nat(100_000),
  length: fc.oneof(fc.constant(0), fc.nat(4), fc.nat(200)),
  put: fc.oneof(
    fc.constantFrom(
      ..."[ ] { } : , \" ' \\ \0 \r \n \t - + . e 0 9 % & * ! # ~ \x1b \x7f".split(" "),
    ),
    fc.constantFrom("\r\n", "\r\n\r\n", "__proto__", "\\u0000", "\\ud800", "1e999", "null", "{}"),
    fc.constantFrom("\xff", "\xc0\xaf", "\xed\xa0\x80", "\xef\xbb\xbf", "\xf0\x9f\x98\x80"),
    fc.string({ maxLength: 12 }),
    fc.constant("x".repeat(5_000)),
  ),
});

/** Valid texts with a few changes in them. */
function damaged(...whole: string[]) {
  return fc.tuple(fc.constantFrom(...whole), fc.array(change, { maxLength: 4 })).map(
    ([text, changes]) => {
      for (const { at, length, put } of changes) {
        const start = at % (text.length + 1);
        text = text.slice(0, start) + put + text.slice(start + length);
      }
      return text;
    },
  );
}

// ---- Ingest

const SAMPLES = ["booking.created", "business.updated", "service.created"]
  .map((type) => Buffer.from(sampleOf(type)).toString("latin1"));
const LINES = SAMPLES.map((sample) => sample.replace(/\s+/g, " ")).join("\n");

const header = fc.tuple(
  fc.constantFrom("Idempotency-Key", "X-BookMe-Business", "X-Forwarded-For", "Content-Encoding"),
  fc.oneof(
    fc.constantFrom("identity", "gzip", "1.2.3.4", "a, b", "\xe9", ""),
    fc.string({ maxLength: 300 }).map((text) => text.replace(/[^\x20-\x7e]/g, "")),
  ),
).map(([name, value]) => `${name}: ${value}\r\n`);

/** Valid HTTP with odd content. */
const post = fc.record({
  body: fc.oneof(
    damaged(...SAMPLES),
    damaged(`[${SAMPLES.join(",")}]`, LINES),
    fc.json().map((text) => Buffer.from(text).toString("latin1")),
    fc.json().map((text) =>
      SAMPLES[0]?.replace("{", `{"x":${Buffer.from(text).toString("latin1")},`) ?? ""
    ),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  ),
  type: fc.constantFrom("application/json", "application/json", "application/x-ndjson", "text/x"),
  headers: fc.oneof(fc.constant([]), fc.array(header, { maxLength: 3 })),
}).map(({ body, type, headers }) => ({
  body,
  text: `POST /ingest HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: ${type}\r\n` +
    `${headers.join("")}Content-Length: ${body.length}\r\n\r\n${body}`,
}));

/** Not even valid HTTP. */
const bytes = fc.oneof(
  damaged(
    `POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${SAMPLES[0]?.length}\r\n\r\n${SAMPLES[0]}`,
    "POST /ingest HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "GET /api/deliveries?limit=5 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n",
    "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
  ),
  fc.uint8Array({ maxLength: 100 }).map((all) => Buffer.from(all).toString("latin1")),
).map((text) => ({ body: undefined, text }));

onServer(
  "fuzz.ingest: ingest answers everything below 500, and delivers what it took",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("all", receiver.url)],
    });
    const port = portIn(daemon.url);
    const taken = new Set<string>();
    const seen = new Map<number, number>();
    const batch = fc.array(fc.oneof({ arbitrary: post, weight: 3 }, bytes), {
      minLength: BATCH,
      maxLength: BATCH,
    });
    await fc.assert(
      fc.asyncProperty(batch, async (requests) => {
        await Promise.all(requests.map(async ({ body, text }) => {
          // Without a complete request no answer comes, so this side ends the connection.
          const { statuses } = await speak(
            port,
            body === undefined ? [text, END] : [text],
            Infinity,
          );
          for (const status of statuses) {
            assert.ok(status >= 200 && status < 500, `${status} to ${JSON.stringify(text)}`);
            seen.set(status, (seen.get(status) ?? 0) + 1);
          }
          if (body === undefined) return;
          assert.equal(statuses.length, 1, JSON.stringify(text));
          if (statuses[0] === 202 && !/^\s*\[|ndjson/.test(`${body}${text}`)) taken.add(body);
        }));
      }),
      { numRuns: CASES.ingest / BATCH, endOnFailure: true },
    );
    for (const status of [202, 400, 415, 422]) assert.ok(seen.has(status), `${status}`);
    await until("all of it is delivered", () => {
      const received = new Set(receiver.requests.map((request) => request.body.toString("latin1")));
      return [...taken].every((body) => received.has(body));
    });
    assert.deepEqual(daemon.log.filter(({ level }) => level === "error"), []);
  },
);

// ---- Configuration

const CONFIG = `environment: development
server: { listen: "127.0.0.1:8080", trusted_proxies: [10.0.0.5/32] }
database: { directory: ./data }
ip_ranges:
  development: [192.168.1.0/24]
secrets:
  crm: a secret of at least 24 characters
ingest: { secret: crm, max_body: 1MiB, max_age: 1h }
admin:
  tokens:
    - { name: ops, token: an-admin-token-0123, role: admin }
delivery: { timeout: 30s, retry: [0s, 1m], allow_networks: [10.20.0.0/16] }
retention: { events: 30d, attempts: 30d, payloads: 30d, keys: 30d }
alerts: { failure_rate: 0.2, window: 15m, min_attempts: 20, to: [] }
endpoints:
  - id: crm
    url: https://crm.example.com/webhooks?a=b
    secret: crm
    events: ["booking.*"]
    headers: { X-Tenant: bella }
    rate_limit: 50/s
`;

Deno.test("fuzz.config: a configuration is taken or refused with its places, and nothing else", () => {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-fuzz-" });
  const path = `${directory}/config.yaml`;
  const file = fc.oneof(
    { arbitrary: damaged(CONFIG), weight: 4 },
    fc.string({ maxLength: 200 }),
    fc.json().map((text) => `endpoints: ${text}\n`),
  );
  let valid = 0;
  try {
    fc.assert(
      fc.property(file, (text) => {
        Deno.writeFileSync(path, Buffer.from(text, "latin1"));
        try {
          loadConfig(path, () => undefined);
          valid++;
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
          assert.ok(error.mistakes.length > 0);
          for (const { line, column } of error.mistakes) assert.ok(line >= 0 && column >= 0);
        }
      }),
      { numRuns: CASES.config },
    );
    assert.ok(valid > 0 && valid < CASES.config);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

// ---- Responses

const RESPONSES = [
  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;x=y\r\n, x\r\n0\r\nX: y\r\n\r\n",
  "HTTP/1.0 503 Busy\r\nKeep-Alive: timeout=5\r\nRetry-After: 120\r\nContent-Length: 3\r\n\r\nabc",
  "HTTP/1.1 302 F\r\nLocation: http://169.254.169.254/\r\nConnection: close\r\n\r\nuntil the end",
];

Deno.test("fuzz.response: a response ends as done, failed or cut off, within its bounds", () => {
  fc.assert(
    fc.property(
      fc.oneof({ arbitrary: damaged(...RESPONSES), weight: 4 }, fc.string({ maxLength: 200 })),
      fc.array(fc.nat(300), { maxLength: 8 }),
      (text, places) => {
        const all = new Uint8Array(Buffer.from(text, "latin1"));
        const response = newResponse();
        let at = 0;
        for (const cut of [...places.toSorted((a, b) => a - b), all.length]) {
          if (cut > at && cut <= all.length) readResponse(response, all.slice(at, at = cut));
          assert.ok(response.pending.length <= MAX_HEAD_BYTES);
        }
        endResponse(response, true);
        assert.match(response.phase, /^(done|failed|head)$/);
        assert.ok(takeBody(response).length <= MAX_BODY_BYTES);
        assert.ok(response.mistake.length < 300);
        if (response.phase === "done") assert.ok(response.status >= 200 && response.status <= 999);
      },
    ),
    { numRuns: CASES.response },
  );
});
