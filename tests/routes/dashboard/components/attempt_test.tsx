import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type * as shown from "../../../../lib/admin/shown.ts";
import { AttemptDetails, hexLines } from "../../../../routes/dashboard/components/all.ts";
import { PORTAL } from "../../../../routes/dashboard/visit.ts";
import { ATTEMPT, VISIT } from "../../../support/patterns.tsx";

async function shownOf(attempt: Partial<shown.Attempt>): Promise<string> {
  return String(
    await <AttemptDetails attempt={{ ...ATTEMPT, ...attempt }} open visit={VISIT} />,
  );
}

const decode = (html: string) =>
  html.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&#39;", "'").replaceAll("&amp;", "&");

/** The texts of a pane's views: raw, pretty, curl. */
function viewsOf(html: string, title: string): string[] {
  const pane = html.split('<div class="pane">').find((part) => part.startsWith(`<h3>${title}`)) ??
    "";
  return (pane.match(/<pre [^>]*>([^]*?)<\/pre>/g) ?? [])
    .map((pre) => decode(pre.replace(/<[^>]*>/g, "")));
}

Deno.test("raw is the bytes that were sent, pretty has the same tokens, curl sends them again", async () => {
  const body = '{ "price":7.50e1,\n"a":1,"a":"\\u00fc" }';
  const [raw, pretty, curl] = viewsOf(
    await shownOf({ request: { ...ATTEMPT.request!, body } }),
    "Request",
  );
  assert.ok(
    raw?.startsWith("POST /webhooks/bookme HTTP/1.1\nHost: crm.example.com\nContent-Type:"),
  );
  assert.ok(raw?.endsWith(`\n\n${body}`), raw);
  assert.ok(pretty?.endsWith('\n\n{\n  "price": 7.50e1,\n  "a": 1,\n  "a": "\\u00fc"\n}'), pretty);
  assert.ok(curl?.startsWith(`printf %s '${body}' |\ncurl `), curl);
});

Deno.test("a body that is not JSON has no pretty view, a long one is sent once", async () => {
  assert.equal(viewsOf(await shownOf({}), "Response").length, 2);
  const of = (body: string) =>
    shownOf({ request: { ...ATTEMPT.request!, body } }).then((html) => viewsOf(html, "Request"));
  assert.equal((await of("no JSON")).length, 2);
  const long = JSON.stringify("x".repeat(70_000));
  assert.deepEqual((await of(long)).map((text) => text.endsWith(long)), [true]);
});

Deno.test("binary answers are shown as bytes, cut ones say so", async () => {
  const response = {
    status: 500,
    headers: [],
    body: Buffer.from([0, 255, 65, 60]).toString("base64"),
    body_encoding: "base64" as const,
    truncated: true,
  };
  const html = await shownOf({ status: 500, response });
  assert.deepEqual(viewsOf(html, "Response"), [
    `HTTP/1.1 500 Internal Server Error\n\n0000  00 ff 41 3c${" ".repeat(36)}  ..A<`,
  ]);
  assert.ok(html.includes("4 bytes, not text; cut off: only the beginning was kept"));
});

Deno.test("hexadecimal lines have sixteen bytes", () => {
  const lines = hexLines(new Uint8Array(17).fill(97)).split("\n");
  assert.equal(lines[0], `0000  ${"61 ".repeat(16).trim()}  ${"a".repeat(16)}`);
  assert.match(lines[1] ?? "", /^0010 {2}61 +a$/);
});

Deno.test("hidden and missing parts say why", async () => {
  const hidden = await shownOf({
    payload_hidden: true,
    response: null,
    advice: null,
    request: { ...ATTEMPT.request!, body: null },
  });
  assert.ok(hidden.includes("Payload hidden"));
  assert.ok(hidden.includes("Response hidden"));
  const gone = await shownOf({ request: { ...ATTEMPT.request!, body: null } });
  assert.ok(gone.includes("Payload gone"));
  const silent = await shownOf({ outcome: "timeout", status: null, response: null, advice: null });
  const business = String(
    await (
      <AttemptDetails
        attempt={{ ...ATTEMPT, outcome: "connection", status: null, response: null }}
        open
        visit={{ ...VISIT, house: PORTAL }}
      />
    ),
  );
  assert.ok(business.includes("</i>No answer</span>"), business);
  assert.ok(business.includes('<a href="/portal/help#connection">What this means</a>'));
  assert.ok(silent.includes("No response."));
  assert.ok(silent.includes('<a href="/dashboard/help#timeout">What timeout means</a>'));
});

Deno.test("the bar shares the time among the phases it had", async () => {
  const phases = { dns_ms: null, connect_ms: 25, tls_ms: null, waiting_ms: 75, reused: null };
  const html = await shownOf({ duration_ms: 100, phases });
  const parts = [...html.matchAll(/<rect class="(step\d)" x="([\d.]+)%" width="([\d.]+)%"/g)]
    .map(([, ...part]) => part);
  assert.deepEqual(parts, [["step2", "0.00", "25.00"], ["step4", "25.00", "75.00"]]);
  assert.ok(!html.includes("DNS"));
});
