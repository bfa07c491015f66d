import assert from "node:assert/strict";
import fc from "fast-check";
import { attemptId, deliveryId, eventId, replayId } from "../../lib/core/ids.ts";
import { formatFilters, kindOfId, parseSearch, QUALIFIERS } from "../../lib/core/search_query.ts";

const UUID = "01940000-0000-7000-8000-00000000002a";

function text(typed: string): string {
  const query = parseSearch(typed);
  assert.equal(query.kind, "text", typed);
  return query.kind === "text" ? query.text : "";
}

function filters(typed: string): Record<string, string> {
  const query = parseSearch(typed);
  assert.equal(query.kind, "filters", typed);
  return query.kind === "filters" ? Object.fromEntries(query.filters) : {};
}

Deno.test("parseSearch() takes ids, names, URLs and hosts as texts", () => {
  const table: [string, string][] = [
    [" BK4T8Q1Z ", "BK4T8Q1Z"],
    ["evt_06yp7m3k0r5d2c00h8vw", "evt_06yp7m3k0r5d2c00h8vw"],
    ["https://crm.example.com/in?status:x", "https://crm.example.com/in?status:x"],
    ["http://[::1]:8080/", "http://[::1]:8080/"],
    ["localhost:8080", "localhost:8080"],
    ["localhost:8080/in", "localhost:8080/in"],
    ["crm.example.com:8443", "crm.example.com:8443"],
    ["Bella   website", "Bella website"],
    ['"Bella website"', "Bella website"],
    ["APT:1", "APT:1"],
    ["12:30", "12:30"],
    [":", ":"],
  ];
  for (const [typed, expected] of table) assert.equal(text(typed), expected);
  assert.deepEqual(parseSearch(" \t"), { kind: "nothing" });
});

Deno.test("parseSearch() reads qualifiers, with quotes where a value has spaces", () => {
  assert.deepEqual(filters("status:failed endpoint:crm  code:401 since:2h"), {
    status: "failed",
    endpoint: "crm",
    code: "401",
    since: "2h",
  });
  assert.deepEqual(filters('endpoint:"Bella website" reason:any'), {
    endpoint: "Bella website",
    reason: "any",
  });
  assert.deepEqual(filters('endpoint:"never closed'), { endpoint: "never closed" });
  assert.deepEqual(filters("since:2026-11-26T14:00:00Z"), { since: "2026-11-26T14:00:00Z" });
});

Deno.test("parseSearch() says which qualifiers there are", () => {
  assert.deepEqual(parseSearch("statsu:failed"), {
    kind: "mistake",
    message:
      "statsu: is no filter; there are status:, endpoint:, type:, reason:, code:, since:, until:",
    meant: "status:failed",
  });
  const table: [string, string, string | null][] = [
    ["colour:red", "colour: is no filter; there are", null],
    ["status:", "status: needs a value, such as status:failed", null],
    ["status:failed status:pending", "status: is there twice; a delivery has one", null],
    ["BK1 status:failed", "BK1 cannot be combined with status", "status:failed"],
    ["x".repeat(300), "A search is one line of up to 255 characters", null],
    ["x".repeat(501), "Search for at most 500 characters", null],
    ["a\u0000b", "A search is one line of up to 255 characters", null],
  ];
  for (const [typed, message, meant] of table) {
    const query = parseSearch(typed);
    assert.ok(query.kind === "mistake", typed);
    assert.ok(query.message.startsWith(message), query.message);
    assert.equal(query.meant, meant);
  }
});

Deno.test("parseSearch() makes something of every text, and keeps one without a colon", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 600 }), (typed) => {
    const query = parseSearch(typed);
    if (query.kind !== "text") return;
    assert.ok(query.text.length > 0 && query.text.length <= 510);
    if (!/[:"]/.test(typed)) assert.equal(query.text, typed.trim().split(/\s+/u).join(" "));
  }));
});

Deno.test("parseSearch() reads what formatFilters() writes", () => {
  const value = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((one) =>
    one.trim() === one && one !== "" && !/["/:]|\s\s|^\d/u.test(one) && !/[\n\r\t\f\v]/.test(one)
  );
  const pairs = fc.uniqueArray(fc.tuple(fc.constantFrom(...QUALIFIERS), value), {
    minLength: 1,
    selector: ([name]) => name,
  });
  fc.assert(fc.property(pairs, (all) => {
    assert.deepEqual(parseSearch(formatFilters(new Map(all))), {
      kind: "filters",
      filters: new Map(all),
    });
  }));
});

Deno.test("kindOfId() knows ids by their form", () => {
  const table: [string, ReturnType<typeof kindOfId>][] = [
    [eventId(UUID), "event"],
    [eventId(UUID).toUpperCase().replace("EVT", "Evt"), "event"],
    [deliveryId(UUID), "delivery"],
    [attemptId(UUID, 3), "attempt"],
    [replayId(UUID), "replay"],
    ["crm", null],
    ["evt_short", null],
  ];
  for (const [id, kind] of table) assert.equal(kindOfId(id), kind, id);
});
