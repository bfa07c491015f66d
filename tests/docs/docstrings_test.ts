/** The docs lint: `deno doc` shows a sentence for everything that a module exports. */

import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

async function sources(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    if (isDirectory) found.push(...await sources(`${folder}${name}/`));
    else if (/\.tsx?$/.test(name)) found.push(folder + name);
  }
  return found;
}

Deno.test("every exported name has a docstring", async () => {
  const paths = (await Promise.all(["lib/", "routes/"].map(sources))).flat();
  assert.ok(paths.length > 100);
  const missing: string[] = [];
  for (const path of paths) {
    const lines = (await Deno.readTextFile(new URL(path, ROOT))).split("\n");
    lines.forEach((line, index) => {
      const [, name] =
        /^export (?:async )?(?:function\*?|const|let|interface|type|class) (\w+)/.exec(line) ?? [];
      if (name === undefined || /\*\/$/.test(lines[index - 1]?.trim() ?? "")) return;
      // These describe themselves: commands, operations with their examples, types of schemas.
      if (/= (?:command|change)\(\{$|Operations = \[$|= v\.Infer(?:In|Out)put</.test(line)) return;
      if (
        path === "routes/api/examples.ts" ||
        (/^export type/.test(line) && path.startsWith("lib/admin/"))
      ) return;
      missing.push(`${path}:${index + 1} ${name}`);
    });
  }
  assert.deepEqual(missing, []);
});
