/** Levels that are indented: deeper ones would cost more white space than the text is long. */
const MAX_INDENT = 32;

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s"[\]{}:,]+/gs;

/**
 * JSON with a line for each member and element, indented by two spaces; null if the text is not JSON. Only
 * white space between tokens changes: numbers, escapes, repeated keys and their order stay as they are.
 */
export function prettyJson(text: string): string | null {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  const pieces: string[] = [];
  let depth = 0;
  let before = "";
  const newLine = () => pieces.push("\n", "  ".repeat(Math.min(depth, MAX_INDENT)));
  for (const [token] of text.matchAll(TOKEN)) {
    const is_closing = token === "}" || token === "]";
    if (is_closing) depth--;
    const is_empty = is_closing && (before === "{" || before === "[");
    if (!is_empty && (is_closing || before === "{" || before === "[" || before === ",")) newLine();
    pieces.push(token === ":" ? ": " : token);
    if (token === "{" || token === "[") depth++;
    before = token;
  }
  return pieces.join("");
}
