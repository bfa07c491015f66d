import type { Stats } from "../admin/shown.ts";
import { refusalInWords, refusalRemedy } from "../core/refusals.ts";
import { columnsOf, table, when, wrap } from "./table.ts";
import type { Io } from "./terminal.ts";

/** Refused posts as a table, with the remedy of each kind below; no lines if there are none. */
export function refusedLines(io: Io, refused: Stats["refused"], now_ms: number): string[] {
  if (refused.length === 0) return [];
  const rows = refused.map(({ refusal, status, posts, last_at, last_address }) => [
    String(posts),
    String(status),
    when(io, last_at, now_ms),
    last_address ?? "-",
    refusalInWords(refusal),
  ]);
  return [
    ...table(io, ["REFUSED", "STATUS", "LAST", "FROM", "BECAUSE"], rows),
    ...refused.flatMap(({ refusal }) =>
      wrap(`${refusalInWords(refusal)}: ${refusalRemedy(refusal)}`, columnsOf(io))
    ),
  ];
}
