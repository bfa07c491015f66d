import assert from "node:assert/strict";
import { Chart, type ChartBar, Spark } from "../../../../routes/dashboard/components/all.ts";
import { BARS } from "../../../support/patterns.tsx";

function bar(hour: number, delivered: number, waiting = 0, failed = 0): ChartBar {
  const at = (value: number) => new Date(Date.UTC(2026, 10, 26, value)).toISOString();
  return { from: at(hour), to: at(hour + 1), delivered, waiting, failed };
}

Deno.test("a chart has all of its numbers as a table", async () => {
  const html = String(await <Chart bars={BARS} top_label="in half an hour" />);
  const table = /<table class="numbers"[^]*<\/table>/.exec(html)?.[0] ?? "";
  const rows = table.match(/<tr><th scope="row">[^]*?<\/tr>/g) ?? [];
  assert.equal(rows.length, BARS.length);
  BARS.forEach(({ from, delivered, waiting, failed }, index) => {
    const row = rows[index] ?? "";
    assert.ok(row.includes(`datetime="${from}"`), row);
    const numbers = [...row.matchAll(/<td class="right">([\d,]+)<\/td>/g)].map(([, text]) => text);
    assert.deepEqual(numbers, [delivered, waiting, failed].map(String));
  });
});

Deno.test("one failure among thousands is three pixels high", async () => {
  const bars = [bar(1, 5_000, 0, 2_000), bar(2, 5_000, 0, 1)];
  const html = String(await <Chart bars={bars} top_label="an hour" />);
  const heights = [...html.matchAll(/<rect class="failed"[^>]*height="([\d.]+)"/g)]
    .map(([, text]) => Number(text));
  assert.deepEqual(heights, [40, 3]);
});

Deno.test("bars keep their place in time, and nothing is drawn for an empty hour", async () => {
  const html = String(await <Chart bars={[bar(0, 4), bar(1, 0), bar(3, 2)]} top_label="an hour" />);
  const places = [...html.matchAll(/<rect class="delivered" x="([\d.]+)%" width="([\d.]+)%"/g)]
    .map(([, x, width]) => [x, width]);
  assert.deepEqual(places, [["0", "22.22"], ["75", "22.22"]]);
  assert.ok(html.includes(">4 an hour<"));
});

Deno.test("a pin that would cover another goes one row deeper", async () => {
  const bars = [bar(0, 1), bar(9, 1)];
  const pins = ["00:00", "00:10", "05:00"].map((time) => ({ at: `2026-11-26T${time}:00.000Z` }));
  const html = String(await <Chart bars={bars} top_label="an hour" pins={pins} />);
  const heights = [...html.matchAll(/<circle class="pin"[^>]*cy="(\d+)"/g)].map(([, y]) =>
    Number(y)
  );
  assert.equal(heights.length, 3);
  assert.equal(heights[0], heights[2]);
  assert.equal(heights[1], (heights[0] ?? 0) + 22);
});

Deno.test("the axis has hours for a day and days for three, at most eight", async () => {
  const of = async (hours: number) => {
    const bars = Array.from({ length: hours }, (_, hour) => bar(hour, 1));
    const html = String(await <Chart bars={bars} top_label="an hour" />);
    return [...html.matchAll(/data-axis="(\w+)"[^>]*>([^<]*)</g)].map((
      [, style, text],
    ) => [style, text]);
  };
  assert.deepEqual((await of(24)).map(([, text]) => text), [
    "00:00",
    "03:00",
    "06:00",
    "09:00",
    "12:00",
    "15:00",
    "18:00",
    "21:00",
  ]);
  assert.deepEqual(await of(72), [["day", "26 Nov"], ["day", "27 Nov"], ["day", "28 Nov"]]);
});

Deno.test("without bars there is no chart", async () => {
  assert.equal(String(await <Chart bars={[]} top_label="an hour" /> ?? ""), "");
  assert.equal(String(await <Spark bars={[]} /> ?? ""), "");
});
