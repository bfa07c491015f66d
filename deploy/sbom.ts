/**
 * Writes an SPDX 2.3 document of what an executable contains: `deno run -A deploy/sbom.ts FILE`.
 *
 * The packages are those that main.ts imports, and what they depend on: the same that deploy/bundle.ts puts
 * into it, at the versions and with the checksums of deno.lock. Their licences are those
 * that their package.json declares. The document depends on nothing but the sources, the variables of
 * deploy/source.sh and the version of Deno, so that it is the same each time.
 */

import { Buffer } from "node:buffer";
import { POSTGRES_VERSION } from "../lib/store/cluster.ts";
import { runScript, say } from "./script.ts";

/** A package of npm. */
export interface NpmPackage {
  /** Its name and version in deno.lock, with the peers it was resolved with. */
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** Subresource Integrity: `sha512-` and base64. */
  readonly integrity: string;
  /** SPDX expression that it declares, or `NOASSERTION`. */
  readonly license: string;
  /** Ids of the packages it depends on. */
  readonly dependencies: readonly string[];
}

/** What a document is made from. */
export interface Contents {
  readonly version: string;
  readonly license: string;
  /** Empty if it is not known. */
  readonly commit: string;
  readonly created: Date;
  readonly runtime: { readonly deno: string; readonly v8: string };
  readonly postgres: string;
  readonly packages: readonly NpmPackage[];
}

/** A package of the document, as SPDX has it. */
export interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly downloadLocation: string;
  readonly filesAnalyzed: false;
  readonly licenseConcluded: "NOASSERTION";
  readonly licenseDeclared: string;
  readonly copyrightText: "NOASSERTION";
  readonly sourceInfo?: string;
  readonly primaryPackagePurpose: "APPLICATION" | "LIBRARY";
  readonly checksums?: readonly { readonly algorithm: "SHA512"; readonly checksumValue: string }[];
  readonly externalRefs: readonly {
    readonly referenceCategory: "PACKAGE-MANAGER";
    readonly referenceType: "purl";
    readonly referenceLocator: string;
  }[];
}

/** An SPDX document. */
export interface SpdxDocument {
  readonly spdxVersion: "SPDX-2.3";
  readonly dataLicense: "CC0-1.0";
  readonly SPDXID: "SPDXRef-DOCUMENT";
  readonly name: string;
  readonly documentNamespace: string;
  readonly creationInfo: { readonly created: string; readonly creators: readonly string[] };
  readonly packages: readonly SpdxPackage[];
  readonly relationships: readonly {
    readonly spdxElementId: string;
    readonly relationshipType: "DESCRIBES" | "CONTAINS" | "DEPENDS_ON";
    readonly relatedSpdxElement: string;
  }[];
}

const PROGRAM = "bookme-webhooks";
const PROGRAM_ID = `SPDXRef-Package-${PROGRAM}`;
/** The package that has the embedded PostgreSQL. */
export const PGLITE = "@electric-sql/pglite";

/** The document of an executable. Pure. */
export function makeSbom(contents: Contents): SpdxDocument {
  const { version, commit, runtime, postgres, packages } = contents;
  const sorted = packages.toSorted((a, b) => a.id < b.id ? -1 : 1);
  const deno = bundled("deno", runtime.deno, {
    license: "MIT",
    purl: `pkg:github/denoland/deno@v${runtime.deno}`,
    location: `https://github.com/denoland/deno/releases/tag/v${runtime.deno}`,
  });
  const v8_version = runtime.v8.replace(/-rusty$/, ""); // of the bindings to Rust
  const v8 = bundled("v8", v8_version, {
    license: "BSD-3-Clause",
    purl: `pkg:generic/v8@${v8_version}`,
    location: "https://chromium.googlesource.com/v8/v8",
  });
  const postgresql = bundled("postgresql", postgres, {
    license: "PostgreSQL",
    purl: `pkg:generic/postgresql@${postgres}`,
    location: "https://www.postgresql.org/ftp/source/",
  });
  const pglite = sorted.filter(({ name }) => name === PGLITE);
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `${PROGRAM}-${version}`,
    documentNamespace: `https://spdx.org/spdxdocs/${PROGRAM}-${version}-${commit || "unknown"}`,
    creationInfo: {
      created: contents.created.toISOString().replace(/\.\d+Z$/, "Z"),
      creators: [`Tool: ${PROGRAM}-deploy-sbom-${version}`],
    },
    packages: [programOf(contents), deno, v8, postgresql, ...sorted.map(npmOf)],
    relationships: [
      relation("SPDXRef-DOCUMENT", "DESCRIBES", PROGRAM_ID),
      relation(PROGRAM_ID, "CONTAINS", deno.SPDXID),
      relation(deno.SPDXID, "CONTAINS", v8.SPDXID),
      ...pglite.map(({ id }) => relation(spdxId("npm", id), "CONTAINS", postgresql.SPDXID)),
      ...sorted.map(({ id }) => relation(PROGRAM_ID, "CONTAINS", spdxId("npm", id))),
      ...sorted.flatMap(({ id, dependencies }) =>
        dependencies.toSorted().map((other) =>
          relation(spdxId("npm", id), "DEPENDS_ON", spdxId("npm", other))
        )
      ),
    ],
  };
}

type Relation = SpdxDocument["relationships"][number];

function relation(from: string, type: Relation["relationshipType"], to: string): Relation {
  return { spdxElementId: from, relationshipType: type, relatedSpdxElement: to };
}

// Ids have letters, digits, dots and hyphens only.
function spdxId(kind: string, id: string): string {
  return `SPDXRef-Package-${kind}-${id.replace(/^@/, "").replace(/[^A-Za-z0-9.]+/g, "-")}`;
}

