import type { StateKind } from "../verdicts/verdict.ts";
import { Shape } from "./state.tsx";
import type { Content } from "./text.tsx";
import { Moment, utcWords } from "./time.tsx";

/** A stretch of time and its attempts. Times are ISO 8601. */
export interface ChartBar {
  readonly from: string;
  readonly to: string;
  readonly delivered: number;
  readonly waiting: number;
  readonly failed: number;
}

/** Heights in pixels: arrived stands on the line, the rest hangs below it by a scale of its own. */
const SIZES = { top: 20, up: 88, down: 40, least: 3 } as const;
const MAX_LABELS = 8;
const DAY_MS = 86_400_000;

/**
 * Bars over time. `marks` are changes with their names, `pins` numbered ones that a list below explains. Horizontally
 * in percent and vertically in pixels, so that nothing is stretched; the numbers stand in a table below.
 */
export function Chart({ bars, marks = [], pins = [], top_label, label, unit = "deliveries" }: {
  readonly bars: readonly ChartBar[];
  readonly marks?: readonly { readonly at: string; readonly label: string }[];
  readonly pins?: readonly { readonly at: string; readonly label?: string }[];
  /** After the highest value: `in half an hour`. */
  readonly top_label: string;
  /** What the chart shows, for screen readers. */
  readonly label?: string;
  /** Plural of the things counted. */
  readonly unit?: string;
}) {
  const [first, last] = [bars[0], bars.at(-1)];
  if (first === undefined || last === undefined) return null;
  const span = spanOf(first.from, last.to);
  const most = Math.max(1, ...bars.map(({ delivered }) => delivered));
  const least = Math.max(1, ...bars.map(({ waiting, failed }) => waiting + failed));
  const line = SIZES.top + SIZES.up;
  const has_hanging = bars.some(({ waiting, failed }) => waiting + failed > 0);
  const bottom = line + (has_hanging ? SIZES.down : 0);
  const placed = placePins(pins.map(({ at }) => span.share(at)));
  const depth = placed.length === 0 ? 0 : 22 * (1 + Math.max(...placed.map(({ row }) => row)));
  return (
    <figure class="chart">
      <svg
        width="100%"
        height={bottom + 22 + depth}
        role="img"
        aria-label={label ?? `${unit} over time; the numbers are in the table below`}
        data-from={first.from}
        data-to={last.to}
      >
        <line class="grid" x1="0" x2="100%" y1={SIZES.top} y2={SIZES.top} />
        <text class="axis" x="0" y={SIZES.top - 6}>
          {`${most.toLocaleString("en-GB")} ${top_label}`}
        </text>
        {bars.map((bar) => (
          <Bar bar={bar} span={span} line={line} up={SIZES.up / most} down={SIZES.down / least} />
        ))}
        <line class="base" x1="0" x2="100%" y1={line + 0.5} y2={line + 0.5} />
        {axisLabels(span).map(({ at, style }, index) => (
          <text
            class={index % 2 === 1 ? "axis odd" : "axis"}
            x={percent(span.share(at))}
            y={bottom + 16}
            data-at={at}
            data-axis={style}
          >
            {style === "day" ? utcWords(at, "date").slice(0, -5) : utcWords(at, "time").slice(0, 5)}
          </text>
        ))}
        {marks.map(({ at, label }) => {
          const share = span.share(at);
          return (
            <>
              <line class="mark" x1={percent(share)} x2={percent(share)} y1="4" y2={bottom} />
              <text
                class="mark"
                x={percent(share)}
                dx={share > 0.5 ? -5 : 5}
                y={SIZES.top - 6}
                text-anchor={share > 0.5 ? "end" : "start"}
              >
                {label}
              </text>
            </>
          );
        })}
        {placed.map(({ share, row }, index) => {
          const y = bottom + 32 + 22 * row;
          return (
            <>
              <line
                class="mark"
                x1={percent(share)}
                x2={percent(share)}
                y1={SIZES.top}
                y2={y - 9}
              />
              <circle class="pin" cx={percent(share)} cy={y} r="8.5" />
              <text class="pin" x={percent(share)} y={y + 4}>{index + 1}</text>
            </>
          );
        })}
      </svg>
      <Numbers bars={bars} />
    </figure>
  );
}

interface Span {
  readonly from: number;
  readonly to: number;
  /** Where a time is between the first and the last, from 0 to 1. */
  share(at: string): number;
}

function spanOf(from: string, to: string): Span {
  const [start, end] = [Date.parse(from), Date.parse(to)];
  return {
    from: start,
    to: end,
    share: (at) => Math.min(1, Math.max(0, (Date.parse(at) - start) / Math.max(1, end - start))),
  };
}

function percent(share: number): string {
  return `${Math.round(share * 10_000) / 100}%`;
}

