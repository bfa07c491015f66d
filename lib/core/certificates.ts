import { X509Certificate } from "node:crypto";
import { shorten } from "./errors.ts";

/** The members of an X.509 certificate that matter to TLS. Times are in milliseconds since 1970. */
export interface Certificate {
  readonly subject: string;
  readonly issuer: string;
  /** Host names and addresses that it is for. */
  readonly names: readonly string[];
  readonly valid_from: number;
  readonly valid_to: number;
  /** Whether it says where its issuer's certificate is, as those of public authorities do. */
  readonly names_issuer: boolean;
}

/** Longest name that is shown, in characters. */
const MAX_NAME = 120;

/** The blocks of a kind in a PEM text (RFC 7468), in their order, without what stands between them. */
export function pemBlocks(text: string, kind: "CERTIFICATE" | "PRIVATE KEY"): readonly string[] {
  // Keys may be of a named kind: RSA PRIVATE KEY, EC PRIVATE KEY, ENCRYPTED PRIVATE KEY.
  const label = kind === "CERTIFICATE" ? kind : `(?:[A-Z]+ )?${kind}`;
  // Headers of old encrypted keys (RFC 1421, 4.6). No dash in the body: the search stays linear.
  const body = "(?:(?:Proc-Type|DEK-Info):[^\\n]*\\n)*[A-Za-z0-9+/=\\s]*";
  const block = `-----BEGIN (${label})-----\\r?\\n${body}-----END \\1-----`;
  return [...text.matchAll(new RegExp(block, "g"))].map(([found]) => found);
}

/** The certificates in a PEM text. Throws if one of them cannot be read. */
export function certificatesIn(text: string): X509Certificate[] {
  return pemBlocks(text, "CERTIFICATE").map((block) => new X509Certificate(block));
}

/** Reads a certificate of node:crypto. */
export function readCertificate(certificate: X509Certificate): Certificate {
  return {
    subject: commonName(certificate.subject),
    issuer: commonName(certificate.issuer),
    names: altNames(certificate).map((name) => name.replace(/^(DNS|IP Address):/, ""))
      .filter((name) => name !== ""),
    valid_from: Date.parse(certificate.validFrom),
    valid_to: Date.parse(certificate.validTo),
    names_issuer: (certificate.infoAccess ?? "").includes("CA Issuers"),
  };
}

/** The alternative names of a certificate: `DNS:crm.example.com`, `IP Address:203.0.113.7`. */
export function altNames({ subjectAltName }: X509Certificate): string[] {
  return (subjectAltName ?? "").split(", ");
}

/** The common name in a distinguished name, else all of it, fit for a line of text. */
function commonName(name: string): string {
  const common = /(?:^|\n)CN=(.*)/.exec(name)?.[1] ?? name.split("\n").join(", ");
  return shorten(common.replace(/\p{C}/gu, "?"), MAX_NAME);
}
