import assert from "node:assert/strict";
import * as v from "valibot";
import { OPERATIONAL_TYPES } from "../../../lib/core/alerting/event.ts";
import { OPERATIONAL_NAMES } from "../../../lib/core/event_types.ts";

Deno.test("OPERATIONAL_TYPES[].schema describes its sample, member by member", () => {
  assert.deepEqual(OPERATIONAL_TYPES.map(({ name }) => name), OPERATIONAL_NAMES);
  for (const { name, schema, sample } of OPERATIONAL_TYPES) {
    const { event, data } = JSON.parse(sample);
    assert.equal(event, name);
    // Members that the schema does not know are dropped.
    assert.deepEqual(v.parse(schema, data), data);
    assert.equal(data.alert.status, name.endsWith("ended") ? "ended" : "open");
  }
});
