import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { ENCRYPTION_KEY } from "../support/checked.ts";
import { ADMIN, booking, endpoint, startDaemon, VIEWER } from "../support/daemon.ts";
import { onServer } from "../support/databases.ts";
import { portIn, speak } from "../support/raw.ts";
import { startReceiver } from "../support/receiver.ts";

const AUTH = `Authorization: Bearer ${ADMIN}`;

/** A request's bytes; `headers` are whole lines. */
function request(method: string, target: string, headers: string[] = [AUTH], body = ""): string {
  const length = Buffer.byteLength(body);
  return [
    `${method} ${target} HTTP/1.1`,
    ...(headers.some((line) => /^host:/i.test(line)) ? [] : ["Host: 127.0.0.1"]),
    ...(body === "" ? [] : ["Content-Type: application/json"]),
    `Content-Length: ${length}`,
    ...headers,
  ].join("\r\n") + `\r\n\r\n${Buffer.from(body).toString("latin1")}`;
}

/** Header lines that do not let a request in, and the status of the answer. */
const CLOSED: readonly [headers: string[], status: number][] = [
  [[], 401],
  [["Authorization:"], 401],
  [["Authorization: Bearer"], 401],
  [["Authorization: Bearer "], 401],
  [[`Authorization: ${ADMIN}`], 401],
  [[`Authorization: Basic ${btoa(`ops:${ADMIN}`)}`], 401],
  [[`Authorization: Token ${ADMIN}`], 401],
  [[`Authorization: Bearer ${ADMIN}, Bearer ${ADMIN}`], 401],
  [[`Authorization: Bearer ${ADMIN} ${ADMIN}`], 401],
  [[`Authorization: Bearer ${ADMIN.slice(0, -1)}`], 401],
  [[`Authorization: Bearer ${ADMIN}0`], 401],
  [[`Authorization: Bearer ${ADMIN.toUpperCase()}`], 401],
  [[`Authorization: Bearer ops`], 401],
  [[`Authorization: Bearer undefined`], 401],
  [[`Authorization: Bearer [redacted]`], 401],
  [[`X-Api-Key: ${ADMIN}`], 401],
  [[`Cookie: token=${ADMIN}`], 401],
];

onServer(
  "api.token: nothing is shown or changed without a token, however it is asked",
  async (database) => {
    await using daemon = await startDaemon({
      database: database.section,
      endpoints: [endpoint("crm", "http://127.0.0.1:1/")],
    });
    const port = portIn(daemon.url);
    const ask = (text: string) => speak(port, [text]);
    // Few of these send a token at all: from the eleventh on, wrong ones are throttled.
    for (const [headers, status] of CLOSED) {
      const { statuses, text } = await ask(request("GET", "/api/endpoints", headers));
      assert.ok([status, 429].includes(statuses[0] ?? 0), `${headers}: ${text}`);
      assert.doesNotMatch(text, /crm/, headers.join());
    }
    const targets = [
      ...[
        "/api/config",
        "/api/audit",
        "/api/stats",
        "/api/deliveries",
        "/api/events",
        "/openapi.json",
      ],
      ...[
        "/api/endpoints?token=" + ADMIN,
        "/api/endpoints?access_token=" + ADMIN,
        "/api/../api/config",
      ],
      ...["/livez/../api/config", "/%61pi/config", "/api/nowhere", "/ingest/../api/endpoints"],
    ];
    for (const target of targets) {
      const { statuses, text } = await ask(request("GET", target, []));
      assert.ok([401, 404].includes(statuses[0] ?? 0), `${target}: ${text}`);
    }
    for (const target of ["//api/config", "/API/config", "/api\\config", "/api//config", "/./x"]) {
      const { statuses, text } = await ask(request("GET", target, []));
      assert.ok([400, 401, 404].includes(statuses[0] ?? 0), `${target}: ${text}`);
    }
    const changes: [method: string, target: string, body: string][] = [
      ["POST", "/api/endpoints", '{"url":"https://a.example/","events":["*"]}'],
      ["PATCH", "/api/endpoints/crm", "{}"],
      ["DELETE", "/api/endpoints/crm", ""],
      ["POST", "/api/endpoints/crm/pause", "{}"],
      ["POST", "/api/endpoints/crm/rotate", "{}"],
      ["POST", "/api/endpoints/crm/test", '{"event":"booking.created"}'],
      ["POST", "/api/reload", "{}"],
      ["POST", "/api/replays", '{"since":"2025-10-31T15:30:00Z"}'],
      ["POST", "/api/erasures", '{"subject":"apt_789"}'],
    ];
    for (const [method, target, body] of changes) {
      const open = await ask(request(method, target, [], body));
      assert.deepEqual(open.statuses, [401], `${target}: ${open.text}`);
      const viewer = [`Authorization: Bearer ${VIEWER}`];
      for (const more of [[], ["X-HTTP-Method-Override: GET"], ["X-Method-Override: GET"]]) {
        const { statuses, text } = await ask(request(method, target, [...viewer, ...more], body));
        assert.deepEqual(statuses, [403], `${target}: ${text}`);
      }
    }
    const { body } = await daemon.api("endpoints");
    assert.deepEqual(body.data.map(({ id }: { id: string }) => id), ["crm"]);
    assert.equal(body.data[0].paused_at ?? null, null);
  },
);

