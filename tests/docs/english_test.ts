/** Sentences that read as translated: forms that a native engineer would not write. */

import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

/** What to look for, and what to write instead. */
const BANNED: readonly (readonly [RegExp, string])[] = [
  [
    /(?:^|[.:;] )(?:What|Who|Whoever|Whatever) (?:is|was|are|were|has|had|came|comes|goes|does|takes) [a-z]/,
    "a noun as the subject",
  ],
  [/\banew\b/i, "again"],
  [/\bmend(?:s|ed|ing)?\b/i, "fix"],
  [/\bunless said\b/i, "by default"],
  [/\b(?:is|are|was|were) told\b/i, "is reported, is logged"],
  [/\btells? (?:of|about|whether|what|which|how)\b/i, "says, reports"],
  [/\bof ours\b/i, "our"],
  [/\bof its own accord\b/i, "by itself"],
  [/\bso many\b/i, "a number"],
  [/\bnobody is there\b/i, "no …"],
  [/\bbeside (?:it|them|the|each|an?)\b/i, "next to, besides"],
  [/\bfor ever\b/i, "forever"],
  [/\bmuch the same\b/i, "alike"],
  [/\bplease\b/i, "(nothing)"],
];

/** Rooms that are still to be rewritten. */
const PENDING: readonly string[] = [];

const FOLDERS = ["lib/", "routes/", "migrations/", "deploy/", "docs/", "./"];

async function textFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    if (isDirectory && folder !== "./") found.push(...await textFiles(`${folder}${name}/`));
    else if (
      /\.(?:tsx?|sql|md|service|sh)$|^(?:config\.example|prometheus|rules)\.yaml$/.test(name)
    ) {
      found.push(folder + name);
    }
  }
  return found.map((path) => path.replace(/^\.\//, ""));
}

/** Comments, docstrings and strings of code; of prose everything but code blocks. */
function proseOf(path: string, text: string): string[] {
  const lines = text.split("\n");
  if (/\.tsx?$/.test(path)) {
    return lines.map((line) => {
      const comment = /(?:^|\s)\/\/\s?(.*)$|^\s*\/?\*+\s?(.*)$/.exec(line);
      const strings = [...line.matchAll(/(["`])((?:(?!\1)[^\\]|\\.)*)\1/g)].map((match) =>
        match[2]
      );
      return comment?.[1] ?? comment?.[2] ?? strings.join(" | ");
    });
  }
  return lines;
}

Deno.test("sentences are written in plain English", async () => {
  const paths = (await Promise.all(FOLDERS.map(textFiles))).flat()
    .filter((path) => !PENDING.some((folder) => path.startsWith(folder)));
  assert.ok(paths.length > 100);
  const found: string[] = [];
  for (const path of paths) {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    proseOf(path, text).forEach((line, index) => {
      for (const [form, instead] of BANNED) {
        const [match] = form.exec(line) ?? [];
        if (match !== undefined) found.push(`${path}:${index + 1}: "${match}", write: ${instead}`);
      }
    });
  }
  assert.deepEqual(found, []);
});
