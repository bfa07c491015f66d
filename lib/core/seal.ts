import { Buffer } from "node:buffer";
import { createCipheriv, createDecipheriv, createHash } from "node:crypto";
import { AppError } from "./errors.ts";
import type { TimedSecret } from "./rotation.ts";
import type { TlsTexts } from "./tls_settings.ts";

/** A key that seals secrets in the database. */
export interface SealKey {
  /** The beginning of the key's SHA-256: identifies the key and reveals nothing about it. */
  readonly id: string;
  /** 32 bytes. */
  readonly bytes: Uint8Array;
}

/** The sealed part of an endpoint: its signing secrets, the values of its own headers, and its TLS. */
export interface SealedContent {
  readonly secrets: readonly TimedSecret[];
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsTexts;
}

/** Length of the nonce that `seal` asks for, in bytes (NIST SP 800-38D, 8.2.2). */
export const NONCE_BYTES = 12;

const FORMAT = 1;
const KEY_ID_BYTES = 4;
const TAG_BYTES = 16;
const HEAD_BYTES = 1 + KEY_ID_BYTES + NONCE_BYTES;

/**
 * The key of a text: 32 bytes in base64 or in hexadecimal digits. Throws an `AppError` that does not
 * contain it.
 */
export function parseSealKey(text: string): SealKey {
  const bytes = /^[0-9a-fA-F]{64}$/.test(text)
    ? Buffer.from(text, "hex")
    : /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
    ? Buffer.from(text, "base64")
    : undefined;
  if (bytes?.length !== 32) {
    throw new AppError(
      "invalid",
      "A key has 32 bytes in base64 or in hexadecimal digits; make one with `openssl rand -base64 32`",
    );
  }
  const id = createHash("sha256").update(bytes).digest("hex").slice(0, 2 * KEY_ID_BYTES);
  return { id, bytes: new Uint8Array(bytes) };
}

/**
 * Seals the content of an endpoint, or what an erasure looks for, with AES-256-GCM. The owner's id is
 * associated data, so that no row opens in the place of another. The result is a format byte, the key's id,
 * the nonce, the ciphertext and the tag. `nonce` has `NONCE_BYTES` random bytes, never used before.
 */
export function seal<Content = SealedContent>(
  content: Content,
  owner_id: string,
  key: SealKey,
  nonce: Uint8Array,
): Uint8Array {
  const head = Buffer.concat([Buffer.of(FORMAT), Buffer.from(key.id, "hex"), nonce]);
  const cipher = createCipheriv("aes-256-gcm", key.bytes, nonce);
  cipher.setAAD(Buffer.from(owner_id, "utf8"));
  const sealed = Buffer.concat([cipher.update(JSON.stringify(content), "utf8"), cipher.final()]);
  return new Uint8Array(Buffer.concat([head, sealed, cipher.getAuthTag()]));
}

/** Whether these bytes were sealed under this key. */
export function isSealedUnder(sealed: Uint8Array, key: SealKey): boolean {
  return keyIdOf(sealed) === key.id;
}

/**
 * Opens bytes that `seal` made under one of these keys. Throws an `AppError`, fit for the API, if none of
 * them fits, or if the bytes are damaged or were sealed for another owner.
 */
export function unseal<Content = SealedContent>(
  sealed: Uint8Array,
  owner_id: string,
  keys: readonly SealKey[],
): Content {
  const id = keyIdOf(sealed);
  const key = keys.find((key) => key.id === id);
  if (key === undefined) {
    throw new AppError(
      "conflict",
      `The secrets are sealed under the key ${id}, which encryption_key does not have` +
        `${keys.length === 0 ? "" : ` (it has ${keys.map((key) => key.id).join(", ")})`}; ` +
        "add that key to encryption_key",
    );
  }
  try {
    const nonce = sealed.subarray(1 + KEY_ID_BYTES, HEAD_BYTES);
    const decipher = createDecipheriv("aes-256-gcm", key.bytes, nonce);
    decipher.setAAD(Buffer.from(owner_id, "utf8"));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    const text = Buffer.concat([
      decipher.update(sealed.subarray(HEAD_BYTES, sealed.length - TAG_BYTES)),
      decipher.final(),
    ]).toString("utf8");
    return JSON.parse(text) as Content;
  } catch {
    throw new AppError(
      "conflict",
      "The sealed secrets are damaged or belong to another endpoint; set up the endpoint again",
    );
  }
}

function keyIdOf(sealed: Uint8Array): string {
  return sealed[0] === FORMAT && sealed.length > HEAD_BYTES + TAG_BYTES
    ? Buffer.from(sealed.subarray(1, 1 + KEY_ID_BYTES)).toString("hex")
    : "unknown";
}
