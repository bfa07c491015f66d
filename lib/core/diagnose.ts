import { Buffer } from "node:buffer";
import { makeHmac } from "./hmac.ts";
import { mixedRewritingsOf, rewritingsOf } from "./rewritings.ts";
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
    ({ bytes }) => bytes,
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
  const found = search(
    keyVariants(keys, "standard"),
    body,
    ({ bytes, mistakes }) =>
      mistakes.includes("bare_body") ? bytes : Buffer.concat([prefix, bytes]),
    (digest) => standardForm(signature.trim().split(/\s+/), digest),
    [{ bytes: body, mistakes: ["bare_body"] }],
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
  readonly mistakes: readonly SignatureMistake[];
  readonly detail?: string;
}

/** The mistakes in a header's form, or undefined if it is not of this digest. */
type Form = (digest: Uint8Array) => readonly SignatureMistake[] | undefined;

interface Found {
  readonly mistakes: readonly SignatureMistake[];
  readonly detail: string;
}

/** Bounds of a search in vain: bytes hashed, and digests of a long body. */
const MAX_HASHED = 24 * 1024 * 1024;
const MAX_DIGESTS = 250;

/**
 * The mistakes with which a header fits, the fewest being tried first. A valid one costs one digest only.
 * `signed` makes of a body what is signed; `more` are further variants of it.
 */
