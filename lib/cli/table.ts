import { inWords } from "../core/explain.ts";
import type { Delivery } from "../admin/shown.ts";
import { type Io, type Palette, paletteOf, printable } from "./terminal.ts";

/** A cell: a text from anywhere, and how it is painted. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

/** Lines of aligned columns under their names. What a terminal would obey is written out. */
export function table(
  io: Io,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
): string[] {
  const { bold } = paletteOf(io);
  const lines = [head.map((text): Cell => ({ text, paint: bold })), ...rows];
  const widths = head.map((_, at) =>
    Math.max(...lines.map((cells) => printable(textOf(cells[at] ?? "")).length))
  );
  return lines.map((cells) =>
    cells.map((cell, at) => {
      const text = printable(textOf(cell));
      const space = at === cells.length - 1 ? "" : " ".repeat((widths[at] ?? 0) - text.length + 2);
      return (typeof cell === "string" ? text : cell.paint(text)) + space;
    }).join("").trimEnd()
  );
}

/** Lines of names and what they stand for; those without are left out. */
export function facts(io: Io, rows: readonly (readonly [string, Cell | null])[]): string[] {
  const { dim } = paletteOf(io);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.flatMap(([name, cell]) => {
    if (cell === null) return [];
    const text = printable(textOf(cell));
    return [
      `  ${dim(name.padEnd(width))}  ${typeof cell === "string" ? text : cell.paint(text)}`,
    ];
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
