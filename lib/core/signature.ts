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

/** A signer for `secret`, which must have passed `secretMistake`. */
export function makeSigner(secret: string): Signer {
  const text = Buffer.from(secret, "utf8");
  const bookme = makeHmac(text);
  const standard = makeHmac(decodeWhsec(secret) ?? text);
  return {
    bookme: (body) => "sha256=" + bookme.digest(body).toString("hex"),
    standard: (id, timestamp_s, body) =>
      "v1," + standard.digest(Buffer.from(`${id}.${timestamp_s}.`), body).toString("base64"),
  };
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
