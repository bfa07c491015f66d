/**
 * The rules of an endpoint's own TLS settings, from the configuration file or through the admin API.
 * Mistakes never contain a part of a key.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { certificatesIn, pemBlocks, readCertificate } from "./certificates.ts";
import { inSeconds } from "./time.ts";

/** PEM texts: `ca` is trusted instead of the usual authorities; the client shows `cert`. */
export interface TlsTexts {
  readonly ca?: string | undefined;
  /** The client's certificate first, then those between it and its authority. */
  readonly cert?: string | undefined;
  /** The private key of `cert`. Both, or neither. */
  readonly key?: string | undefined;
}

/** A certificate as it is stored and shown; times are ISO 8601. */
export interface CertificateShown {
  readonly subject: string;
  readonly issuer: string;
  readonly valid_from: string;
  readonly valid_to: string;
}

/** TLS settings without their texts. */
export interface TlsShown {
  readonly ca: readonly CertificateShown[];
  readonly cert: CertificateShown | null;
}

/** A mistake in one of the texts, or in how they belong together (`member` null). */
export interface TlsMistake {
  readonly member: keyof TlsTexts | null;
  readonly message: string;
}

/** Most certificates in one text. */
const MAX_CERTIFICATES = 200;

/** Curves that the TLS of the runtime signs with. */
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];
const MIN_RSA_BITS = 2048;

/** The mistake of TLS settings for a URL without TLS. */
export const TLS_WITHOUT_HTTPS = "Has no meaning for an http: URL";

/** The PEM blocks alone: a file may have certificate, key and other text in it. */
export function plainPem(text: string, member: keyof TlsTexts): string {
  return pemBlocks(text, kindOf(member)).join("\n");
}

/** Mistakes of each text by itself. */
export function textMistakes(tls: TlsTexts): TlsMistake[] {
  return (["ca", "cert", "key"] as const).flatMap((member) => {
    const text = tls[member];
    const message = text === undefined
      ? undefined
      : member === "key"
      ? keyMistake(text)
      : certificatesMistake(text);
    return message === undefined ? [] : [{ member, message }];
  });
}

/** Mistakes of a certificate and key whose texts are sound: one without the other, or another's. */
export function pairMistakes({ cert, key }: TlsTexts): TlsMistake[] {
  if ((cert === undefined) !== (key === undefined)) {
    return [{ member: null, message: "Must have cert and key together, or neither" }];
  }
  if (cert === undefined || key === undefined) return [];
  const [own] = certificatesIn(cert);
  return own?.checkPrivateKey(createPrivateKey(key)) === true ? [] : [{
    member: "key",
    message: "Is not the key of the first certificate in cert",
  }];
}

/** The mistake of a certificate that is not valid at a time, in milliseconds since 1970. */
export function validityMistakes({ cert }: TlsTexts, now_ms: number): TlsMistake[] {
  const [own] = cert === undefined ? [] : certificatesIn(cert).map(readCertificate);
  if (own === undefined) return [];
  const at = (ms: number) => inSeconds(new Date(ms).toISOString());
  const message = own.valid_to < now_ms
    ? `Expired at ${at(own.valid_to)}`
    : own.valid_from > now_ms
    ? `Is not valid before ${at(own.valid_from)}`
    : undefined;
  return message === undefined ? [] : [{ member: "cert", message }];
}

/** TLS settings without their texts; null if there are none. Throws if they have mistakes. */
export function showTls({ ca, cert }: TlsTexts): TlsShown | null {
  if (ca === undefined && cert === undefined) return null;
  const shown = (text = "") => certificatesIn(text).map(showCertificate);
  return { ca: shown(ca), cert: shown(cert)[0] ?? null };
}

/** TLS settings on a line of text: `client until 2027-06-01, trusts ca`. */
export function tlsInWords({ ca, cert }: TlsShown): string {
  return [
    ...cert === null ? [] : [`${cert.subject} until ${cert.valid_to.slice(0, 10)}`],
    ...ca.length === 0 ? [] : [`trusts ${ca.map(({ subject }) => subject).join(" ")}`],
  ].join(", ");
}

/** The first certificate of a text and its digest: `hooks until 2027-06-01 (SHA-256 1A:2B:…)`. */
export function certificateInWords(text: string): string {
  const [own] = certificatesIn(text);
  if (own === undefined) return "none";
  const { subject, valid_to } = showCertificate(own);
  return `${subject} until ${valid_to.slice(0, 10)} (SHA-256 ${own.fingerprint256})`;
}

function showCertificate(certificate: X509Certificate): CertificateShown {
  const { subject, issuer, valid_from, valid_to } = readCertificate(certificate);
  return {
    subject,
    issuer,
    valid_from: new Date(valid_from).toISOString(),
    valid_to: new Date(valid_to).toISOString(),
  };
}

function kindOf(member: keyof TlsTexts): "CERTIFICATE" | "PRIVATE KEY" {
  return member === "key" ? "PRIVATE KEY" : "CERTIFICATE";
}

function certificatesMistake(text: string): string | undefined {
  const blocks = pemBlocks(text, "CERTIFICATE");
  if (blocks.length === 0) return "Must be PEM with a certificate: -----BEGIN CERTIFICATE-----";
  if (blocks.length > MAX_CERTIFICATES) return `Must have at most ${MAX_CERTIFICATES} certificates`;
  for (const [at, block] of blocks.entries()) {
    try {
      showCertificate(new X509Certificate(block));
    } catch {
      const which = blocks.length === 1 ? "The certificate" : `Certificate ${at + 1}`;
      return `${which} cannot be read; export it again as PEM`;
    }
  }
  return undefined;
}

function keyMistake(text: string): string | undefined {
  const blocks = pemBlocks(text, "PRIVATE KEY");
  const [block] = blocks;
  if (block === undefined) return "Must be PEM with a private key: -----BEGIN PRIVATE KEY-----";
  if (blocks.length > 1) return "Must have one private key";
  if (block.includes("BEGIN ENCRYPTED") || /^Proc-Type:.*ENCRYPTED/m.test(block)) {
    return "Is encrypted with a passphrase; decrypt it: openssl pkey -in key.pem";
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(block);
  } catch {
    return "The private key cannot be read; export it again as PEM";
  }
  return isUsable(key) ? undefined : "Must be an RSA key of at least " +
    `${MIN_RSA_BITS} bits, an EC key on P-256, P-384 or P-521, or an Ed25519 key`;
}

// Another one would fail each handshake.
function isUsable({ asymmetricKeyType: type, asymmetricKeyDetails: details = {} }: KeyObject) {
  return type === "ed25519" ||
    type === "rsa" && (details.modulusLength ?? 0) >= MIN_RSA_BITS ||
    type === "ec" && CURVES.includes(details.namedCurve ?? "");
}