const GOOD = '"url":"https://a.example/","events":["*"]';

/** Requests with a valid token that must get that status, below 500. */
const HOSTILE: readonly [method: string, target: string, status: number, body?: string][] = [
  // Names of things
  ["GET", "/api/deliveries/x", 404],
  ["GET", "/api/deliveries/dlv_", 404],
  ["GET", `/api/deliveries/dlv_${"0".repeat(10_000)}`, 404],
  ["GET", "/api/deliveries/dlv_%00", 404],
  ["GET", "/api/deliveries/dlv_%ff%fe", 404],
  ["GET", "/api/deliveries/%27%3B%20drop%20table%20events%3B--", 404],
  ["GET", "/api/events/evt_../../etc/passwd", 404],
  ["GET", "/api/events/..%2f..%2fetc%2fpasswd", 404],
  ["GET", "/api/events/__proto__", 404],
  ["GET", "/api/endpoints/constructor", 404],
  ["GET", "/api/endpoints/%F0%9F%92%A9", 404],
  ["GET", "/api/endpoints/%", 404],
  ["GET", "/api/nowhere", 404],
  // Queries
  ["GET", "/api/deliveries?limit=0", 422],
  ["GET", "/api/deliveries?limit=201", 422],
  ["GET", "/api/deliveries?limit=-1", 422],
  ["GET", "/api/deliveries?limit=1e2", 422],
  ["GET", "/api/deliveries?limit=99999999999999999999", 422],
  ["GET", "/api/deliveries?limit=1&limit=2", 422],
  ["GET", "/api/deliveries?limit[]=1", 422],
  ["GET", "/api/deliveries?__proto__=1", 422],
  ["GET", "/api/deliveries?status=exploded", 422],
  ["GET", "/api/deliveries?status='%20or%201=1--", 422],
  ["GET", "/api/deliveries?cursor=x", 422],
  ["GET", "/api/deliveries?cursor=%00", 422],
  ["GET", "/api/deliveries?since=yesterday", 422],
  ["GET", "/api/deliveries?since=2025-02-30T00:00:00Z", 422],
  ["GET", "/api/deliveries?since=999999-01-01T00:00:00Z", 422],
  ["GET", "/api/deliveries?unknown=1", 422],
  ["GET", `/api/deliveries?endpoint=${"x".repeat(5_000)}`, 422],
  ["GET", "/api/events?q=%00", 422],
  ["GET", "/api/stats?window=forever", 422],
  ["GET", "/api/stats?window=-1h", 422],
  // Bodies
  ["POST", "/api/endpoints", 422, "{}"],
  ["POST", "/api/endpoints", 422, "[]"],
  ["POST", "/api/endpoints", 422, "null"],
  ["POST", "/api/endpoints", 400, "{"],
  ["POST", "/api/endpoints", 422, "\ufeff{}"],
  ["POST", "/api/endpoints", 422, `{${GOOD},"unknown":1}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"__proto__":{"role":"admin"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"id":"crm"}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"source":"file"}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"secret":"short"}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"secret":{"toString":"x"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"headers":{"Host":"x"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"headers":{"X-A":"a\\r\\nX-B: b"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"headers":{"X-A":"\\u0000"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"headers":{"X A":"a"}}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"timeout_ms":1e99}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"timeout_ms":-1}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"retry_ms":[]}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"retry_ms":[${Array(1000).fill(0)}]}`],
  ["POST", "/api/endpoints", 422, `{${GOOD},"businesses":["a\\u0000b"]}`],
  ["POST", "/api/endpoints", 422, '{"url":"https://169.254.169.254/","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://u:p@a.example/","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"http://a.example\\r\\nHost: b/","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://[fd00:ec2::254]/","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://2852039166/","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"javascript:alert(1)","events":["*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://a.example/","events":[]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://a.example/","events":["*","*"]}'],
  ["POST", "/api/endpoints", 422, '{"url":"https://a.example/","events":["<script>"]}'],
  ["POST", "/api/endpoints/crm/test", 422, '{"event":"booking.exploded"}'],
  ["POST", "/api/endpoints/crm/test", 422, '{"event":"__proto__"}'],
  ["POST", "/api/endpoints/nobody/test", 404, '{"event":"booking.created"}'],
  ["POST", "/api/endpoints/crm/rotate", 409, "{}"],
  ["PATCH", "/api/endpoints/crm", 409, '{"description":"x"}'],
  ["DELETE", "/api/endpoints/crm", 409],
  ["POST", "/api/replays", 422, "{}"],
  ["POST", "/api/erasures", 422, "{}"],
  ["POST", "/api/erasures", 422, '{"containing":" abc "}'],
  ["POST", "/api/erasures", 422, '{"containing":"abcd","subject":"apt_789"}'],
  ["POST", "/api/erasures", 422, '{"event":"evt_00000000000000000000"}'],
  ["POST", "/api/replays", 422, '{"since":"x"}'],
  ["POST", "/api/replays", 422, '{"since":"2025-10-31T15:30:00Z","rate":"0/s"}'],
  ["POST", "/api/deliveries/x/retry", 404, "{}"],
  ["POST", "/api/deliveries/dlv_00000000000000000000/cancel", 404, "{}"],
];

