/** Small SVG plots: bars with whiskers, and lines. Nothing but text. */

import { short } from "./stats.ts";

const COLOURS: Readonly<Record<string, string>> = {
  "bookme-webhooks": "#1b6ec2",
  "bookme-webhooks embedded": "#7fb2e5",
  "graphile-worker": "#d9822b",
  "pg-boss": "#6f9e3f",
};
const OTHER = "#888888";
const WIDTH = 760;
const LEFT = 70;
const FONT = 'font-family="sans-serif" font-size="12"';

export function colourOf(name: string): string {
  return COLOURS[name] ?? OTHER;
}

export interface Bar {
  readonly group: string;
  readonly name: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
}

/** Bars side by side in groups, each with a whisker from the smallest to the largest repetition. */
export function barChart(title: string, unit: string, bars: readonly Bar[]): string {
  const height = 320;
  const bottom = height - 60;
  const top = 40;
  const highest = Math.max(...bars.map((bar) => bar.max), 1e-9);
  const groups = [...new Set(bars.map((bar) => bar.group))];
  const slot = (WIDTH - LEFT - 20) / groups.length;
  const y = (value: number) => bottom - value / highest * (bottom - top);
  const parts = axis(highest, y);
  groups.forEach((group, at) => {
    const mine = bars.filter((bar) => bar.group === group);
    const width = Math.min(60, slot * 0.8 / mine.length);
    const from = LEFT + slot * (at + 0.5) - width * mine.length / 2;
    mine.forEach((bar, i) => parts.push(...drawBar(bar, from + i * width, width * 0.9, y)));
    parts.push(text(LEFT + slot * (at + 0.5), bottom + 18, group, "middle"));
  });
  return frame(title, unit, height, [...parts, ...legend(bars.map((bar) => bar.name), height)]);
}

function drawBar(bar: Bar, x: number, width: number, y: (value: number) => number): string[] {
  const middle = round(x + width / 2);
  return [
    `<rect x="${round(x)}" y="${round(y(bar.value))}" width="${round(width)}" height="${
      round(y(0) - y(bar.value))
    }" fill="${colourOf(bar.name)}"/>`,
    `<path d="M${middle} ${round(y(bar.max))}V${round(y(bar.min))}M${middle - 4} ${
      round(y(bar.max))
    }h8M${middle - 4} ${round(y(bar.min))}h8" stroke="#222" fill="none"/>`,
    text(middle, y(bar.max) - 5, short(bar.value), "middle"),
  ];
}

export interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Lines over two logarithmic axes. */
export function lineChart(
  title: string,
  unit: string,
  x_unit: string,
  lines: readonly Line[],
): string {
  const height = 360;
  const bottom = height - 75;
  const top = 40;
  const points = lines.flatMap((line) => line.points).filter((point) => point.y > 0);
  const scale = (values: number[], from: number, to: number) => {
    const low = Math.log10(Math.min(...values));
    const span = Math.log10(Math.max(...values)) - low || 1;
    return (value: number) => from + (Math.log10(value) - low) / span * (to - from);
  };
  const x = scale(points.map((point) => point.x), LEFT + 10, WIDTH - 20);
  const ys = [...points.map((point) => point.y), 1, 100];
  const y = scale(ys, bottom, top);
  const parts: string[] = [];
  for (
    let tick = 10 ** Math.ceil(Math.log10(Math.min(...ys)));
    tick <= Math.max(...ys);
    tick *= 10
  ) {
    parts.push(rule(y(tick)), text(LEFT - 6, y(tick) + 4, short(tick), "end"));
  }
  for (const value of new Set(points.map((point) => point.x))) {
    parts.push(
      `<text x="${round(x(value))}" y="${
        bottom + 16
      }" ${FONT} text-anchor="end" transform="rotate(-40 ${round(x(value))} ${bottom + 16})">${
        short(value)
      }</text>`,
    );
  }
  for (const line of lines) {
    const path = line.points.filter((point) => point.y > 0)
      .map((point, i) => `${i === 0 ? "M" : "L"}${round(x(point.x))} ${round(y(point.y))}`).join(
        "",
      );
    parts.push(
      `<path d="${path}" stroke="${colourOf(line.name)}" fill="none" stroke-width="2"/>`,
    );
  }
  parts.push(text(WIDTH - 20, bottom + 45, x_unit, "end"));
  return frame(title, unit, height, [...parts, ...legend(lines.map((line) => line.name), height)]);
}

function axis(highest: number, y: (value: number) => number): string[] {
  const step = 10 ** Math.floor(Math.log10(highest));
  const unit = highest / step > 5 ? step * 2 : highest / step > 2 ? step : step / 2;
  const parts: string[] = [];
  for (let value = 0; value <= highest; value += unit) {
    parts.push(rule(y(value)), text(LEFT - 6, y(value) + 4, short(value), "end"));
  }
  return parts;
}

function rule(y: number): string {
  return `<path d="M${LEFT} ${round(y)}H${WIDTH - 10}" stroke="#ddd"/>`;
}

function legend(names: readonly string[], height: number): string[] {
  return [...new Set(names)].flatMap((name, i) => [
    `<rect x="${LEFT + i * 170}" y="${height - 22}" width="12" height="12" fill="${
      colourOf(name)
    }"/>`,
    text(LEFT + i * 170 + 17, height - 12, name, "start"),
  ]);
}

function frame(title: string, unit: string, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}"><rect width="100%" height="100%" fill="#fff"/>` +
    text(LEFT, 20, `${title} (${unit})`, "start") + parts.join("") + "</svg>\n";
}

function text(x: number, y: number, content: string, anchor: "start" | "middle" | "end"): string {
  const safe = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${round(x)}" y="${round(y)}" ${FONT} text-anchor="${anchor}">${safe}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
