import assert from "node:assert/strict";
import { nearest, nearestFirst } from "../../lib/core/nearest.ts";

Deno.test("nearest() forgives one slip in a short name, and one in three letters of a long one", () => {
  const names = ["crm", "erp", "analytics", "booking.created"];
  const table: [string, string | undefined][] = [
    ["crn", "crm"],
    ["cmr", "crm"],
    ["rcm", "crm"],
    ["CRM", "crm"],
    ["cr", "crm"],
    ["mrc", undefined],
    ["x", undefined],
    ["", undefined],
    ["anlaytisc", "analytics"],
    ["analytic", "analytics"],
    ["bokking.craeted", "booking.created"],
    ["service.created", undefined],
  ];
  for (const [given, expected] of table) assert.equal(nearest(given, names), expected, given);
  assert.equal(nearest("crm", []), undefined);
});

Deno.test("nearestFirst() sorts by distance", () => {
  assert.deepEqual(nearestFirst("abcdef", ["abcxyf", "abcdxf", "zzzzzz"]), ["abcdxf", "abcxyf"]);
});
