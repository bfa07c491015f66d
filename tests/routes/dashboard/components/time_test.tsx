import assert from "node:assert/strict";
import {
  durationWords,
  TimedText,
  utcWords,
  waitHeight,
} from "../../../../routes/dashboard/components/all.ts";

Deno.test("durations are written in at most two units", () => {
  const cases: [number, string][] = [
    [0, "0.0 ms"],
    [0.42, "0.4 ms"],
    [84.2, "84 ms"],
    [999.4, "999 ms"],
    [11_400, "11.4 s"],
    [30_000, "30 s"],
    [59_960, "1 min"],
    [63_000, "1 min 3 s"],
    [3_599_600, "1 h"],
    [22_260_000, "6 h 11 min"],
    [183_600_000, "2 d 3 h"],
  ];
  for (const [ms, words] of cases) assert.equal(durationWords(ms), words, String(ms));
});

Deno.test("without the script times are UTC, and say so", () => {
  const at = "2026-11-06T14:02:11.318Z";
  assert.equal(utcWords(at, "time"), "14:02 UTC");
  assert.equal(utcWords(at, "relative"), "6 Nov 14:02 UTC");
  assert.equal(utcWords(at, "minute"), "6 Nov 14:02 UTC");
  assert.equal(utcWords(at, "absolute"), "6 Nov 14:02:11 UTC");
  assert.equal(utcWords(at, "step"), "6 Nov 14:02:11 UTC");
  assert.equal(utcWords(at, "date"), "6 Nov 2026");
});

Deno.test("a longer wait takes more height, in steps that the stylesheet has", async () => {
  const style = await Deno.readTextFile(
    new URL("../../../../routes/dashboard/assets/style.css", import.meta.url),
  );
  const heights = [0, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000, 1e12]
    .map(waitHeight);
  assert.deepEqual(heights, heights.toSorted((a, b) => a - b));
  assert.equal(heights[0], 24);
  assert.equal(heights.at(-1), 72);
  for (const height of heights.slice(1)) {
    if (height > 24) {
      assert.ok(style.includes(`.h${height} {\n  height: ${height}px;`), `${height}`);
    }
  }
});

Deno.test("times and code within a sentence are shown as such", async () => {
  const text = "Attempt 2 <b> follows at 2026-11-29T00:27:45.665Z (in 1 s); run `verify`";
  assert.equal(
    String(await <TimedText text={text} />),
    'Attempt 2 &lt;b&gt; follows at <time datetime="2026-11-29T00:27:45.665Z" ' +
      'data-style="minute">29 Nov 00:27 UTC</time> (in 1\u00a0s); run <code>verify</code>',
  );
});
