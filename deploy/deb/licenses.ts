/** The licences of the packages that an executable contains, which each of them wants to be passed on. */

import { packagesOf, readGraph } from "../sbom.ts";

/** The text of all licences, one after the other, by the names of the packages. */
export async function licenseTexts(): Promise<string> {
  const graph = await readGraph();
  const texts = packagesOf(graph).flatMap((id) => graph.npmPackages[id] ?? [])
    .map(({ name, version, localPath }) => `${name} ${version}\n\n${textsIn(localPath)}\n`);
  return `The executable contains Deno's runtime (MIT, https://deno.com), which has the licences of its
own parts, PostgreSQL as PGlite has built it (https://www.postgresql.org/about/licence), and these
packages from npm:

${texts.join(`\n${"-".repeat(72)}\n\n`)}`;
}

/** The files with the licence in a package's folder, or what its package.json says where there are none. */
function textsIn(folder: string): string {
  const files = [...Deno.readDirSync(folder)]
    .filter(({ name, isFile }) => isFile && /^(licen[cs]e|notice|copying)\b/i.test(name))
    .map(({ name }) => name).toSorted();
  if (files.length > 0) {
    return files.map((name) => Deno.readTextFileSync(`${folder}/${name}`).trim()).join("\n\n");
  }
  const { license } = JSON.parse(Deno.readTextFileSync(`${folder}/package.json`));
  return `License: ${license}`;
}
