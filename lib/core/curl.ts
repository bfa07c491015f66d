/** A request that was sent. */
export interface SentRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Exactly what was sent. */
  readonly body: string;
}

/**
 * Lines of a shell command that sends the request again, with these very bytes: the signatures would not
 * fit others. Nothing in it is obeyed by a shell or by a terminal.
 */
export function curlLines({ url, headers, body }: SentRequest): string[] {
  const fields = Object.entries(headers).map(([name, value]) =>
    `  -H ${quote(`${name}: ${value}`)} \\`
  );
  return [
    `printf %s ${quote(body)} |`,
    `curl -sS -i ${quote(url)} \\`,
    ...fields,
    // curl would ask before it sends a long body, which our sender does not.
    "  -H 'Expect:' --data-binary @-",
  ];
}

/** Lines of a shell command that checks these very bytes against the secret that the receiver has. */
export function verifyLines(body: string, signature: string): string[] {
  return [
    `printf %s ${quote(body)} |`,
    `bookme-webhooks verify --body - --signature ${quote(signature)} \\`,
    "  --secret env:RECEIVER_SECRET",
  ];
}

// What acts on a terminal, rearranges what is read there, or would be changed on the way through one.
// Line breaks may stay: within quotes they are what they are.
const UNSAFE =
  // deno-lint-ignore no-control-regex
  /[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

/** One word of a shell command line: in '…', or in $'…' (bash, zsh, ksh) where '…' is not enough. */
export function quote(text: string): string {
  if (!UNSAFE.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const escaped = text
    .replace(/[\\']/g, "\\$&")
    .replace(new RegExp(UNSAFE, "g"), (char) =>
      [...new TextEncoder().encode(char)]
        .map((byte) => "\\" + byte.toString(8).padStart(3, "0")).join(""));
  return `$'${escaped}'`;
}
