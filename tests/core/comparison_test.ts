import assert from "node:assert/strict";
import fc from "fast-check";
import { type ChangeBetween, compare, type ComparedAttempt } from "../../lib/core/comparison.ts";

const accepted: ComparedAttempt = {
  number: 1,
  started_at: "2026-11-26T13:58:41.000Z",
  outcome: "delivered",
  status: 200,
  cause: null,
  address: "203.0.113.20:443",
  duration_ms: 78,
  phases: { dns_ms: 1.8, connect_ms: 11.3, tls_ms: 24.2, waiting_ms: 40, reused: false },
  certificate_ends_at: "2027-01-26T00:00:00.000Z",
  request: {
    url: "https://crm.example.com/webhooks/bookme",
    headers: {
      "Content-Type": "application/json",
      "User-Agent": "BookMe-Webhooks/1.4.0",
      "X-BookMe-Signature": "sha256=1",
      "X-BookMe-Event-Id": "evt_1",
      "webhook-signature": "v1,a",
    },
    body: '{"event":"booking.created","data":{"appointment":{"id":"apt_1"}}}',
  },
  response: {
    headers: [["Server", "nginx"], ["Date", "Thu, 26 Nov 2026 13:58:41 GMT"]],
    body: '{"ok":true}',
    body_encoding: "utf-8",
  },
  payload_hidden: false,
  event_type: "booking.created",
  test: false,
  version: 11,
  signed_with: "secret of version 11",
};

/** The same answered by 401, but for `change`. */
const rejected = (change: Partial<ComparedAttempt> = {}): ComparedAttempt => ({
  ...accepted,
  number: 7,
  started_at: "2026-11-27T22:15:40.000Z",
  outcome: "http_4xx",
  status: 401,
  duration_ms: 84,
  request: {
    url: accepted.request?.url ?? "",
    headers: {
      ...accepted.request?.headers,
      "X-BookMe-Signature": "sha256=2",
      "X-BookMe-Event-Id": "evt_2",
      "webhook-signature": "v1,b",
    },
    body: '{"event":"booking.created","data":{"appointment":{"id":"apt_2"}}}',
  },
  response: {
    headers: [["server", "nginx"], ["date", "Fri, 27 Nov 2026 21:15:40 GMT"]],
    body: '{"error":"invalid signature"}',
    body_encoding: "utf-8",
  },
  ...change,
});

const rotation: ChangeBetween = {
  who: "anna, 2026-11-26T13:59:00.000Z",
  version: 12,
  is_rotation: true,
  before: null,
  after: { activates_at: "2026-11-26T13:59:00.000Z", overlap_ms: 86_400_000 },
};

const pairs = (after: ComparedAttempt, changes: readonly ChangeBetween[] = []) =>
  compare(accepted, after, changes).rows.map(({ label, before, after }) => [label, before, after]);

Deno.test("a rejected attempt against the last accepted one: status, secret, answer, and nothing more", () => {
  const after = rejected({ version: 12, signed_with: "secret of version 12" });
  const { rows, same } = compare(accepted, after, [rotation]);
  assert.deepEqual(rows.map(({ label, before, after, note }) => [label, before, after, note]), [
    ["Status", "200", "401", null],
    [
      "Signed with",
      "secret of version 11",
      "secret of version 12",
      "rotated by anna, 2026-11-26T13:59:00.000Z",
    ],
    ["Response body", '{"ok":true}', '{"error":"invalid signature"}', null],
  ]);
  assert.equal(
    same,
    "The same in both: URL, 2 request headers, event type, members of the request body, address, " +
      "certificate, connection, 1 response header. Times differ by less than 10 ms.",
  );
});

