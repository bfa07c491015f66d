/** Certificates for tests, made once per process. */

import "reflect-metadata";
import {
  AuthorityInfoAccessExtension,
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  type JsonGeneralName,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";

/** A certificate and its private key, in PEM. */
export interface Leaf {
  readonly cert: string;
  readonly key: string;
}

export interface TestCertificates {
  /** The authority that signed all of them but `self_signed` and `own_authority`. */
  readonly ca: string;
  /** For localhost, good.test, 127.0.0.1 and ::1. */
  readonly good: Leaf;
  /** For other.test only. */
  readonly wrong_name: Leaf;
  /** For other.test only, though its subject is localhost: subjects name no hosts (RFC 9525). */
  readonly named_by_subject: Leaf;
  /** Like `good`, until 2025-02-01. */
  readonly expired: Leaf;
  /** Like `good`, from 2099-01-01. */
  readonly not_yet: Leaf;
  /** For localhost and 127.0.0.1, signed by itself. */
  readonly self_signed: Leaf;
  /** For localhost and 127.0.0.1, and its own authority. */
  readonly own_authority: Leaf;
  /** A client's. */
  readonly client: Leaf;
  /** Like `good`, with ten days left. */
  readonly soon: Leaf;
  /** Like `good`, signed by an intermediate authority of `ca`, whose certificate comes along. */
  readonly chained: Leaf;
  /** The same without the intermediate certificate; it says where that is. */
  readonly unchained: Leaf;
  /** Like `chained`, with an intermediate certificate that expired on 2025-02-01. */
  readonly stale_chain: Leaf;
  /** Files of `ca` and `good`, for configurations and other processes. */
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string };
}

let made: Promise<TestCertificates> | undefined;

/** The certificates of this process. Their files are removed when it ends. */
export function testCertificates(): Promise<TestCertificates> {
  return made ??= make();
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const LOCAL: JsonGeneralName[] = [
  { type: "dns", value: "localhost" },
  { type: "ip", value: "127.0.0.1" },
];
const GOOD: JsonGeneralName[] = [
  ...LOCAL,
  { type: "dns", value: "good.test" },
  { type: "ip", value: "::1" },
];
const VALID = ["2025-01-01", "2098-01-01"] as const;
const EXPIRED = ["2025-01-01", "2025-02-01"] as const;

/** An authority that signs others. */
type Signer = Leaf & { readonly name: string; readonly keys: CryptoKeyPair };

async function make(): Promise<TestCertificates> {
  cryptoProvider.set(crypto);
  const authority = [
    new BasicConstraintsExtension(true, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
  ];
  const ca = await issue("ca", authority);
  const leaf = (
    name: string,
    names: JsonGeneralName[],
    valid: readonly [string, string] = VALID,
    signer: Signer = ca,
  ) =>
    issue(
      name,
      [
        new BasicConstraintsExtension(false),
        new SubjectAlternativeNameExtension(names),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
        ...(signer === ca
          ? []
          : [new AuthorityInfoAccessExtension({ caIssuers: "http://ca.test/intermediate.crt" })]),
      ],
      valid,
      signer,
    );
  const intermediate = await issue("intermediate", authority, VALID, ca);
  const stale = await issue("stale", authority, EXPIRED, ca);
  const unchained = await leaf("unchained", GOOD, VALID, intermediate);
  const staled = await leaf("staled", GOOD, VALID, stale);
  const in_days = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
  const good = await leaf("good", GOOD);
  return {
    ca: ca.cert,
    good,
    wrong_name: await leaf("wrong_name", [{ type: "dns", value: "other.test" }]),
    named_by_subject: await leaf("localhost", [{ type: "dns", value: "other.test" }]),
    expired: await leaf("expired", GOOD, EXPIRED),
    not_yet: await leaf("not_yet", GOOD, ["2099-01-01", "2099-02-01"]),
    self_signed: await issue("self_signed", [
      new BasicConstraintsExtension(false),
      new SubjectAlternativeNameExtension(LOCAL),
    ]),
    own_authority: await issue("own_authority", [
      new BasicConstraintsExtension(true, undefined, true),
      new SubjectAlternativeNameExtension(LOCAL),
    ]),
    soon: await leaf("soon", GOOD, ["2025-01-01", in_days(10.5)]),
    chained: { cert: `${unchained.cert}\n${intermediate.cert}`, key: unchained.key },
    unchained,
    stale_chain: { cert: `${staled.cert}\n${stale.cert}`, key: staled.key },
    client: await leaf("client", [{ type: "dns", value: "client.test" }]),
    files: await write({ ca: ca.cert, cert: good.cert, key: good.key }),
  };
}

/** A key that passes for that of `leaf`, and signs with the one of `other`. */
export function forgedKey(leaf: Leaf, other: Leaf): string {
  const key = new Uint8Array(PemConverter.decodeFirst(leaf.key));
  // PKCS #8 of a key on P-256: the private number follows a head of 36 bytes.
  key.set(new Uint8Array(PemConverter.decodeFirst(other.key), 36, 32), 36);
  return PemConverter.encode(key, "PRIVATE KEY");
}

let serial = 0;

/** A certificate with a new key, signed by `signer`, or by itself. */
async function issue(
  name: string,
  extensions: Extension[],
  [from, until]: readonly [string, string] = VALID,
  signer?: Signer,
): Promise<Signer> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const cert = await X509CertificateGenerator.create({
    // Positive: a first digit of 8 or above would make it negative.
    serialNumber: String(++serial).padStart(4, "0"),
    subject: `CN=${name}`,
    issuer: `CN=${signer?.name ?? name}`,
    notBefore: new Date(from),
    notAfter: new Date(until),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: (signer?.keys ?? keys).privateKey,
    extensions,
  });
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { cert: cert.toString("pem"), key: PemConverter.encode(key, "PRIVATE KEY"), name, keys };
}

async function write<Name extends string>(texts: Record<Name, string>) {
  const folder = await Deno.makeTempDir({ prefix: "bookme-tls-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  const paths = Object.entries<string>(texts).map(([name, text]) => {
    const path = `${folder}/${name}.pem`;
    Deno.writeTextFileSync(path, text);
    return [name, path];
  });
  return Object.fromEntries(paths) as Record<Name, string>;
}
