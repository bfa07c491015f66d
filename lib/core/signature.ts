import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";
import { makeHmac } from "./hmac.ts";
import { decodeWhsec } from "./secret.ts";

/** Signs bodies under one secret, in both forms that receivers check. */
export interface Signer {
  /** Value of `X-BookMe-Signature`: `sha256=` + hex HMAC keyed with the secret's own UTF-8 bytes. */
  bookme(body: Uint8Array): string;
  /**
   * One `v1,…` entry of `webhook-signature` (Standard Webhooks): base64 HMAC over
   * `id.timestamp.body`, keyed with the decoded bytes of a `whsec_` secret, or the bytes of any other.
   */
  standard(id: string, timestamp_s: number, body: Uint8Array): string;
}

const BOOKME = "sha256=";
const STANDARD = "v1,";
const MAC_BYTES = 32;

/** A signer for `secret`, which must have passed `secretMistake`. */
export function makeSigner(secret: string): Signer {
  const text = Buffer.from(secret, "utf8");
  const bookme = makeHmac(text);
  const standard = makeHmac(decodeWhsec(secret) ?? text);
  return {
    bookme: (body) => BOOKME + bookme.digest(body).toString("hex"),
    standard: (id, timestamp_s, body) =>
      STANDARD + standard.digest(Buffer.from(`${id}.${timestamp_s}.`), body).toString("base64"),
  };
}

/** The HMAC in a value of `X-BookMe-Signature`, in hexadecimal; empty for none. */
export function bookmeMac(value: string): string {
  return value.slice(BOOKME.length);
}

/** The value of `X-BookMe-Signature` with this HMAC; empty for none. */
export function bookmeValue(mac: Uint8Array | null): string {
  return mac === null ? "" : BOOKME + Buffer.from(mac).toString("hex");
}

/** The HMACs in a value of `webhook-signature`, joined, in base64; empty for none. */
export function standardMacs(value: string): string {
  if (!value.includes(" ")) return value.slice(STANDARD.length);
  const macs = value.split(" ").map((entry) => Buffer.from(entry.slice(STANDARD.length), "base64"));
  return Buffer.concat(macs).toString("base64");
}

/** The value of `webhook-signature` with these HMACs, joined; empty for none. */
export function standardValue(macs: Uint8Array | null): string {
  const bytes = Buffer.from(macs ?? []);
  return Array.from(
    { length: bytes.length / MAC_BYTES },
    (_, at) => STANDARD + bytes.subarray(at * MAC_BYTES, (at + 1) * MAC_BYTES).toString("base64"),
  ).join(" ");
}

/** Whether two texts are equal, in a time that does not depend on where they differ. */
export function equalInConstantTime(a: string, b: string): boolean {
  // timingSafeEqual needs inputs of one length, which digests are.
  const digest = (text: string) => createHmac("sha256", "compare").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** Whether `header` is the `X-BookMe-Signature` of these bytes by one of the signers. */
export function verifyBookme(
  body: Uint8Array,
  header: string | undefined,
  signers: readonly Pick<Signer, "bookme">[],
): boolean {
  if (header === undefined) return false;
  // Try every signer, even after a match: the time must not reveal which one fits.
  return signers.map((signer) => equalInConstantTime(signer.bookme(body), header.trim()))
    .includes(true);
}
