import assert from "node:assert/strict";
import { periodOf, readCursor, viewPage } from "../../lib/admin/lists.ts";
import { deliveryId, parseDeliveryId } from "../../lib/core/ids.ts";

const UUID = "019ab7d6-0000-7000-8000-000000000003";

Deno.test("readCursor() reads what viewPage() wrote, and refuses any other text", () => {
  const page = viewPage({ rows: [1, 2], next: UUID }, (row) => row * 2, deliveryId);
  assert.deepEqual(page, { data: [2, 4], next_cursor: deliveryId(UUID) });
  assert.equal(readCursor(deliveryId(UUID), parseDeliveryId), UUID);
  assert.equal(readCursor(undefined, parseDeliveryId), undefined);
  for (const text of ["", "dlv_", UUID, `${deliveryId(UUID)}0`]) {
    assert.throws(() => readCursor(text, parseDeliveryId), {
      code: "invalid",
      detail: {
        errors: [{ pointer: "/cursor", message: "Must be the next_cursor of the page before" }],
      },
    });
  }
  assert.equal(viewPage({ rows: [], next: null }, String).next_cursor, null);
});

Deno.test("periodOf() bounds the UUIDs of a period, with a minute for clocks that were set back", () => {
  const { first_uuid, last_uuid } = periodOf({
    since: "2026-11-24T10:00:00Z",
    until: "2026-11-24T11:00:00Z",
  });
  const ms = (uuid = "") => parseInt(uuid.replace("-", "").slice(0, 12), 16);
  assert.equal(ms(first_uuid), Date.parse("2026-11-24T09:59:00Z"));
  assert.equal(ms(last_uuid), Date.parse("2026-11-24T11:01:00Z"));
  const open = periodOf({});
  assert.deepEqual([open.first_uuid, open.last_uuid], [undefined, undefined]);
});
