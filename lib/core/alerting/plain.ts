/**
 * A text as one line of at most `max_chars` characters: control characters become spaces, and those that turn the
 * direction of what follows are left out, because a name must not rearrange the sentence that it is in.
 */
export function plainLine(text: string, max_chars: number): string {
  const line = text.toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]+/gu, " ")
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "")
    .trim();
  if (line.length <= max_chars) return line;
  return `${line.slice(0, max_chars - 1).toWellFormed().replace(/\ufffd$/, "")}…`;
}
