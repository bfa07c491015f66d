import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { differences, sharedOf } from "../../lib/config/shared.ts";
import { ENV, load, OTHER, STRONG, TOKEN } from "../support/config.ts";
import { FULL, FULL_FILES } from "../support/full_config.ts";

const shared = (yaml: string, files: Readonly<Record<string, string>> = FULL_FILES) =>
  sharedOf(load(yaml, files));

const base = await shared(FULL);

/** What of the file differs after a change of its text. */
async function change(from: string, to: string, files = FULL_FILES): Promise<string[]> {
  assert.ok(FULL.includes(from), from);
  const changed = await shared(FULL.replace(from, to), files);
  const found = differences(changed, base);
  assert.equal(changed.digest === base.digest, found.length === 0, `${to}: ${found}`);
  return found;
}

Deno.test("sharedOf() ignores what may differ between machines, comments and the order of sets", async () => {
  for (
    const [from, to] of [
      ['listen: "[::1]:0"', "listen: 127.0.0.1:1"],
      ["trusted_proxies: [10.0.0.5/32, fd00::/8]", "trusted_proxies: []"],
      ["database: { url: env:DATABASE_URL }", "database: { directory: ./elsewhere }"],
      ["concurrency: 4096", "concurrency: 8"],
      ["source_address: 10.1.2.3", "source_address: 10.1.2.4"],
      ["public: [metrics]", "public: []"],
      ["role: viewer", "role: admin"],
      ["environment: development", "# a comment\nenvironment: development"],
      ['["booking.*", audit.done]', '[audit.done, "booking.*"]'],
      ["[bookme, before]", "[before, bookme]"],
      ["{ X-Tenant: bella, ", "{ "],
    ] as const
  ) {
    const found = await change(from, to);
    assert.deepEqual(found, from.startsWith("{ X") ? ["endpoint crm differs in headers"] : [], to);
  }
  assert.deepEqual(
    await change(
      'headers: { X-Tenant: bella, Authorization: "Bearer abc",',
      'headers: { Authorization: "Bearer abc", X-Tenant: bella,',
    ),
    [],
  );
});

Deno.test("differences() names endpoints, fields and sections, and no value", async () => {
  const cases: [from: string, to: string, found: string[]][] = [
    ["id: crm", "id: shop", ["endpoint crm is missing", "endpoint shop is not in force"]],
    ["webhooks/bookme", "webhooks/moved", ["endpoint crm differs in url"]],
    ["secret: crm\n", "secret: before\n", []], // the same value
    ["secret: crm\n", "secret: bookme\n", ["endpoint crm differs in secret"]],
    ["secret: crm\n", "secret: [bookme, crm]\n", ["endpoint crm differs in secret"]],
    ["businesses: [bus_123]", "businesses: [bus_124]", ["endpoint crm differs in businesses"]],
    ["timeout: 5m", "timeout: 4m", ["endpoint crm differs in policy"]],
    ["rate_limit: 300/m", "rate_limit: 5/s", []], // the same rate
    ["traceparent: true", "traceparent: false", ["endpoint crm differs in traceparent"]],
    ["Bearer abc", "Bearer abd", ["endpoint crm differs in headers"]],
    ["Customer relations", "CRM", ["endpoint crm differs in description"]],
    ["timeout: 10s", "timeout: 11s", ["delivery differs"]],
    ["10.20.0.0/16", "10.20.0.0/15", ["delivery differs"]],
    ["events: 7d, attempts: 1d", "events: 7d, attempts: 2d", ["retention differs"]],
    ["production: []", "production: [10.0.0.0/8]", ["ip_ranges differs"]],
    ["max_body: 64KiB", "max_body: 65KiB", ["ingest differs"]],
    ["secret: [bookme, before]", "secret: before", ["ingest differs"]],
    ["description: Moved,", "description: Changed,", ["events differs"]],
    ["min_attempts: 5", "min_attempts: 6", ["alerts differs"]],
    ["max_endpoints: 3", "max_endpoints: 4", ["portal differs"]],
  ];
  for (const [from, to, found] of cases) assert.deepEqual(await change(from, to), found, to);
  const files = { ...FULL_FILES, "ca.pem": FULL_FILES["cert.pem"] };
  assert.deepEqual(await change("", "", files), ["endpoint crm differs in tls"]);
});

Deno.test("sharedOf() keeps neither secrets nor their plain digests", async () => {
  const text = JSON.stringify(base);
  for (const secret of [STRONG, OTHER, TOKEN, "Bearer abc", ...Object.values(ENV)]) {
    if (secret.length < 8) continue;
    const guesses = [
      secret,
      ...["hex", "base64"].flatMap((form) => [
        createHash("sha256").update(secret).digest(form as "hex"),
        createHmac("sha256", secret).update("crm").digest(form as "hex"),
      ]),
    ];
    for (const guess of guesses) assert.ok(!text.includes(guess.slice(0, 16)), secret);
  }
  // The same secret leaves another digest in each place.
  const twice = await shared(
    FULL.replace("unsigned: true, events: [booking.moved]", "secret: crm, events: [booking.moved]"),
  );
  assert.notEqual(twice.endpoints["crm"]?.["secret"], twice.endpoints["9-lives_x"]?.["secret"]);
});
