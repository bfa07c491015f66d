import assert from "node:assert/strict";
import fc from "fast-check";
import { idText, makeMessageReader, messageText } from "../../lib/core/server_sent.ts";

const STREAM = ": ping\n\n" + messageText("delivery", { id: "dlv_1", text: "a\n\nb" }) + idText(7) +
  "data: one\r\ndata: two\r\nid: 8\r\nretry: 5\r\n\r\n" + "event: x\n\n" +
  "data\n\ndata:tight\n\n" +
  ": unfinished";

const MESSAGES = [
  { event: "delivery", data: '{"id":"dlv_1","text":"a\\n\\nb"}' },
  { event: "message", data: "", id: "7" },
  { event: "message", data: "one\ntwo", id: "8" },
  { event: "message", data: "tight" },
];

Deno.test("a message reader reads what messageText() and idText() write, and others", () => {
  assert.deepEqual(makeMessageReader()(STREAM), MESSAGES);
});

Deno.test("a message reader does not care where a stream is cut", () => {
  fc.assert(fc.property(fc.array(fc.nat({ max: STREAM.length }), { maxLength: 20 }), (cuts) => {
    const read = makeMessageReader();
    const at = [0, ...cuts.toSorted((a, b) => a - b), STREAM.length];
    assert.deepEqual(at.slice(1).flatMap((end, n) => read(STREAM.slice(at[n], end))), MESSAGES);
  }));
});

Deno.test("a message reader refuses a message that does not end", () => {
  const read = makeMessageReader();
  assert.deepEqual(read("data: " + "x".repeat(4_000_000)), []);
  assert.throws(() => read("x".repeat(1_000_000)), /does not end/);
});