function Bar({ bar, span, line, up, down }: {
  readonly bar: ChartBar;
  readonly span: Span;
  readonly line: number;
  /** Pixels for each. */
  readonly up: number;
  readonly down: number;
}) {
  const { from, to, delivered, waiting, failed } = bar;
  const x = percent(span.share(from));
  // A ninth of each stretch stays free.
  const width = percent((span.share(to) - span.share(from)) * 8 / 9);
  const height = (count: number, scale: number) =>
    count === 0 ? 0 : Math.max(SIZES.least, Math.round(count * scale * 10) / 10);
  const [arrived, held, lost] = [
    height(delivered, up),
    height(waiting, down),
    height(failed, down),
  ];
  if (delivered + waiting + failed === 0) return null;
  return (
    <g>
      <title>
        {`${utcWords(from, "time")}: ${delivered} delivered, ${waiting} waiting, ${failed} failed`}
      </title>
      {delivered === 0
        ? null
        : <rect class="delivered" x={x} width={width} y={line - arrived} height={arrived} />}
      {failed === 0 ? null : <rect class="failed" x={x} width={width} y={line + 1} height={lost} />}
      {waiting === 0
        ? null
        : <rect class="waiting" x={x} width={width} y={line + 1 + lost} height={held} />}
    </g>
  );
}

/** Whole hours or days on the axis, at most eight of them. */
function axisLabels({ from, to }: Span): { at: string; style: "time" | "day" }[] {
  const is_days = to - from > 2 * DAY_MS;
  const hours = [1, 3, 6, 12, 24].find((step) => (to - from) / (step * 3_600_000) <= MAX_LABELS);
  const step = is_days ? DAY_MS : (hours ?? 24) * 3_600_000;
  const labels: { at: string; style: "time" | "day" }[] = [];
  for (let at = Math.ceil(from / step) * step; at < to - step / 8; at += step) {
    labels.push({ at: new Date(at).toISOString(), style: is_days ? "day" : "time" });
  }
  return labels;
}

/** Below which distance pins would cover each other, as a share of a phone's width. */
const PIN_GAP = 0.065;

/** Pins from left to right; one that would cover another goes one row deeper. */
function placePins(shares: readonly number[]): { share: number; row: number }[] {
  const ends: number[] = [];
  return shares.map((share) => {
    const found = ends.findIndex((end) => share - end >= PIN_GAP);
    const row = found < 0 ? ends.length : found;
    ends[row] = share;
    return { share, row };
  });
}

function Numbers({ bars }: { readonly bars: readonly ChartBar[] }) {
  return (
    <details class="fold">
      <summary>Numbers as a table</summary>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col" class="right">Delivered</th>
            <th scope="col" class="right">Waiting</th>
            <th scope="col" class="right">Failed</th>
          </tr>
        </thead>
        <tbody>
          {bars.map(({ from, delivered, waiting, failed }) => (
            <tr>
              <th scope="row">
                <Moment at={from} />
              </th>
              <td class="right">{delivered.toLocaleString("en-GB")}</td>
              <td class="right">{waiting.toLocaleString("en-GB")}</td>
              <td class="right">{failed.toLocaleString("en-GB")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

/** Explains the shapes of a chart. */
export function Legend({ items }: {
  readonly items: readonly { readonly kind: StateKind; readonly word: Content }[];
}) {
  return (
    <span class="legend">
      {items.map(({ kind, word }) => (
        <span>
          <Shape kind={kind} />
          {word}
        </span>
      ))}
    </span>
  );
}

/** The shapes of a chart of attempts. */
export function AttemptLegend() {
  return (
    <Legend
      items={[
        { kind: "delivered", word: "Delivered" },
        { kind: "failed", word: "Attempt failed" },
      ]}
    />
  );
}

/** What pins stand for, in their order, each with what followed. */
export function Pins({ items }: {
  readonly items: readonly { readonly text: Content; readonly note?: Content }[];
}) {
  return (
    <ol class="pins">
      {items.map(({ text, note }) => (
        <li>
          <div>{text}</div>
          {note === undefined || note === null ? null : <p class="note">{note}</p>}
        </li>
      ))}
    </ol>
  );
}

/** The same as a chart in the height of a row. What it shows is said in words next to it. */
export function Spark({ bars }: { readonly bars: readonly ChartBar[] }) {
  const most = Math.max(1, ...bars.map(({ delivered }) => delivered));
  const least = Math.max(1, ...bars.map(({ waiting, failed }) => waiting + failed));
  const [first, last] = [bars[0], bars.at(-1)];
  if (first === undefined || last === undefined) return null;
  const span = spanOf(first.from, last.to);
  return (
    <svg class="spark" width="100%" height="26" aria-hidden="true">
      <line class="grid" x1="0" x2="100%" y1="16.5" y2="16.5" />
      {bars.map((bar) => <Bar bar={bar} span={span} line={16} up={15 / most} down={9 / least} />)}
    </svg>
  );
}

/** Shares of a whole as one bar, such as a replay's progress or what is left of an overlap. */
export function Bars({ parts, total, label }: {
  readonly parts: readonly {
    readonly kind: "delivered" | "waiting" | "failed" | "accent";
    readonly value: number;
  }[];
  readonly total: number;
  /** What it shows, in words. */
  readonly label: string;
}) {
  let before = 0;
  return (
    <svg class="bars" width="100%" height="8" role="img" aria-label={label}>
      <rect class="track" width="100%" height="8" />
      {parts.map(({ kind, value }) => {
        const x = before;
        before += value;
        return value <= 0 ? null : (
          <rect
            class={kind}
            x={percent(x / Math.max(1, total))}
            width={percent(value / Math.max(1, total))}
            height="8"
          />
        );
      })}
    </svg>
  );
}
