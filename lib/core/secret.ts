import { Buffer } from "node:buffer";

/** Stand-in for a secret in output. */
export const REDACTED = "[redacted]";
const INSPECT_NODE = Symbol.for("nodejs.util.inspect.custom");
const INSPECT_DENO = Symbol.for("Deno.customInspect");

/** Shortest signing secret, in characters (contract, section 5). */
const MIN_SECRET_LENGTH = 24;

/**
 * A value that cannot be printed by accident: string conversion, JSON, `console` and template literals
 * give `[redacted]`. Only `reveal()` returns it, so that every use can be found.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Call it for immediate use, never to store the result. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [INSPECT_NODE](): string {
    return REDACTED;
  }

  [INSPECT_DENO](): string {
    return REDACTED;
  }
}

/**
 * The bytes of a `whsec_` secret (Standard Webhooks: `whsec_` + base64 of 24 to 64 bytes), or undefined
 * for any other string.
 */
export function decodeWhsec(secret: string): Uint8Array | undefined {
  if (!secret.startsWith("whsec_")) return undefined;
  const text = secret.slice("whsec_".length);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64").replace(/=+$/, "") !== text.replace(/=+$/, "")) return undefined;
  return bytes.length >= 24 && bytes.length <= 64 ? new Uint8Array(bytes) : undefined;
}

/**
 * The mistake in a signing secret with its remedy, or undefined. `strict`: it must also be hard to
 * guess. Never contains the secret.
 */
export function secretMistake(secret: string, strict = false): string | undefined {
  return formMistake(secret) ?? (strict ? weaknessOf(secret) : undefined);
}

function formMistake(secret: string): string | undefined {
  const hidden = textMistake(secret);
  if (hidden !== undefined) return hidden;
  const remedy = "make one with `bookme-webhooks secret`";
  if (secret.startsWith("whsec_")) {
    return decodeWhsec(secret) === undefined
      ? `A whsec_ secret is whsec_ followed by the base64 of 24 to 64 bytes; ${remedy}`
      : undefined;
  }
  return [...secret].length < MIN_SECRET_LENGTH
    ? `A secret has at least ${MIN_SECRET_LENGTH} characters; ${remedy}`
    : undefined;
}

// Invisible at the end of a text, but not the variation selector that ends many emoji.
const INVISIBLE =
  /^[\s\u2800\p{Default_Ignorable_Code_Point}\p{Cf}]|(?![\ufe00-\ufe0f])[\s\u2800\p{Default_Ignorable_Code_Point}\p{Cf}]$/u;

/**
 * The mistake in a secret that came along unseen, with its remedy, or undefined: characters that people
 * do not see, or that one program keeps and another drops. Never contains the text.
 */
export function textMistake(text: string): string | undefined {
  if (!text.isWellFormed()) {
    return "Has half a surrogate pair, which has no UTF-8 form; replace the character";
  }
  if (text.includes("\ufeff")) {
    return "Has a byte order mark (U+FEFF); save it as UTF-8 without one";
  }
  if (/[\n\r\u2028\u2029]/.test(text)) {
    return "Has a line break; write it on one line (only a file may end with one newline)";
  }
  const control = /\p{Cc}/u.exec(text)?.[0];
  if (control !== undefined && control !== "\t") return "Has control characters; remove them";
  if (INVISIBLE.test(text)) {
    return "Begins or ends with white space or an invisible character; remove it";
  }
  if (control !== undefined) return "Has control characters (a tab); remove them";
  return /^(["'`]).*\1$|^[\u201c\u2018].*[\u201d\u2019]$/.test(text) && text.length > 1
    ? "Is in quotes, which are part of the value (an env file may keep them); remove them"
    : undefined;
}

/** Why a secret is easy to guess in spite of its length, with the remedy, or undefined. */
export function weaknessOf(secret: string): string | undefined {
  const bytes = decodeWhsec(secret);
  const codes = bytes === undefined
    ? Array.from(secret.slice(0, 512), (char) => char.codePointAt(0) ?? 0)
    : [...bytes];
  const steps = codes.slice(1).map((code, index) => code - (codes[index] ?? 0));
  return new Set(codes).size < 8 || new Set(steps).size < 6 || repeats(codes)
    ? "Too easy to guess for production; make one with `bookme-webhooks secret`"
    : undefined;
}

function repeats(codes: readonly number[]): boolean {
  for (let period = 1; period <= codes.length / 2; period++) {
    if (codes.every((code, index) => index < period || code === codes[index - period])) return true;
  }
  return false;
}

/**
 * Whether a word looks like a secret rather than like a name, number, address or unit: it is random or
 * long. Short passwords of letters look like names: messages must not repeat what stands in their place.
 */
export function looksSecret(word: string): boolean {
  if (hasPassword(word)) return true;
  if (word.includes("whsec_") || (word.length >= MIN_SECRET_LENGTH && !/[.:/…]/.test(word))) {
    return true;
  }
  if (word.length >= 16 && /^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[^.:/…]*$/.test(word)) return true;
  return word.split(/[^A-Za-z0-9]+/).some((part) =>
    part.length > 20 ||
    (part.length >= 8 && /\d/.test(part) && /[A-Za-z]/.test(part) &&
      !/^([A-Za-z]+\d{1,4}|\d+[A-Za-z]{1,8})$/.test(part))
  );
}

/** Whether it has `user:password@`, as URLs do, unless it is the very example of messages. */
function hasPassword(text: string): boolean {
  return /:(?!(\/\/user:)?password@)[^@]+@/.test(text);
}

function isMixed(text: string): boolean {
  return text.split(/[^A-Za-z0-9]+/).some((part) =>
    part.length >= 8 && /[a-z]/.test(part) && /[A-Z]/.test(part) && /\d/.test(part)
  );
}

/** A message with `…` for every word that looks like a secret, except names of variables and folders. */
export function hideSecrets(message: string): string {
  return message.replace(/(variable )?[^\s"'`,;()]+/g, (word, variable: string | undefined) => {
    if (variable !== undefined) return word;
    // Folders may have numbers in hexadecimal, but no base64.
    const [file = "", ...folders] = word.split("/").toReversed();
    const is_secret = word.startsWith("/")
      ? word.includes("whsec_") || hasPassword(word) || looksSecret(file) || folders.some(isMixed)
      : looksSecret(word);
    return is_secret ? "…" : word;
  });
}

/** A new strong secret from 32 random bytes. */
export function makeSecret(random: Uint8Array): string {
  return `whsec_${Buffer.from(random).toString("base64")}`;
}
