/** Certificates for tests, made by the machine's `openssl` once per process. */

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
  /** Files of `ca` and `good`, for servers that are other programs. */
  readonly files: { readonly ca: string; readonly cert: string; readonly key: string };
}

let made: Promise<TestCertificates> | undefined;

/** The certificates of this process. Their directory is removed when it ends. */
export function testCertificates(): Promise<TestCertificates> {
  made ??= make();
  return made;
}

const GOOD = "DNS:localhost,DNS:good.test,IP:127.0.0.1,IP:::1";
// `openssl ca` is the only one that takes both dates, in OpenSSL 3.0.
const CONFIG = (folder: string) =>
  `[ca]
default_ca = own
[own]
database = ${folder}/index.txt
new_certs_dir = ${folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[any]
commonName = supplied
`;

async function make(): Promise<TestCertificates> {
  const folder = await Deno.makeTempDir({ prefix: "bookme-tls-" });
  globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
  await Deno.writeTextFile(`${folder}/index.txt`, "");
  await Deno.writeTextFile(`${folder}/ca.cnf`, CONFIG(folder));
  const ca = await selfSigned(folder, "ca", [
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,keyCertSign,cRLSign",
  ]);
  const good = await leaf(folder, "good", GOOD);
  return {
    ca: ca.cert,
    good,
    wrong_name: await leaf(folder, "wrong_name", "DNS:other.test"),
    expired: await leaf(folder, "expired", GOOD, "20250101000000Z", "20250201000000Z"),
    not_yet: await leaf(folder, "not_yet", GOOD, "20990101000000Z", "20990201000000Z"),
    self_signed: await selfSigned(folder, "self_signed", [
      "basicConstraints=CA:FALSE",
      "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]),
    own_authority: await selfSigned(folder, "own_authority", [
      "basicConstraints=critical,CA:TRUE",
      "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]),
    client: await leaf(folder, "client", "DNS:client.test"),
    files: { ca: `${folder}/ca.pem`, cert: `${folder}/good.pem`, key: `${folder}/good.key` },
  };
}

async function selfSigned(folder: string, name: string, extensions: string[]): Promise<Leaf> {
  await newKey(folder, name);
  const added = extensions.flatMap((extension) => ["-addext", extension]);
  const config = `${folder}/req.cnf`; // the system's own would add CA:TRUE
  await Deno.writeTextFile(config, "[req]\ndistinguished_name = dn\n[dn]\n");
  await openssl(
    ...["req", "-x509", "-new", "-config", config, "-key", `${folder}/${name}.key`],
    ...["-subj", `/CN=${name}`, "-days", "3650", ...added, "-out", `${folder}/${name}.pem`],
  );
  return await read(folder, name);
}

async function leaf(
  folder: string,
  name: string,
  names: string,
  from = "20250101000000Z",
  until = "20980101000000Z",
): Promise<Leaf> {
  await newKey(folder, name);
  const path = `${folder}/${name}`;
  const extensions = `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n` +
    "extendedKeyUsage=serverAuth,clientAuth\n";
  await Deno.writeTextFile(`${path}.ext`, extensions);
  await openssl(
    "req",
    "-new",
    "-key",
    `${path}.key`,
    "-subj",
    `/CN=${name}`,
    "-out",
    `${path}.csr`,
  );
  await openssl(
    ...["ca", "-batch", "-notext", "-config", `${folder}/ca.cnf`, "-cert", `${folder}/ca.pem`],
    ...["-keyfile", `${folder}/ca.key`, "-in", `${path}.csr`, "-extfile", `${path}.ext`],
    ...["-startdate", from, "-enddate", until, "-out", `${path}.pem`],
  );
  return await read(folder, name);
}

async function newKey(folder: string, name: string): Promise<void> {
  const file = `${folder}/${name}.key`;
  await openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file);
}

async function read(folder: string, name: string): Promise<Leaf> {
  return {
    cert: await Deno.readTextFile(`${folder}/${name}.pem`),
    key: await Deno.readTextFile(`${folder}/${name}.key`),
  };
}

async function openssl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args, stdin: "null" }).output();
  if (!success) {
    throw new Error(`openssl ${args[0]} failed: ${new TextDecoder().decode(stderr)}`);
  }
}
