import assert from "node:assert/strict";
import { formatTraceparent, parseTraceparent } from "../../lib/core/traceparent.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

Deno.test("parseTraceparent() reads ids and the sampled flag", () => {
  const ids = { trace_id: TRACE, span_id: SPAN };
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-01`), { ...ids, sampled: true });
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-00`), { ...ids, sampled: false });
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-02`), { ...ids, sampled: false });
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-ff`), { ...ids, sampled: true });
});

Deno.test("parseTraceparent() reads what it knows of a later version", () => {
  const parsed = parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-the-future-will-be-like`);
  assert.equal(parsed?.trace_id, TRACE);
  assert.equal(parseTraceparent(`cc-${TRACE}-${SPAN}-01`)?.span_id, SPAN);
});

Deno.test("parseTraceparent() ignores what W3C Trace Context calls invalid", () => {
  for (
    const text of [
      "",
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE}-${SPAN}-01-`,
      `00-${TRACE}-${SPAN}-01-more`,
      `00-${TRACE}-${SPAN}-1`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${TRACE.slice(1)}-${SPAN}-01`,
      `00-${"0".repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${"0".repeat(16)}-01`,
      `ff-${TRACE}-${SPAN}-01`,
      `cc-${TRACE}-${SPAN}-01.future`,
      ` 00-${TRACE}-${SPAN}-01`,
      `00-${TRACE}-${SPAN}-01\r\nX-Other: 1`,
      `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
    ]
  ) assert.equal(parseTraceparent(text), undefined, text);
});

Deno.test("formatTraceparent() gives back what it can vouch for", () => {
  const again = (text: string) => {
    const parsed = parseTraceparent(text);
    return parsed && formatTraceparent(parsed);
  };
  assert.equal(again(`00-${TRACE}-${SPAN}-01`), `00-${TRACE}-${SPAN}-01`);
  assert.equal(again(`00-${TRACE}-${SPAN}-02`), `00-${TRACE}-${SPAN}-00`);
  assert.equal(again(`cc-${TRACE}-${SPAN}-03-more`), `00-${TRACE}-${SPAN}-01`);
});
