/** Headers out of logs, as people paste them. */

/** The headers that have to do with signatures. */
const NAMES = [
  "X-BookMe-Signature",
  "webhook-id",
  "webhook-timestamp",
  "webhook-signature",
] as const;

/** Longest text that is searched, in characters. */
const MAX_LENGTH = 64 * 1024;

/**
 * The signature headers in a text: header lines, curl's options, JSON, or a framework's `HTTP_X_BOOKME_SIGNATURE`.
 * A signature alone is that of its header.
 */
export function pastedHeaders(pasted: string): Record<string, string> {
  const text = pasted.slice(0, MAX_LENGTH);
  const alone = text.trim();
  if (/^sha256=\S+$/i.test(alone)) return { "X-BookMe-Signature": alone };
  return Object.fromEntries(NAMES.flatMap((name) => {
    const value = valueIn(text, name);
    return value === undefined ? [] : [[name, value]];
  }));
}

function valueIn(text: string, name: typeof NAMES[number]): string | undefined {
  const written = name.replaceAll("-", "[-_]");
  // Between name and value: `: `, `": "`, `' => '`, `=`, and the bracket of a list of values.
  const found = new RegExp(
    `(?<![\\w-])(?:http_)?${written}["']?[ \\t]*(?:=>|[:=])[ \\t]*\\[?[ \\t]*(?:"([^"\\n]*)"|'([^'\\n]*)'|([^\\n"'\`]*))`,
    "i",
  ).exec(text);
  if (found === null) return undefined;
  const [, double, single, bare = ""] = found;
  const value = double ?? single ??
    (name === "webhook-signature" ? signaturesOf(bare) : wordOf(bare));
  return value.trim() === "" ? undefined : value.trim();
}

/** The first word: another header may follow on the line. */
function wordOf(text: string): string {
  const [word = ""] = text.trim().split(/\s/);
  return word.replace(/[,;\\\]}]+$/, "");
}

/** The first word and the signatures after it. */
function signaturesOf(text: string): string {
  const [first = "", ...rest] = text.trim().split(/\s+/).map(wordOf);
  const end = rest.findIndex((word) => !word.startsWith("v1"));
  return [first, ...(end < 0 ? rest : rest.slice(0, end))].join(" ");
}
