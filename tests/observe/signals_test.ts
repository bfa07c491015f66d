import assert from "node:assert/strict";
import { makeSignals } from "../../lib/observe/signals.ts";

Deno.test("Signal.emit() reaches every listener until it unsubscribes", () => {
  const { refused } = makeSignals();
  const seen: string[] = [];
  refused.emit({ by: "http", code: "unheard" });
  const end = refused.on(({ code }) => seen.push(`first ${code}`));
  refused.on(({ code }) => seen.push(`second ${code}`));
  refused.emit({ by: "http", code: "a" });
  end();
  refused.emit({ by: "http", code: "b" });
  assert.deepEqual(seen, ["first a", "second a", "second b"]);
});

Deno.test("Signal.heard is true while somebody listens", () => {
  const { claimed, attempted } = makeSignals();
  assert.equal(claimed.heard, false);
  const end = claimed.on(() => {});
  assert.equal(claimed.heard, true);
  assert.equal(attempted.heard, false);
  end();
  assert.equal(claimed.heard, false);
});