Deno.test("each thing that differs has its row", () => {
  const base = rejected();
  const request = (change: object) => ({ request: { ...base.request!, ...change } });
  const cases: [Partial<ComparedAttempt>, [string, string, string]][] = [
    [{ status: null, outcome: "timeout", cause: "no answer within 30 s" }, [
      "Result",
      "200",
      "timeout: no answer within 30 s",
    ]],
    [request({ url: "https://b.example/" }), ["URL", accepted.request!.url, "https://b.example/"]],
    [request({ headers: { ...base.request!.headers, "X-Tenant": "[redacted]" } }), [
      "Header x-tenant",
      "not sent",
      "[redacted]",
    ]],
    [request({ headers: { ...base.request!.headers, "webhook-signature": "v1,a v1,b" } }), [
      "webhook-signature",
      "1 signature",
      "2 signatures",
    ]],
    [request({ body: '{"event":"x","data":{"appointment":{"id":"1","notes":"n"}}}' }), [
      "Request body",
      "nothing more",
      "also data.appointment.notes",
    ]],
    [{ signed_with: null }, ["Signed with", "secret of version 11", "nothing"]],
    [{ event_type: "booking.updated" }, ["Event type", "booking.created", "booking.updated"]],
    [{ test: true }, ["Test event", "no", "yes"]],
    [{ address: "198.51.100.7:443" }, ["Address", "203.0.113.20:443", "198.51.100.7:443"]],
    [{ certificate_ends_at: "2027-04-26T00:00:00.000Z" }, [
      "Certificate",
      "ends 2027-01-26",
      "ends 2027-04-26",
    ]],
    [{ phases: { ...base.phases, reused: true } }, ["Connection", "new", "reused"]],
    [{ phases: { ...base.phases, waiting_ms: 29_900 } }, [
      "Waiting for an answer",
      "40 ms",
      "29.9 s",
    ]],
    [{ response: { ...base.response!, headers: [["Server", "Apache"]] } }, [
      "Answered server",
      "nginx",
      "Apache",
    ]],
  ];
  for (const [change, row] of cases) {
    const found = pairs(rejected(change));
    assert.deepEqual(found.find(([label]) => label === row[0]), row);
  }
});

Deno.test("other settings are named with who changed them", () => {
  const changed: ChangeBetween = {
    who: "ben, 2026-11-26T14:00:00.000Z",
    version: 12,
    is_rotation: false,
    before: { url: "u", settings: { timeout_ms: 30_000, headers: [] } },
    after: { url: "u", settings: { timeout_ms: 5_000, headers: [] }, cancels: 0 },
  };
  const { rows } = compare(accepted, rejected({ version: 12 }), [changed]);
  assert.deepEqual(rows.find(({ label }) => label === "Settings"), {
    label: "Settings",
    before: "version 11",
    after: "version 12",
    note: "timeout_ms changed by ben, 2026-11-26T14:00:00.000Z",
    raw: false,
  });
});

Deno.test("without payloads nothing of them is compared", () => {
  const hide = (one: ComparedAttempt): ComparedAttempt => ({
    ...one,
    payload_hidden: true,
    response: null,
    request: one.request === null ? null : { ...one.request, body: null },
  });
  const { rows, same } = compare(hide(accepted), hide(rejected()), []);
  assert.deepEqual(rows.map(({ label }) => label), ["Status"]);
  assert.doesNotMatch(same, /body|response/);
});

Deno.test("an attempt differs in nothing from itself", () => {
  const { rows, same } = compare(accepted, accepted, []);
  assert.deepEqual(rows, []);
  assert.match(
    same,
    /^The same in both: status, signed with, .*request body.*Times differ by less than 5 ms\.$/,
  );
});

Deno.test("compare() takes whatever bodies there are, and its texts stay short", () => {
  const body = fc.oneof(
    fc.json({ maxDepth: 2 }),
    fc.string({ unit: "binary" }),
    fc.constant("x".repeat(10_000)),
  );
  fc.assert(
    fc.property(body, body, body, body, (one, other, sent, resent) => {
      const response = (text: string) => ({ ...accepted.response!, body: text });
      const side = (answer: string, request: string) =>
        rejected({
          response: response(answer),
          request: { ...accepted.request!, body: request },
        });
      const { rows } = compare(side(one, sent), side(other, resent), []);
      assert.equal(rows.some(({ label }) => label === "Response body"), one !== other);
      for (const { before, after } of rows) {
        assert.ok(before !== after && before.length <= 1_000 && after.length <= 1_000);
      }
    }),
    { numRuns: 40 },
  );
});