onServer(
  "api.hostile: odd names, queries and bodies are refused, and change nothing",
  async (database) => {
    await using receiver = await startReceiver();
    await using daemon = await startDaemon({
      database: database.section,
      encryption_key: ENCRYPTION_KEY,
      endpoints: [endpoint("crm", receiver.url)],
    });
    const port = portIn(daemon.url);
    const wrong: string[] = [];
    for (const [method, target, status, body] of HOSTILE) {
      const about = `${method} ${target.slice(0, 100)} ${body?.slice(0, 100) ?? ""}`;
      const { statuses, text } = await speak(port, [request(method, target, [AUTH], body)]);
      if (statuses[0] !== status) {
        wrong.push(
          `${about}: ${statuses} instead of ${status}: ${text.slice(-300)}`,
        );
      }
      assert.match(text, /\r\ncontent-type: application\/problem\+json\r\n/i, about);
    }
    assert.deepEqual(wrong, []);
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    for (const body of [deep, `{${GOOD},"headers":${deep}}`, "x".repeat(5_000_000)]) {
      const { statuses } = await speak(port, [request("POST", "/api/endpoints", [AUTH], body)]);
      assert.ok([400, 413, 422].includes(statuses[0] ?? 0), `${statuses}`);
    }
    const { body } = await daemon.api("endpoints");
    assert.deepEqual(body.data.map(({ id }: { id: string }) => id), ["crm"]);
    assert.equal((await daemon.post(booking("apt_1"))).status, 202);
    await receiver.received(1);
    assert.deepEqual(daemon.log.filter(({ level }) => level === "error"), []);
  },
);

onServer(
  "api.host: a page in somebody's browser cannot reach it by another name",
  async (database) => {
    await using daemon = await startDaemon({ database: database.section });
    const port = portIn(daemon.url);
    for (
      const host of ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", "x"]
    ) {
      const { statuses, text } = await speak(port, [
        request("GET", "/api/endpoints", [AUTH, `Host: ${host}`]),
      ]);
      assert.ok((statuses[0] ?? 0) >= 400 && (statuses[0] ?? 0) < 500, `${host}: ${text}`);
    }
    for (
      const host of ["127.0.0.1", `127.0.0.1:${port}`, "localhost", `localhost:${port}`, "[::1]"]
    ) {
      const { statuses, text } = await speak(port, [
        request("GET", "/api/endpoints", [AUTH, `Host: ${host}`]),
      ]);
      assert.deepEqual(statuses, [200], `${host}: ${text}`);
    }
    for (const method of ["GET", "OPTIONS", "POST"]) {
      const { text } = await speak(port, [
        request(method, "/api/endpoints", [
          AUTH,
          "Origin: https://evil.example",
          "Access-Control-Request-Method: POST",
        ]),
      ]);
      assert.doesNotMatch(text, /access-control-/i, method);
      assert.match(text, /x-content-type-options: nosniff/i, method);
    }
  },
);
