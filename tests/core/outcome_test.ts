import assert from "node:assert/strict";
import { outcomeOfStatus, parseRetryAfter, REASONS } from "../../lib/core/outcome.ts";

Deno.test("outcomeOfStatus() sorts every status that can end an answer", () => {
  for (let status = 200; status <= 999; status++) {
    const expected = status < 300
      ? "delivered"
      : status < 400
      ? "redirect"
      : status === 410
      ? "gone"
      : status < 500
      ? "http_4xx"
      : "http_5xx";
    assert.equal(outcomeOfStatus(status), expected, String(status));
  }
});

Deno.test("REASONS are the contract's, once each", () => {
  assert.equal(
    REASONS.join(" "),
    "http_4xx http_5xx redirect timeout dns tls connection protocol blocked gone interrupted",
  );
});

Deno.test("parseRetryAfter() reads seconds", () => {
  const now_ms = Date.UTC(2025, 9, 31, 15, 30);
  assert.equal(parseRetryAfter("120", now_ms), 120_000);
  assert.equal(parseRetryAfter("0", now_ms), 0);
  assert.equal(parseRetryAfter(" 7 ", now_ms), 7000);
  assert.equal(parseRetryAfter("0010", now_ms), 10_000);
  assert.equal(parseRetryAfter("9".repeat(400), now_ms), 3.2e12);
});

Deno.test("parseRetryAfter() reads an HTTP date that lies ahead", () => {
  const now_ms = Date.UTC(2025, 9, 31, 15, 30);
  assert.equal(parseRetryAfter("Fri, 31 Oct 2025 15:31:00 GMT", now_ms), 60_000);
  assert.equal(parseRetryAfter("Friday, 31-Oct-25 15:31:00 GMT", now_ms), 60_000);
  assert.equal(parseRetryAfter("Fri Oct 31 15:31:00 2025", now_ms), 60_000);
  assert.equal(parseRetryAfter("Fri, 31 Oct 2025 15:30:00 GMT", now_ms), null);
  assert.equal(parseRetryAfter("Thu, 30 Oct 2025 15:30:00 GMT", now_ms), null);
});

Deno.test("parseRetryAfter() ignores what is neither", () => {
  for (
    const value of [
      undefined,
      "",
      " ",
      "soon",
      "-1",
      "+1",
      "1.5",
      "1e3",
      "0x10",
      "1, 2",
      "1 2",
      "2025-10-31T15:31:00Z",
      "Fri, 31 Oct 2099 15:31:00",
      "Fri, 31 Oct 2099 15:31:00 CET",
      "Fri, 31 Foo 2099 15:31:00 GMT",
      "Fri, 31 Oct 2099 25:31:00 GMT",
      "١٢",
    ]
  ) assert.equal(parseRetryAfter(value, 0), null, value);
});
