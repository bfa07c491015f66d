/**
 * Makes the folder that an executable is compiled from: `deno run -A deploy/bundle.ts DIRECTORY`.
 *
 * It has the program as JavaScript in few files, of which a start reads those that it needs, with the names that it
 * has in the sources; and the embedded PostgreSQL, compressed. Nothing in it depends on where these sources or the
 * cache of packages are. A comment before each module says where it comes from, `// npm/yaml/2.9.1/dist/index.js`.
 */

import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { runScript } from "./script.ts";
import { PGLITE, readGraph } from "./sbom.ts";

const ROOT = new URL("../", import.meta.url);
/** Files of PGlite, as `lib/store/pglite_files.ts` reads them. */
const PGLITE_FILES = ["pglite.wasm", "pglite.data"];
const LEVEL = 19;

/** What the code of CommonJS packages asks for; the bundler forgets it where it splits. */
const REQUIRE = `import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
`;

async function bundle(directory: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["bundle", "--quiet", "--frozen", "--platform", "deno"],
      ...["--code-splitting", "--outdir", directory, "main.ts"],
    ],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error(`deno bundle failed: ${new TextDecoder().decode(stderr)}`);
}

/** New names of the files, `chunk-2.js` for `chunk-ADI3H4RY.js`: the bundler's depend on paths of this machine. */
function renamed(files: ReadonlyMap<string, string>): Map<string, string> {
  const names = new Map([["main.js", "main.js"]]);
  // Grows while it is walked.
  for (const name of names.keys()) {
    for (const [, other = ""] of (files.get(name) ?? "").matchAll(/"\.\/([\w.-]+\.js)"/g)) {
      if (!files.has(other) || names.has(other)) continue;
      names.set(other, `${other.replace(/-[A-Z0-9]{8}\.js$/, "")}-${names.size}.js`);
    }
  }
  return names;
}

function placed(text: string, names: ReadonlyMap<string, string>): string {
  const placed = text
    .replace(/"\.\/([\w.-]+\.js)"/g, (all, name) => {
      const now = names.get(name);
      return now === undefined ? all : `"./${now}"`;
    })
    .replace(/(?:\.\.\/)*[^"\s]*\/npm\/registry\.npmjs\.org\//g, "npm/");
  return placed.includes("Dynamic require of") ? REQUIRE + placed : placed;
}

async function main([directory]: readonly string[]): Promise<void> {
  if (directory === undefined) throw new Error("Usage: deno run -A deploy/bundle.ts DIRECTORY");
  await bundle(directory);
  const files = new Map(
    [...Deno.readDirSync(directory)].map(({ name }) => [
      name,
      Deno.readTextFileSync(join(directory, name)),
    ]),
  );
  const names = renamed(files);
  for (const name of files.keys()) Deno.removeSync(join(directory, name));
  // Those that nothing imports are left out.
  for (const [name, now] of names) {
    Deno.writeTextFileSync(join(directory, now), placed(files.get(name) ?? "", names));
  }
  const { npmPackages } = await readGraph();
  const pglite = Object.values(npmPackages).find(({ name }) => name === PGLITE);
  for (const name of PGLITE_FILES) {
    const bytes = Deno.readFileSync(join(pglite?.localPath ?? "", "dist", name));
    const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
    Deno.writeFileSync(join(directory, `${name}.zst`), zstdCompressSync(bytes, { params }));
  }
  const ready = "ready_database.tar.zst";
  Deno.copyFileSync(new URL(`lib/store/${ready}`, ROOT), join(directory, ready));
  const { unstable } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", ROOT)));
  Deno.writeTextFileSync(join(directory, "deno.json"), JSON.stringify({ unstable }));
}

if (import.meta.main) await runScript(main);
