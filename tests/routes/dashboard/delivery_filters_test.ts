import assert from "node:assert/strict";
import fc from "fast-check";
import {
  forTab,
  inForce,
  listPath,
  readFilters,
  replayQuery,
  withinWords,
  without,
} from "../../../routes/dashboard/delivery_filters.ts";
import { SHOWN } from "../../../routes/dashboard/verdicts/deliveries.ts";

const NOW = Date.parse("2026-11-26T15:31:00.000Z");

function read(query: string, audience: "operator" | "business" = "operator") {
  const params = new URLSearchParams(query);
  return readFilters((name) => params.get(name) ?? undefined, audience, NOW);
}

Deno.test("without a query, operators see what needs attention and a business everything", () => {
  assert.deepEqual(read("").selection, {
    status: ["pending", "failed"],
    reason: "any",
    since: "2026-11-23T15:31:00.000Z",
    until: undefined,
  });
  assert.deepEqual(read("", "business").selection, {
    since: "2026-11-25T15:31:00.000Z",
    until: undefined,
  });
  assert.equal(read("endpoint=crm").filters.shown, "all");
});

Deno.test("tabs select, under the API's names too, and filters narrow", () => {
  assert.deepEqual(read("status=pending&endpoint=crm").selection, {
    status: "pending",
    endpoint: "crm",
    since: undefined,
    until: undefined,
  });
  assert.deepEqual(read("status=overdue").selection?.overdue, true);
  assert.deepEqual(read("status=tests").selection?.test, true);
  assert.deepEqual(
    read("status=failed&type=booking.created&reason=http_4xx&code=401&since=2h&until=2026-11-26")
      .errors,
    new Map([["since", "Nothing lies between these times: since must be before until"]]),
  );
  assert.deepEqual(
    read("status=failed&reason=timeout&since=2026-11-26T14:00:00%2B01:00&until=1h").selection,
    {
      status: "failed",
      reason: "timeout",
      since: "2026-11-26T13:00:00.000Z",
      until: "2026-11-26T14:31:00.000Z",
    },
  );
  assert.equal(read("since=2026-11-26 13:00").selection?.since, "2026-11-26T13:00:00.000Z");
  assert.equal(read("status=failed&since=all").selection?.since, undefined);
});

Deno.test("a filter that says nothing is named, and kept", () => {
  const table: [string, string, RegExp][] = [
    ["status=broken", "status", /^No status is called broken; there are attention, failed/],
    ["reason=tiemout", "reason", /did you mean timeout\?/],
    ["code=40", "code", /such as 401, or 4xx/],
    ["since=yesterday", "since", /such as 2h or 3d/],
    ["since=2026-02-30", "since", /such as 2h/],
    ["until=-1h", "until", /such as 2h/],
    [`endpoint=${"x".repeat(256)}`, "endpoint", /up to 255/],
  ];
  for (const [query, name, message] of table) {
    const { selection, errors, filters } = read(query);
    assert.equal(selection, null, query);
    assert.match(errors.get(name) ?? "", message);
    const value = new URLSearchParams(query).get(name);
    if (name !== "status") assert.equal(filters[name as "code"], value);
  }
});

Deno.test("listPath() writes what readFilters() reads", () => {
  const value = fc.oneof(
    fc.constant(""),
    fc.string({ minLength: 1, maxLength: 9 }).map((text) => text.trim()),
  );
  const all = fc.record({
    shown: fc.constantFrom(...SHOWN),
    endpoint: value,
    type: value,
    reason: fc.constantFrom("", "timeout", "any"),
    code: fc.constantFrom("", "401", "4xx"),
    since: fc.constantFrom("all", "24h", "3d", "2026-11-26"),
    until: fc.constantFrom("", "1h"),
  }, { noNullPrototype: true });
  fc.assert(fc.property(all, (filters) => {
    const query = listPath("/dashboard", filters).split("?")[1] ?? "";
    assert.deepEqual(read(query).filters, filters);
  }));
});

Deno.test("a removed filter is gone, and times that nobody chose follow the tab", () => {
  const { filters } = read("status=failed&endpoint=crm");
  assert.equal(filters.since, "3d");
  assert.equal(
    listPath("/dashboard", without(filters, "endpoint")),
    "/dashboard/deliveries?status=failed",
  );
  assert.equal(
    listPath("/dashboard", without(filters, "since")),
    "/dashboard/deliveries?status=failed&endpoint=crm&since=all",
  );
  assert.equal(forTab(filters, "all").since, "24h");
  assert.equal(forTab(without(filters, "since"), "delivered").since, "all");
  assert.deepEqual(inForce(filters), [["endpoint", "crm"], ["since", "3d ago"]]);
  assert.deepEqual(inForce(without(filters, "since")), [["endpoint", "crm"]]);
});

Deno.test("withinWords() says which times", () => {
  const said = (query: string) => withinWords(read(query).filters);
  assert.equal(said("status=failed"), " in the last 3 days");
  assert.equal(said("since=1h"), " in the last hour");
  assert.equal(said("since=all"), "");
  assert.equal(said("until=2h"), " before 2 hours ago");
  assert.equal(said("since=2026-11-26"), " since 2026-11-26");
  assert.equal(said("since=1d&until=2h"), " from 1 day ago to 2 hours ago");
});

Deno.test("replayQuery() selects what failed, by the filters that replays have", () => {
  const query = (text: string) => {
    const { selection } = read(text);
    return selection === null ? null : replayQuery(selection);
  };
  assert.equal(
    query("status=attention&endpoint=crm&code=401"),
    "status=failed&endpoint=crm&code=401&since=2026-11-23T15%3A31%3A00.000Z",
  );
  assert.equal(query("status=failed&reason=deselected"), null);
  assert.equal(
    query("status=failed&since=all"),
    "status=failed&since=1970-01-01T00%3A00%3A00.000Z",
  );
});
