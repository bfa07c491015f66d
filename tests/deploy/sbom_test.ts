/** The list of an executable's packages: valid SPDX, the same each time, and true. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeAjv } from "../support/checked.ts";
import {
  type Contents,
  licenseOf,
  makeSbom,
  type ModuleGraph,
  type NpmPackage,
  packagesOf,
  readGraph,
  readPackages,
  type SpdxDocument,
} from "../../deploy/sbom.ts";
import { POSTGRES_VERSION } from "../../lib/store/cluster.ts";
import { inTemporary } from "../support/cli.ts";
import { SPDX_2_3 } from "../support/spdx.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const COMMIT = "0123456789abcdef0123456789abcdef01234567";

function contents(packages: readonly NpmPackage[], more: Partial<Contents> = {}): Contents {
  return {
    version: "0.1.0",
    license: "MIT",
    commit: COMMIT,
    created: new Date("2026-12-24T18:00:00Z"),
    runtime: { deno: "2.9.6", v8: "14.1.2.3-rusty" },
    postgres: POSTGRES_VERSION,
    packages,
    ...more,
  };
}

const packages = await readPackages();
const SBOM = makeSbom(contents(packages));

const validate = makeAjv({ openapi: "", paths: {} }).compile(SPDX_2_3);

/** What is wrong with a document, as places. */
function mistakes(document: unknown): string[] {
  validate(document);
  return (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
}

Deno.test("the SBOM obeys SPDX 2.3", () => {
  assert.deepEqual(mistakes(SBOM), []);
  const ids = SBOM.packages.map(({ SPDXID }) => SPDXID);
  assert.equal(new Set(ids).size, ids.length);
  for (const { spdxElementId, relatedSpdxElement } of SBOM.relationships) {
    assert.ok(spdxElementId === SBOM.SPDXID || ids.includes(spdxElementId), spdxElementId);
    assert.ok(ids.includes(relatedSpdxElement), relatedSpdxElement);
  }
  // Everything in it belongs to what it describes.
  const inside = SBOM.relationships.filter(({ relationshipType }) =>
    relationshipType !== "DEPENDS_ON"
  );
  assert.deepEqual(inside.map((one) => one.relatedSpdxElement).toSorted(), ids.toSorted());
});

Deno.test("the rules of SPDX 2.3 find what is wrong", () => {
  const [first, ...rest] = SBOM.packages;
  const npm = rest.at(-1);
  assert.ok(first !== undefined && npm?.checksums !== undefined);
  const withPackage = (change: object) => ({ ...SBOM, packages: [{ ...npm, ...change }] });
  const wrong: [unknown, RegExp][] = [
    [{ ...SBOM, documentNamespace: "urn#1" }, /^\/documentNamespace pattern$/],
    [{ ...SBOM, creationInfo: { ...SBOM.creationInfo, creators: ["me"] } }, /creators\/0 pattern$/],
    [{ ...SBOM, creationInfo: { ...SBOM.creationInfo, created: "today" } }, /created format$/],
    [{ ...SBOM, extra: 1 }, /^ additionalProperties$/],
    [withPackage({ SPDXID: "SPDXRef-@a/b" }), /SPDXID pattern$/],
    [withPackage({ licenseDeclared: "SEE LICENSE IN LICENSE" }), /licenseDeclared pattern$/],
    [withPackage({ downloadLocation: "somewhere" }), /downloadLocation pattern$/],
    [
      withPackage({ checksums: [{ algorithm: "SHA512", checksumValue: "00" }] }),
      /checksumValue minLength$/,
    ],
    [
      withPackage({
        externalRefs: [{ ...npm.externalRefs[0], referenceLocator: "pkg:npm/@a/b@1" }],
      }),
      /referenceLocator pattern$/,
    ],
  ];
  for (const [document, expected] of wrong) {
    const found = mistakes(document);
    assert.ok(found.some((one) => expected.test(one)), `${expected}: ${found}`);
  }
});

Deno.test("makeSbom() is the same whatever the order, and has no time but the commit's", () => {
  const shuffled = packages.toReversed()
    .map((one) => ({ ...one, dependencies: one.dependencies.toReversed() }));
  assert.deepEqual(makeSbom(contents(shuffled)), SBOM);
  assert.equal(SBOM.creationInfo.created, "2026-12-24T18:00:00Z");
  const other = makeSbom(contents(packages, { commit: "f".repeat(40) }));
  assert.notEqual(other.documentNamespace, SBOM.documentNamespace);
});

Deno.test("makeSbom() names versions, checksums, licences and where PostgreSQL is", () => {
  const find = (name: string) =>
    SBOM.packages.find((one) => one.name === name) ?? assert.fail(name);
  const hono = find("hono");
  const lock = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.lock`));
  const { integrity } = lock.npm[`hono@${hono.versionInfo}`];
  const [checksum] = hono.checksums ?? [];
  assert.equal(
    `sha512-${Buffer.from(checksum?.checksumValue ?? "", "hex").toString("base64")}`,
    integrity,
  );
  assert.equal(hono.licenseDeclared, "MIT");
  const server = find("@hono/node-server");
  assert.match(server.externalRefs[0]?.referenceLocator ?? "", /^pkg:npm\/%40hono\/node-server@\d/);
  assert.match(server.downloadLocation, /\/@hono\/node-server\/-\/node-server-[\d.]+\.tgz$/);
  assert.equal(find("bookme-webhooks").sourceInfo, `git commit ${COMMIT}`);
  assert.equal(find("deno").versionInfo, "2.9.6");
  assert.equal(find("v8").versionInfo, "14.1.2.3");
  const holders = SBOM.relationships
    .filter(({ relatedSpdxElement }) => relatedSpdxElement === find("postgresql").SPDXID)
    .map(({ spdxElementId }) => spdxElementId);
  assert.deepEqual(holders, [find("@electric-sql/pglite").SPDXID]);
});

Deno.test("packagesOf() follows dependencies, around circles too, and leaves the rest out", () => {
  const npm = (name: string, ...dependencies: string[]) =>
    [`${name}@1.0.0`, { name, version: "1.0.0", dependencies, localPath: "" }] as const;
  const graph: ModuleGraph = {
    modules: [{}, { npmPackage: "a@1.0.0" }, { npmPackage: "a@1.0.0" }],
    npmPackages: Object.fromEntries([
      npm("a", "b@1.0.0"),
      npm("b", "c@1.0.0"),
      npm("c", "a@1.0.0"),
      npm("unused", "a@1.0.0"),
    ]),
  };
  assert.deepEqual(packagesOf(graph), ["a@1.0.0", "b@1.0.0", "c@1.0.0"]);
});

Deno.test("licenseOf() takes SPDX expressions only", () => {
  for (
    const license of ["MIT", "(MIT OR Apache-2.0)", "GPL-2.0-only WITH Classpath-exception-2.0"]
  ) {
    assert.equal(licenseOf({ license }), license);
  }
  for (const license of [undefined, "", "SEE LICENSE IN LICENSE", { type: "MIT" }, "MIT OR"]) {
    assert.equal(licenseOf({ license }), "NOASSERTION", String(license));
  }
});

/** Runs a script of deploy/ to its end, with this Deno. */
async function script(args: readonly string[], env: Record<string, string>): Promise<void> {
  const { success, stderr } = await new Deno.Command(args[0] ?? "", {
    args: args.slice(1),
    cwd: ROOT,
    env: { DENO: Deno.execPath(), COMMIT, SOURCE_DATE_EPOCH: "1798135200", ...env },
    stdin: "null",
    stdout: "null",
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

Deno.test("the SBOM names exactly the packages of npm that an executable embeds", async () => {
  await inTemporary(async (directory) => {
    const executable = `${directory}/executable`;
    // Any program serves as its base here: it is not run, and what is embedded does not depend on it.
    await script(["bash", "deploy/compile.sh", "--no-check"], {
      DENORT_BIN: await Deno.realPath("/bin/true"),
      OUTPUT: executable,
    });
    const sbom_path = `${directory}/sbom.json`;
    await script([Deno.execPath(), "run", "--frozen", "-A", "deploy/sbom.ts", sbom_path], {});
    const document: SpdxDocument = JSON.parse(await Deno.readTextFile(sbom_path));
    assert.equal(document.creationInfo.created, "2026-12-24T18:00:00Z");

    const bytes = Buffer.from((await Deno.readFile(executable)).buffer);
    const listed = document.packages
      .filter(({ externalRefs: [ref] }) => ref?.referenceLocator.startsWith("pkg:npm/"))
      .map(({ name, versionInfo }) => `${name}@${versionInfo}`);
    assert.deepEqual(listed.toSorted(), await embedded(bytes));
    assert.ok(bytes.includes(COMMIT));
  });
});

/** The packages that modules in an executable come from, by the comments before them. */
async function embedded(bytes: Buffer): Promise<string[]> {
  const marks = bytes.toString("latin1").matchAll(
    /^\/\/ npm\/((?:@[\w.-]+\/)?[\w.-]+)\/(\d[^/]*)\//gm,
  );
  const found = [...new Set([...marks].map(([, name, version]) => `${name}@${version}`))];
  // And no package as a whole.
  const { npmPackages } = await readGraph();
  for (const { name, version, localPath } of Object.values(npmPackages)) {
    if (!found.includes(`${name}@${version}`)) continue;
    const manifest = Deno.readFileSync(`${localPath}/package.json`);
    assert.ok(!bytes.includes(Buffer.from(manifest)), name);
  }
  return found.toSorted();
}
