import type { Finding } from "../../core/examination.ts";
import { columnsOf, wrap } from "../table.ts";
import { type Io, paletteOf, printable } from "../terminal.ts";

/** One line of the doctor's, on `subject`. */
export interface Verdict extends Finding {
  readonly subject: string;
}

/** All is well. */
export function good(subject: string, text: string): Verdict {
  return { mark: "✓", subject, text, remedy: null };
}

/** Something is worth a look. */
export function odd(subject: string, text: string, remedy: string): Verdict {
  return { mark: "!", subject, text, remedy };
}

/** Something is broken. */
export function bad(subject: string, text: string, remedy: string): Verdict {
  return { mark: "✗", subject, text, remedy };
}

/** A fault by a message that may have its remedy after a semicolon; if it has none, `remedy`. */
export function badBy(subject: string, message: string, remedy: string): Verdict {
  const at = message.indexOf("; ");
  return at < 0
    ? bad(subject, message, remedy)
    : bad(subject, message.slice(0, at), message.slice(at + 2));
}

/** Prints a verdict with its remedy, on as many lines as it takes. */
export function printVerdict(io: Io, { mark, subject, text, remedy }: Verdict): void {
  const { green, yellow, red, bold } = paletteOf(io);
  const paint = { "✓": green, "!": yellow, "✗": red }[mark];
  const more = remedy === null ? "" : `; ${remedy}`;
  const head = `${mark} ${printable(subject)}: `;
  const line = head + printable(text + more);
  const [first = "", ...others] = wrap(line, columnsOf(io) - 2);
  const rest = first.startsWith(head) ? first.slice(head.length) : undefined;
  io.out(rest === undefined ? first : `${paint(mark)} ${bold(printable(subject))}: ${rest}`);
  for (const other of others) io.out(`  ${other}`);
}
