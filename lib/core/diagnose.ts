import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { decodeWhsec } from "./secret.ts";

/** Largest difference of `webhook-timestamp` from now, in seconds, as in Standard Webhooks' libraries. */
const TOLERANCE_S = 300;

/** The mistakes in a signature, with their remedies. */
const MISTAKES = {
  missing: "The header is missing; the endpoint may be unsigned, or a proxy dropped it",
  placeholder: "This is the placeholder of the documentation's example, not a signature",
  other_header: "This is the form of the webhook-signature header, not of X-BookMe-Signature",
  malformed: "The header is not sha256= and 64 hexadecimal digits; copy it whole",
  no_prefix: "sha256= is missing before the digits; compare with it, or add it",
  uppercase: "The header is in upper case; BookMe sends it in lower case",
  truncated: "The digits are cut off; a signature has 64",
  base64: "The digest is in base64; X-BookMe-Signature has it in hexadecimal digits",
  hex: "The digest is in hexadecimal digits; webhook-signature has it in base64",
  no_version: "v1, is missing before the digest; webhook-signature is v1, and base64",
  previous_secret: "It is signed with the previous secret; a rotation has not arrived everywhere",
  decoded_key: "It is keyed with the decoded bytes of the whsec_ secret; X-BookMe-Signature is " +
    "keyed with the whole string, whsec_ included",
  undecoded_key: "It is keyed with the whsec_ string; webhook-signature is keyed with the bytes " +
    "that its base64 stands for",
  stripped_key: "It is keyed with the secret without its whsec_; keep the prefix",
  prefix_missing: "The given secret lacks the whsec_ that the signature was made with",
  space_in_secret: "The given secret has white space around it; remove it",
  newline_in_secret: "It is signed with the secret and a newline after it; read the secret's " +
    "file without its last newline",
  newline:
    "The body has gained or lost white space at an end, such as a trailing newline; verify " +
    "the bytes as they came",
  line_endings: "The body's line endings were changed; verify the bytes as they came",
  byte_order_mark: "A byte order mark was added to the body or removed; verify the bytes as " +
    "they came",
  charset: "The body's UTF-8 was read as Latin-1; verify the bytes, before they become text",
  reserialised:
    "The body was parsed and written again; verify the bytes as they came, before the " +
    "JSON is parsed",
  bare_body: "Only the body is signed; webhook-signature signs id.timestamp.body",
  bad_timestamp: "webhook-timestamp is not a number of seconds since 1970",
  timestamp_ms: "webhook-timestamp is in milliseconds; it has seconds",
  too_old: "The signature is right, but webhook-timestamp is more than 5 minutes ago: an old " +
    "request sent again, or a clock that is ahead",
  too_new: "The signature is right, but webhook-timestamp is more than 5 minutes ahead: a clock " +
    "is wrong",
  unknown: "Another secret signed it, or the body was changed",
} as const;

/** A likely mistake in verifying a signature. */
export type SignatureMistake = keyof typeof MISTAKES;

/** The diagnosis of a signature. */
export interface Finding {
  readonly valid: boolean;
  /** Empty if valid. Several if only together they explain the signature. */
  readonly mistakes: readonly SignatureMistake[];
  /** The same in words, with the remedy. Never a secret. */
  readonly text: string;
}

/** The secret that should have signed, and those before it. */
export interface Keys {
  readonly secret: string;
  readonly previous?: readonly string[];
}

/** The three headers of Standard Webhooks. */
export interface StandardHeaders {
  readonly id: string | undefined;
  readonly timestamp: string | undefined;
  readonly signature: string | undefined;
}

/**
 * Whether `header` is the `X-BookMe-Signature` of these bytes, and if not, the likely mistake: the one
 * (or the fewest together) with which it fits.
 */
export function diagnoseBookme(body: Uint8Array, header: string | undefined, keys: Keys): Finding {
  const given = header?.trim() ?? "";
  if (given === "") return finding(["missing"]);
  if (given === "sha256=test_signature") return finding(["placeholder"]);
  if (given.startsWith("v1,")) return finding(["other_header"]);
  const found = search(
    keyVariants(keys, "bookme"),
    body,
    () => bodyVariants(body),
    (digest) => bookmeForm(given, digest),
  );
  if (found !== undefined) return finding(found.mistakes, found.detail);
  return /^sha256=[0-9a-f]{64}$/i.test(given)
    ? finding(["unknown"], hintOf(body))
    : finding(["malformed"]);
}

