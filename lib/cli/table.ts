import { stripVTControlCharacters } from "node:util";
import { eastAsianWidth } from "get-east-asian-width";
import { inWords } from "../core/explain.ts";
import type { Delivery, Hint, Page } from "../admin/shown.ts";
import { type Io, type Palette, paletteOf, printable } from "./terminal.ts";

/** A cell: a text from anywhere, and how it is painted. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

/** The space between two columns. */
const GAP = 2;
/** A text that is wrapped gets at least this many columns, or a line of its own. */
const MIN_WRAPPED = 24;

/**
 * Lines of aligned columns under their names. What a terminal would obey is written out. A terminal that is
 * too narrow does not get the columns named in `spare`, the first of them first, as far as that helps; then
 * the last column is wrapped, and others go on in a second line. Nothing is ever cut.
 */
export function table(
  io: Io,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  spare: readonly string[] = [],
): string[] {
  const { bold } = paletteOf(io);
  const lines = [head.map((text): Cell => ({ text, paint: bold })), ...rows];
  const widths = head.map((_, at) =>
    Math.max(...lines.map((cells) => widthOf(printable(textOf(cells[at] ?? "")))))
  );
  const columns = columnsOf(io);
  const shown = dropSpare(head, widths, spare, columns);
  const layout = layOut(shown, widths, columns);
  return lines.flatMap((cells) =>
    layout.flatMap((line, nth) =>
      writeLine(line.map((at) => cells[at] ?? ""), line, widths, {
        indent: nth === 0 ? 0 : GAP,
        columns,
      })
    )
  );
}

/** The columns that remain, by their places. */
function dropSpare(
  head: readonly string[],
  widths: readonly number[],
  spare: readonly string[],
  columns: number,
): number[] {
  let shown = head.map((_, at) => at);
  for (const name of spare) {
    if (lengthOf(shown, widths) <= columns) break;
    shown = shown.filter((at) => head[at] !== name);
  }
  return shown;
}

/** The columns of each line of a row. */
function layOut(shown: readonly number[], widths: readonly number[], columns: number): number[][] {
  const layout: number[][] = [[]];
  for (const at of shown) {
    const line = layout.at(-1) ?? [];
    const indent = layout.length === 1 ? 0 : GAP;
    // The last one can be wrapped.
    const least = at === shown.at(-1) ? Math.min(MIN_WRAPPED, widths[at] ?? 0) : widths[at] ?? 0;
    const before = line.length === 0 ? 0 : lengthOf(line, widths) + GAP;
    if (line.length === 0 || indent + before + least <= columns) line.push(at);
    else layout.push([at]);
  }
  return layout;
}

function lengthOf(places: readonly number[], widths: readonly number[]): number {
  return places.reduce((sum, at) => sum + (widths[at] ?? 0) + GAP, -GAP);
}

/** One line of a row, and more if its last cell is wrapped. */
function writeLine(
  cells: readonly Cell[],
  places: readonly number[],
  widths: readonly number[],
  { indent, columns }: { readonly indent: number; readonly columns: number },
): string[] {
  const last = cells.length - 1;
  let start = " ".repeat(indent);
  let taken = indent;
  cells.slice(0, last).forEach((cell, nth) => {
    const width = widths[places[nth] ?? 0] ?? 0;
    const text = printable(textOf(cell));
    start += paintOf(cell)(text) + " ".repeat(width - widthOf(text) + GAP);
    taken += width + GAP;
  });
  const cell = cells[last] ?? "";
  const [first = "", ...more] = wrap(printable(textOf(cell)), columns - taken);
  return [
    start + paintOf(cell)(first),
    ...more.map((text) => " ".repeat(taken) + paintOf(cell)(text)),
  ]
    .map((line) => line.trimEnd())
    // A cell without a text on a line of its own.
    .filter((line, nth) => line !== "" || (nth === 0 && indent === 0));
}

/** The width that lines must fit into: that of a terminal. */
export function columnsOf(io: Io): number {
  return io.isTerminal ? io.columns ?? Infinity : Infinity;
}

/** A text in lines of that width, broken at spaces only: a word that is longer stays whole. */
export function wrap(text: string, columns: number): string[] {
  if (widthOf(text) <= columns) return [text];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && widthOf(line) + 1 + widthOf(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** How many columns a terminal gives a text. Colours and combining characters take none. */
export function widthOf(text: string): number {
  if (/^[\x20-\x7e]*$/.test(text)) return text.length;
  return [...stripVTControlCharacters(text)].reduce(
    (sum, char) =>
      sum + (TAKES_NO_COLUMN.test(char) ? 0 : eastAsianWidth(char.codePointAt(0) ?? 0)),
    0,
  );
}

/** Marks that combine with the character before, and characters for formatting. */
const TAKES_NO_COLUMN = /[\p{Mn}\p{Me}\p{Cf}]/u;

function paintOf(cell: Cell): (text: string) => string {
  return typeof cell === "string" ? (text) => text : cell.paint;
}

/** Lines of names and what they stand for; those without are left out. Long ones are wrapped. */
export function facts(io: Io, rows: readonly (readonly [string, Cell | null])[]): string[] {
  const { dim } = paletteOf(io);
  const width = Math.max(...rows.map(([name]) => name.length));
  const room = Math.max(MIN_WRAPPED, columnsOf(io) - width - 4);
  return rows.flatMap(([name, cell]) => {
    if (cell === null) return [];
    return wrap(printable(textOf(cell)), room).map((text, nth) =>
      `  ${dim((nth === 0 ? name : "").padEnd(width))}  ${paintOf(cell)(text)}`.trimEnd()
    );
  });
}

function textOf(cell: Cell): string {
  return typeof cell === "string" ? cell : cell.text;
}

/** A moment of the API's for a table: how long ago on a terminal, else as it is. */
export function when(io: Io, at: string | null, now_ms: number): string {
  if (at === null) return "";
  return io.isTerminal ? relative(at, now_ms) : at;
}

/** A moment with how long ago it was. */
export function whenExactly(at: string | null, now_ms: number): string | null {
  return at === null ? null : `${at} (${relative(at, now_ms)})`;
}

function relative(at: string, now_ms: number): string {
  const ago_ms = now_ms - Date.parse(at);
  if (ago_ms > 2 * 86_400_000) return `${Math.floor(ago_ms / 86_400_000)} days ago`;
  return ago_ms >= 0 ? `${inWords(ago_ms)} ago` : `in ${inWords(-ago_ms)}`;
}

/** A duration in whole milliseconds, rounded up; `-` if it is unknown. */
export function millisecondsOf(duration_ms: number | null): string {
  return duration_ms === null ? "-" : `${Math.ceil(duration_ms)} ms`;
}

/** Says how to go on if a list has more entries than were printed. */
export function moreBelow(io: Io, { next_cursor }: Pick<Page<unknown>, "next_cursor">): void {
  if (next_cursor !== null) io.err(`There may be more; continue with --cursor ${next_cursor}`);
}

/** A delivery's status in its colour. */
export function statusCell(status: Delivery["status"], palette: Palette): Cell {
  const paint = {
    delivered: palette.green,
    failed: palette.red,
    pending: palette.yellow,
    cancelled: palette.dim,
  }[status];
  return { text: status, paint };
}

/** Likely causes of failing attempts, for `facts`. */
export function hintFacts(hints: readonly Hint[], now_ms: number): [name: string, text: string][] {
  return hints.map(({ text, at, by }, nth) => {
    const who = by === null ? "" : `, by ${by}`;
    return [nth === 0 ? "likely cause" : "or", `${text}: ${whenExactly(at, now_ms)}${who}`];
  });
}
