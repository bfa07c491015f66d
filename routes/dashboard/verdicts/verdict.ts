/** Verdicts: the first words of each page, and the next steps. */

/** How a verdict looks: coloured only if somebody should act. */
export type Tone = "calm" | "failing" | "waiting" | "paused";

/** The shape before a state's word. */
export type StateKind =
  | "delivered"
  | "waiting"
  | "sending"
  | "overdue"
  | "failed"
  | "paused"
  | "cancelled"
  | "unused"
  | "owed";

/** A state: a shape and its word, which colour only repeats. */
export interface StateWords {
  readonly kind: StateKind;
  readonly word: string;
}

/** A piece of a sentence. Times are ISO 8601; the page shows them in the reader's time zone. */
export type Part =
  | string
  | { readonly strong: string }
  | { readonly code: string }
  | { readonly at: string; readonly style: "time" | "minute" | "absolute" | "relative" | "date" }
  | { readonly href: string; readonly text: string };

/** A sentence in pieces. */
export type Words = readonly Part[];

/** A step that may help: a link, or a form of one button that posts. */
export interface Action {
  readonly label: string;
  readonly href: string;
  readonly method: "get" | "post";
  readonly danger?: boolean;
  /** Hidden fields of a post. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** The first thing on a page. Its first action is the one most likely to help. */
export interface Verdict {
  readonly tone: Tone;
  readonly state: StateWords;
  /** One sentence without a full stop. */
  readonly headline: Words;
  /** Cause, consequence and next step: whole sentences. */
  readonly sentences: readonly Words[];
  readonly actions: readonly Action[];
}

/** A link among the actions. */
export function link(label: string, href: string): Action {
  return { label, href, method: "get" };
}

/** A button among the actions. */
export function button(
  label: string,
  href: string,
  fields: Readonly<Record<string, string>> = {},
): Action {
  return { label, href, method: "post", fields };
}

/** For how long a time of day alone is clear: there is only one 14:02 in less than a day. */
const CLEAR_MS = 18 * 3_600_000;

/** A time in a sentence: the time of day while that is clear, else with its day. */
export function moment(at: string, now: number): Part {
  const is_near = Math.abs(Date.parse(at) - now) < CLEAR_MS;
  return { at, style: is_near ? "time" : "minute" };
}

const TOLD = /`([^`]+)`|\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/g;

/** A text of the program as words: what it quotes is code, and its times are in the reader's zone. */
export function told(text: string, style: "absolute" | "minute" = "absolute"): Words {
  const parts: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(TOLD)) {
    if (match.index > from) parts.push(text.slice(from, match.index));
    const [whole, code, at = ""] = match;
    parts.push(code === undefined ? { at, style } : { code });
    from = match.index + whole.length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

const VERIFY = "`bookme-webhooks verify`";

/** Advice on an attempt as words: where it names the command that examines a signature, pages have their own. */
export function advised(text: string, base: string, delivery_id: string | null): Words {
  const at = text.indexOf(VERIFY);
  if (at < 0) return told(text);
  const href = `${base}/verify${delivery_id === null ? "" : `?delivery=${delivery_id}`}`;
  return [
    ...told(text.slice(0, at)),
    { href, text: "the signature checker" },
    ...told(text.slice(at + VERIFY.length)),
  ];
}

/** The words as plain text, with times in UTC. */
export function plain(words: Words): string {
  return words.map((part) => {
    if (typeof part === "string") return part;
    if ("strong" in part) return part.strong;
    if ("code" in part) return part.code;
    if ("text" in part) return part.text;
    const utc = part.at.slice(0, 16).replace("T", " ");
    return part.style === "time" ? utc.slice(11) : part.style === "date" ? utc.slice(0, 10) : utc;
  }).join("");
}

/** `1,000`, or `1,000+` if that many were counted and no further. */
export function number(value: number, exact = true): string {
  return value.toLocaleString("en-GB") + (exact ? "" : "+");
}

/** `1 delivery is`, `2 deliveries are`, `10,000+ deliveries are`. */
export function many(value: number, one: string, more: string, exact = true): string {
  return exact && value === 1 ? `1 ${one}` : `${number(value, exact)} ${more}`;
}

/** `crm`, `crm and ledger`, `crm, ledger and till`. */
export function together(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