/** The same for the `webhook-…` headers. `now_s` is the time in seconds. */
export function diagnoseStandard(
  body: Uint8Array,
  headers: StandardHeaders,
  keys: Keys,
  now_s: number,
): Finding {
  const { id = "", timestamp = "", signature = "" } = headers;
  if (id === "" || timestamp === "" || signature.trim() === "") return finding(["missing"]);
  if (!/^\d{1,15}$/.test(timestamp)) return finding(["bad_timestamp"]);
  const prefix = Buffer.from(`${id}.${timestamp}.`);
  const signed = (bytes: Uint8Array) => Buffer.concat([prefix, bytes]);
  const found = search(
    keyVariants(keys, "standard"),
    signed(body),
    () => [
      ...bodyVariants(body).map((variant) => ({ ...variant, bytes: signed(variant.bytes) })),
      { bytes: body, mistake: "bare_body" },
    ],
    (digest) => standardForm(signature.trim().split(/\s+/), digest),
  );
  if (found === undefined) return finding(["unknown"], hintOf(body));
  if (found.mistakes.length > 0) return finding(found.mistakes, found.detail);
  const age_s = now_s - Number(timestamp);
  if (Math.abs(now_s - Number(timestamp) / 1000) <= TOLERANCE_S) return finding(["timestamp_ms"]);
  if (age_s > TOLERANCE_S) return finding(["too_old"]);
  return age_s < -TOLERANCE_S ? finding(["too_new"]) : finding([]);
}

/** A request as its receiver got it. */
export interface Received {
  readonly body: Uint8Array;
  /** Value of `X-BookMe-Signature`. */
  readonly signature?: string | undefined;
  /** The headers of Standard Webhooks. */
  readonly standard?: StandardHeaders | undefined;
}

/** The finding on each signature of a request, by header. `now_s` is the time in seconds. */
export function diagnose(
  { body, signature, standard }: Received,
  keys: Keys,
  now_s: number,
): readonly (readonly [header: string, finding: Finding])[] {
  const findings: [string, Finding][] = [];
  if (signature !== undefined) {
    findings.push(["X-BookMe-Signature", diagnoseBookme(body, signature, keys)]);
  }
  if (standard !== undefined) {
    findings.push(["webhook-signature", diagnoseStandard(body, standard, keys, now_s)]);
  }
  return findings;
}

function finding(mistakes: readonly SignatureMistake[], detail = ""): Finding {
  const texts = mistakes.map((mistake) => MISTAKES[mistake]);
  const text = texts.length === 0 ? "Valid" : texts.join(". And: ") + detail;
  return { valid: texts.length === 0, mistakes, text };
}

/** Bytes that may have been used instead of the right ones, which have no mistake. */
interface Variant {
  readonly bytes: Uint8Array;
  readonly mistake?: SignatureMistake;
  readonly detail?: string;
}

/** The mistakes in a header's form, or undefined if it is not of this digest. */
type Form = (digest: Uint8Array) => readonly SignatureMistake[] | undefined;

interface Found {
  readonly mistakes: readonly SignatureMistake[];
  readonly detail: string;
}

/** The fewest mistakes with which a header fits. A valid one costs one digest only. */
function search(
  keys: readonly Variant[],
  content: Uint8Array,
  contents: () => readonly Variant[],
  form: Form,
): Found | undefined {
  const [key] = keys;
  const right = key && form(digestOf(key.bytes, content));
  if (right?.length === 0) return { mistakes: [], detail: "" };
  const tried = contents();
  let best: Found | undefined;
  for (const key of keys) {
    for (const { bytes, mistake, detail = "" } of tried) {
      const formal = form(digestOf(key.bytes, bytes));
      if (formal === undefined) continue;
      const mistakes = [...formal, key.mistake, mistake].filter((one) => one !== undefined);
      if (best === undefined || mistakes.length < best.mistakes.length) best = { mistakes, detail };
    }
  }
  return best;
}

function digestOf(key: Uint8Array, content: Uint8Array): Uint8Array {
  return createHmac("sha256", key).update(content).digest();
}

function bookmeForm(given: string, digest: Uint8Array): SignatureMistake[] | undefined {
  const hex = Buffer.from(digest).toString("hex");
  const digits = given.replace(/^sha256=/i, "");
  const mistakes: SignatureMistake[] = digits === given ? ["no_prefix"] : [];
  if (digits === Buffer.from(digest).toString("base64")) return [...mistakes, "base64"];
  // Eight digits are enough: one in four thousand million fits by chance.
  if (digits.length < 8 || !hex.startsWith(digits.toLowerCase())) return undefined;
  if (given !== given.toLowerCase()) mistakes.push("uppercase");
  if (digits.length < hex.length) mistakes.push("truncated");
  return mistakes;
}

function standardForm(
  entries: readonly string[],
  digest: Uint8Array,
): SignatureMistake[] | undefined {
  const base64 = Buffer.from(digest).toString("base64");
  if (entries.includes(`v1,${base64}`)) return [];
  if (entries.includes(base64)) return ["no_version"];
  return entries.includes(`v1,${Buffer.from(digest).toString("hex")}`) ? ["hex"] : undefined;
}