const COMMON = {
  filesAnalyzed: false,
  licenseConcluded: "NOASSERTION",
  copyrightText: "NOASSERTION",
} as const;

function programOf({ version, license, commit }: Contents): SpdxPackage {
  return {
    ...COMMON,
    SPDXID: PROGRAM_ID,
    name: PROGRAM,
    versionInfo: version,
    downloadLocation: "NOASSERTION",
    licenseDeclared: license,
    primaryPackagePurpose: "APPLICATION",
    ...(commit === "" ? {} : { sourceInfo: `git commit ${commit}` }),
    externalRefs: [purl(`pkg:generic/${PROGRAM}@${version}`)],
  };
}

function bundled(
  name: string,
  version: string,
  about: { readonly license: string; readonly purl: string; readonly location: string },
): SpdxPackage {
  return {
    ...COMMON,
    SPDXID: spdxId("bundled", `${name}-${version}`),
    name,
    versionInfo: version,
    downloadLocation: about.location,
    licenseDeclared: about.license,
    primaryPackagePurpose: "LIBRARY",
    externalRefs: [purl(about.purl)],
  };
}

function npmOf({ id, name, version, integrity, license }: NpmPackage): SpdxPackage {
  const file = `${name.split("/").at(-1)}-${version}.tgz`;
  return {
    ...COMMON,
    SPDXID: spdxId("npm", id),
    name,
    versionInfo: version,
    downloadLocation: `https://registry.npmjs.org/${name}/-/${file}`,
    licenseDeclared: license,
    primaryPackagePurpose: "LIBRARY",
    checksums: [{ algorithm: "SHA512", checksumValue: hexOf(integrity) }],
    externalRefs: [purl(`pkg:npm/${name.replace("@", "%40")}@${version}`)],
  };
}

function purl(locator: string): SpdxPackage["externalRefs"][number] {
  return {
    referenceCategory: "PACKAGE-MANAGER",
    referenceType: "purl",
    referenceLocator: locator,
  };
}

function hexOf(integrity: string): string {
  const [algorithm, digest = ""] = integrity.split("-");
  const bytes = Buffer.from(digest, "base64");
  if (algorithm !== "sha512" || bytes.length !== 64) {
    throw new Error(`deno.lock has ${JSON.stringify(integrity)} where a sha512 was expected`);
  }
  return bytes.toString("hex");
}

/** What of `deno info --json main.ts` counts here. */
export interface ModuleGraph {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<
    Record<
      string,
      {
        readonly name: string;
        readonly version: string;
        readonly dependencies: readonly string[];
        /** Its files in Deno's cache. */
        readonly localPath: string;
      }
    >
  >;
}

/** Ids of the packages that the modules of a graph import, and of all they depend on, sorted. Pure. */
export function packagesOf({ modules, npmPackages }: ModuleGraph): string[] {
  const found = new Set<string>();
  const add = (id: string) => {
    if (found.has(id)) return;
    found.add(id);
    npmPackages[id]?.dependencies.forEach(add);
  };
  for (const { npmPackage } of modules) if (npmPackage !== undefined) add(npmPackage);
  return [...found].toSorted();
}

const ROOT = new URL("../", import.meta.url);

/** The packages of npm that an executable of these sources contains. */
export async function readPackages(): Promise<NpmPackage[]> {
  const lock: { npm: Record<string, { integrity: string }> } = JSON.parse(
    await Deno.readTextFile(new URL("deno.lock", ROOT)),
  );
  const graph = await readGraph();
  return packagesOf(graph).map((id) => {
    const known = graph.npmPackages[id];
    const integrity = lock.npm[id]?.integrity;
    if (known === undefined || integrity === undefined) {
      throw new Error(`deno.lock does not have ${id}; run deno install and commit deno.lock`);
    }
    const { name, version, dependencies, localPath } = known;
    const license = licenseOf(JSON.parse(Deno.readTextFileSync(`${localPath}/package.json`)));
    return { id, name, version, integrity, license, dependencies };
  });
}

/** The modules of main.ts, as `deno info` knows them. */
export function readGraph(): Promise<ModuleGraph> {
  return info<ModuleGraph>("main.ts");
}

/** The answer of `deno info`. Throws if it fails. */
export async function info<T>(...args: string[]): Promise<T> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--frozen", ...args],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error(`deno info failed: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

const LICENSE_ID = "[A-Za-z0-9.+-]+";
const LICENSE = new RegExp(`^\\(?${LICENSE_ID}(?: (?:AND|OR|WITH) ${LICENSE_ID})*\\)?$`);

/** The licence that a package.json declares, as an SPDX expression. Pure. */
export function licenseOf(manifest: { readonly license?: unknown }): string {
  const { license } = manifest;
  return typeof license === "string" && LICENSE.test(license) ? license : "NOASSERTION";
}

async function main([path]: readonly string[]): Promise<void> {
  const { COMMIT: commit, SOURCE_DATE_EPOCH: epoch } = Deno.env.toObject();
  if (path === undefined || commit === undefined || epoch === undefined) {
    throw new Error(
      "Usage: COMMIT=… SOURCE_DATE_EPOCH=… deno run -A deploy/sbom.ts FILE (deploy/source.sh has both)",
    );
  }
  const project = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const sbom = makeSbom({
    version: project.version,
    license: project.license,
    commit,
    created: new Date(Number(epoch) * 1000),
    runtime: Deno.version,
    postgres: POSTGRES_VERSION,
    packages: await readPackages(),
  });
  await Deno.writeTextFile(path, JSON.stringify(sbom, null, 2) + "\n");
  say(`Wrote ${path}: ${sbom.packages.length} packages`);
}

if (import.meta.main) await runScript(main);
