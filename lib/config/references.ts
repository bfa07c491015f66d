import { Buffer } from "node:buffer";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { AppError, invalid } from "../core/errors.ts";
import { PLATFORM } from "../core/platform.ts";
import { looksSecret, textMistake } from "../core/secret.ts";
import { decodeUtf8 } from "../core/utf8.ts";

/** Largest file that a reference may name, in bytes. */
const MAX_FILE_BYTES = 256 * 1024;

/** Surroundings of a reference. */
export interface Surroundings {
  /** Start of relative paths; absolute. */
  readonly directory: string;
  readonly env: (name: string) => string | undefined;
  /** Whether secrets must be strong and their files private. */
  readonly production: boolean;
}

/** Whether a text is `env:NAME` or `file:PATH`. */
export function isReference(text: string): boolean {
  return /^(env|file):/.test(text);
}

// The name in front of the colon counts in lower case only; `ENV:NAME` would be taken for the value.
function isMisspelt(text: string): boolean {
  return !isReference(text) && /^\s*(env|file)\s*:/i.test(text);
}

const MISSPELT = "Write env: or file: in lower case, with nothing before the colon";

/**
 * The absolute path that the configuration names: itself, with or without `file:`, or `env:NAME`.
 * Throws an `AppError` for what only a shell would expand.
 */
export function filePath(text: string, around: Surroundings): string {
  const path = text.startsWith("env:")
    ? fromEnvironment(text.slice("env:".length), around)
    : text.replace(/^file:/, "");
  const mistake = pathMistake(path);
  if (mistake !== undefined) throw invalid(mistake);
  return resolve(around.directory, path);
}

function pathMistake(path: string): string | undefined {
  if (path === "" || path.includes("\0")) return "Must be the path of a file or directory";
  if (isReference(path)) return "Must be env:NAME, file:PATH or a path, not one within the other";
  if (isMisspelt(path)) return MISSPELT;
  if (/^[a-z][a-z\d+.-]*:\/\//i.test(path)) return "Must be a path, not a URL";
  if (path.startsWith("~")) {
    return "A leading ~ is not expanded; write the path in full, or ./~ for a name that begins with ~";
  }
  if (/\$[\w{(]|`|%[A-Za-z_]\w*%/.test(path)) {
    return "Variables are not expanded; write the path in full, or env:NAME of a variable that has it";
  }
  if (/^\/\/[^/]/.test(path)) return "Must not begin with //; write / for an absolute path";
  return textMistake(path);
}

/**
 * The value of a secret: `env:NAME`, `file:PATH` (without one newline at its end) or the text itself.
 * Throws an `AppError` that does not contain it.
 */
export function resolveSecret(text: string, around: Surroundings): string {
  if (text.startsWith("env:")) return fromEnvironment(text.slice("env:".length), around);
  if (text.startsWith("file:")) {
    return readText(filePath(text, around), around.production).replace(/\r?\n$/, "");
  }
  if (isMisspelt(text)) throw invalid(MISSPELT);
  // Without its name: it may as well be a secret that begins with a $.
  if (/^(\$\{?\w+\}?|%\w+%)$/.test(text)) {
    throw invalid("Variables are not expanded; write env: and the variable's name");
  }
  if (/^(~|\$\{?[A-Za-z_]\w*\}?)\//.test(text)) {
    throw invalid("Paths are neither read nor expanded here; write file: and the path in full");
  }
  if (around.production) {
    throw invalid("In production secrets must not be in the file; use env:NAME or file:PATH");
  }
  return text;
}

/**
 * The PEM text of a certificate or key that a reference names. Keys must be private in production.
 * Throws an `AppError`.
 */
export function readPem(text: string, kind: "CERTIFICATE" | "PRIVATE KEY", around: Surroundings) {
  if (!isReference(text)) throw invalid("Must be file:PATH or env:NAME");
  const production = kind === "PRIVATE KEY" && around.production;
  const content = resolveSecret(text, { ...around, production }).replace(/^\ufeff/, "");
  if (!new RegExp(`^-----BEGIN ([A-Z]+ )*${kind}-----\\r?$`, "m").test(content)) {
    throw invalid(`Must name a PEM file with a ${kind.toLowerCase()}`);
  }
  return content;
}

function fromEnvironment(name: string, around: Surroundings): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    throw invalid("Must be env: and the name of an environment variable, such as env:MY_SECRET");
  }
  const value = around.env(name);
  if (value === undefined || value === "") {
    const shown = /^([A-Z0-9_]+|[a-z_]+)$/.test(name) || !looksSecret(name) ? name : "…";
    throw invalid(`Environment variable ${shown} is ${value === "" ? "empty" : "not set"}`);
  }
  return value;
}

/** The text of a regular file, with its byte order mark. `strict` refuses files that others may read or change. */
export function readText(path: string, strict: boolean): string {
  const bytes = readBytes(path, MAX_FILE_BYTES, (mode) => {
    const rights = (mode & 0o777).toString(8).padStart(4, "0");
    if (!strict || !PLATFORM.has_modes) return undefined;
    if ((mode & 0o004) !== 0) return `is readable by everyone (mode ${rights})`;
    if ((mode & 0o022) !== 0) return `is writable by others (mode ${rights})`;
    return undefined;
  });
  const text = decodeUtf8(bytes);
  if (text === undefined) throw invalid(`File ${JSON.stringify(path)} is not UTF-8 text`);
  return text;
}

/**
 * The bytes of a regular file, at most `limit`; a pipe would keep the daemon waiting. Throws an
 * `AppError`: `not_found`, `too_large`, or `invalid` for every other reason.
 */
export function readBytes(
  path: string,
  limit: number,
  modeMistake: (mode: number) => string | undefined = () => undefined,
): Uint8Array {
  let file: number | undefined;
  try {
    const stat = statSync(path);
    if (!stat.isFile()) throw invalid(`${JSON.stringify(path)} is not a regular file`);
    const mistake = modeMistake(stat.mode);
    if (mistake !== undefined) {
      throw invalid(`File ${JSON.stringify(path)} ${mistake}; run chmod 600 on it`);
    }
    file = openSync(path, "r");
    return readUpTo(file, limit, path);
  } catch (error) {
    throw error instanceof AppError ? error : fileError(path, error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function readUpTo(file: number, limit: number, path: string): Uint8Array {
  const buffer = Buffer.alloc(limit + 1);
  let length = 0;
  while (length <= limit) {
    const read = readSync(file, buffer, length, buffer.length - length, null);
    if (read === 0) return new Uint8Array(buffer.subarray(0, length));
    length += read;
  }
  throw new AppError(
    "too_large",
    `File ${JSON.stringify(path)} is larger than ${limit / 1024} KiB`,
  );
}

function fileError(path: string, error: unknown): AppError {
  const cause = error instanceof Error && "code" in error ? String(error.code) : "no permission";
  if (cause === "ENOENT") {
    return new AppError("not_found", `File ${JSON.stringify(path)} does not exist`);
  }
  return invalid(`File ${JSON.stringify(path)} cannot be read (${cause})`);
}