function keyVariants(
  { secret, previous = [] }: Keys,
  scheme: "bookme" | "standard",
): readonly Variant[] {
  const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");
  const keyOf = (text: string) =>
    scheme === "bookme" ? utf8(text) : decodeWhsec(text) ?? utf8(text);
  const variants: Variant[] = [{ bytes: keyOf(secret) }];
  const add = (bytes: Uint8Array | undefined, mistake: SignatureMistake) => {
    if (bytes !== undefined) variants.push({ bytes, mistake });
  };
  for (const old of previous) add(keyOf(old), "previous_secret");
  if (scheme === "bookme") add(decodeWhsec(secret), "decoded_key");
  else add(utf8(secret), "undecoded_key");
  if (secret.startsWith("whsec_")) add(utf8(secret.slice("whsec_".length)), "stripped_key");
  else add(keyOf(`whsec_${secret}`), "prefix_missing");
  add(keyOf(secret.trim()), "space_in_secret");
  add(keyOf(`${secret}\n`), "newline_in_secret");
  return distinct(variants);
}

/** Longest body, in bytes, that is parsed and written again in all ways. */
const MAX_PARSED = 1024 * 1024;

function bodyVariants(body: Uint8Array): readonly Variant[] {
  // One character for each byte, so that bytes that are not UTF-8 stay as they are.
  const raw = Buffer.from(body).toString("latin1");
  const variants: Variant[] = [{ bytes: body }];
  const add = (text: string, mistake: SignatureMistake) =>
    void variants.push({ bytes: Buffer.from(text, "latin1"), mistake });
  add(raw.replace(/\r?\n$/, ""), "newline");
  add(`${raw}\n`, "newline");
  add(`${raw}\r\n`, "newline");
  add(raw.trim(), "newline");
  if (body.length > MAX_PARSED) return distinct(variants);
  add(raw.replaceAll("\r\n", "\n"), "line_endings");
  add(raw.replace(/\r?\n/g, "\r\n"), "line_endings");
  add(raw.replace(/^\xef\xbb\xbf/, ""), "byte_order_mark");
  add(`\xef\xbb\xbf${raw}`, "byte_order_mark");
  add(Buffer.from(body).toString("utf8"), "charset");
  for (const { text, how } of writings(body)) {
    const detail = ` (the signature fits it ${how})`;
    for (const whole of [text, `${text}\n`]) {
      variants.push({ bytes: Buffer.from(whole, "utf8"), mistake: "reserialised", detail });
    }
  }
  return distinct(variants);
}

/** The body's JSON as common programs write it. */
function writings(body: Uint8Array): { text: string; how: string }[] {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    return [{ order: "", value }, { order: " with sorted keys", value: sorted(value) }]
      .flatMap(({ order, value }) =>
        [
          { text: JSON.stringify(value), how: "without white space" },
          { text: JSON.stringify(value, null, 2), how: "indented by 2 spaces" },
          { text: JSON.stringify(value, null, 4), how: "indented by 4 spaces" },
          { text: JSON.stringify(value, null, "\t"), how: "indented by tabs" },
          { text: oneLine(value), how: "in one line with spaces" },
        ].map(({ text, how }) => ({ text, how: how + order }))
      )
      .flatMap(({ text, how }) => [
        { text, how },
        { text: ascii(text), how: `${how}, in ASCII` },
        { text: ascii(text).replaceAll("/", "\\/"), how: `${how}, with slashes escaped` },
      ]);
  } catch {
    return []; // not JSON, or nested too deeply to be written
  }
}

// JSON.stringify never writes a line end inside of a string.
function oneLine(value: unknown): string {
  return JSON.stringify(value, null, 1)
    .replace(/([{[])\n */g, "$1")
    .replace(/\n *([}\]])/g, "$1")
    .replace(/,\n */g, ", ");
}

function ascii(text: string): string {
  return text.replace(
    /[\u0080-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => a < b ? -1 : 1);
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

/** A hint at sorted keys, the one change of the text that cannot be undone. */
function hintOf(body: Uint8Array): string {
  const keys = /^\s*\{\s*"data"\s*:/.test(Buffer.from(body.subarray(0, 64)).toString("latin1"));
  return keys
    ? "; its keys are in another order than BookMe's (event, timestamp, data), as if it had been " +
      "parsed and written again"
    : "";
}

function distinct(variants: readonly Variant[]): readonly Variant[] {
  const seen = new Map<string, Variant>();
  for (const variant of variants) {
    const key = Buffer.from(variant.bytes).toString("latin1");
    if (!seen.has(key)) seen.set(key, variant);
  }
  return [...seen.values()];
}