function search(
  keys: readonly Variant[],
  body: Uint8Array,
  signed: (body: Variant) => Uint8Array,
  form: Form,
  more: readonly Variant[] = [],
): Found | undefined {
  const signers = keys.map(({ bytes, mistakes }) => ({ signer: makeHmac(bytes), mistakes }));
  const given = signers.filter(({ mistakes: [first = "previous_secret"] }) =>
    first === "previous_secret"
  );
  let hashed = 0;
  let digests = 0;
  const fit = (tried: typeof signers, variants: Iterable<Variant>): Found | undefined => {
    for (const variant of variants) {
      const content = signed(variant);
      for (const { signer, mistakes } of tried) {
        if (hashed > MAX_HASHED && digests > MAX_DIGESTS) return undefined;
        hashed += content.length;
        digests++;
        const formal = form(signer.digest(content));
        if (formal === undefined) continue;
        return {
          mistakes: [...formal, ...mistakes, ...variant.mistakes],
          detail: variant.detail ?? "",
        };
      }
    }
    return undefined;
  };
  return fit(signers, [{ bytes: body, mistakes: [] }, ...more]) ??
    fit(signers.slice(0, 1), bytesVariants(body)) ??
    fit(signers.slice(1), bytesVariants(body)) ??
    fit(signers, rewritten(body, false)) ??
    fit(given, rewritten(body, true));
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
  const variants: Variant[] = [{ bytes: keyOf(secret), mistakes: [] }];
  const add = (bytes: Uint8Array | undefined, mistake: SignatureMistake) => {
    if (bytes !== undefined) variants.push({ bytes, mistakes: [mistake] });
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
/** Longest body that is changed in two ways at once. */
const MAX_CHANGED_TWICE = 64 * 1024;

/** A body as one character for each byte, so that bytes that are not UTF-8 stay as they are. */
interface Raw {
  readonly text: string;
  readonly mistakes: readonly SignatureMistake[];
}

/** The body with other bytes around or between its characters, the fewest changes first. */
function bytesVariants(body: Uint8Array): readonly Variant[] {
  const most = body.length > MAX_CHANGED_TWICE ? 1 : 2;
  const changes = body.length > MAX_PARSED ? [otherEnds] : CHANGES;
  let raws: readonly Raw[] = [{ text: Buffer.from(body).toString("latin1"), mistakes: [] }];
  for (const change of changes) {
    raws = raws.flatMap((raw) => raw.mistakes.length < most ? [raw, ...change(raw)] : [raw]);
  }
  const variants = raws
    .toSorted((a, b) => a.mistakes.length - b.mistakes.length)
    .map(({ text, mistakes }) => ({ bytes: Buffer.from(text, "latin1"), mistakes }));
  return distinct(variants).slice(1); // without the body itself
}

const CHANGES: readonly ((raw: Raw) => readonly Raw[])[] = [
  (raw) => charsets(raw.text).map((text) => changed(raw, "charset", text)),
  (raw) => [
    changed(raw, "byte_order_mark", raw.text.replace(/^\xef\xbb\xbf/, "")),
    changed(raw, "byte_order_mark", `\xef\xbb\xbf${raw.text}`),
  ],
  (raw) => [
    changed(raw, "line_endings", raw.text.replace(/\r\n?/g, "\n")),
    changed(raw, "line_endings", raw.text.replace(/\r?\n/g, "\r\n")),
  ],
  otherEnds,
];

function otherEnds(raw: Raw): readonly Raw[] {
  const { text } = raw;
  return [text.replace(/\r?\n$/, ""), `${text}\n`, `${text}\r\n`, text.trim()]
    .map((other) => changed(raw, "newline", other));
}

function changed({ mistakes }: Raw, mistake: SignatureMistake, text: string): Raw {
  return { text, mistakes: [...mistakes, mistake] };
}

/** The characters of windows-1252, which many programs mean by Latin-1, by their bytes. */
const WINDOWS = new TextDecoder("windows-1252").decode(
  Uint8Array.from({ length: 256 }, (_, at) => at),
);

/** The bytes before UTF-8 was read as Latin-1 and written as UTF-8, or was written as Latin-1. */
function charsets(raw: string): string[] {
  const read = Buffer.from(raw, "latin1").toString("utf8");
  const bytesOf = (alphabet: (char: string) => number) => {
    const codes = [...read].map(alphabet);
    return codes.every((code) => code >= 0 && code < 256)
      ? [Buffer.from(codes).toString("latin1")]
      : [];
  };
  const utf8 = (text: string) => Buffer.from(text, "utf8").toString("latin1");
  return [
    ...bytesOf((char) => char.charCodeAt(0)),
    ...bytesOf((char) => char < "\x80" ? char.charCodeAt(0) : WINDOWS.indexOf(char)),
    utf8(raw),
    utf8(raw.replace(/[\x80-\xff]/g, (char) => WINDOWS[char.charCodeAt(0)] ?? char)),
  ];
}

/** The body's JSON as common programs write it; with `is_mixed`, each number in a way of its own. */
function* rewritten(body: Uint8Array, is_mixed: boolean): Generator<Variant> {
  if (body.length > MAX_PARSED) return;
  const raw = Buffer.from(body).toString("latin1").replace(/^\xef\xbb\xbf/, "");
  const read = [
    { raw, mistakes: [] },
    ...charsets(raw).map((raw) => ({ raw, mistakes: ["charset"] as const })),
  ];
  const seen = new Set<string>();
  for (const { raw, mistakes } of read) {
    if (seen.has(raw)) continue;
    seen.add(raw);
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(raw, "latin1"));
    } catch {
      continue; // not UTF-8
    }
    for (const { text: other, how } of is_mixed ? mixedRewritingsOf(text) : rewritingsOf(text)) {
      const detail = ` (the signature fits it ${how})`;
      const bytes = Buffer.from(other, "utf8");
      yield { bytes, mistakes: [...mistakes, "reserialised"], detail };
    }
  }
}

/** A hint at the changes that cannot be undone. */
function hintOf(body: Uint8Array): string {
  const start = Buffer.from(body.subarray(0, 64)).toString("latin1");
  if (body.length === 0) {
    return "; the body is empty: it was read elsewhere before, as a framework's parser does";
  }
  if (start.startsWith("[object ")) {
    return "; the body is an object's name: verify the bytes, not the parsed object as text";
  }
  if (Buffer.from(body).includes("\ufffd")) {
    return "; the body has replacement characters (U+FFFD): its bytes were read in a wrong character " +
      "set, and are lost";
  }
  return /^\s*\{\s*"data"\s*:/.test(start)
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
