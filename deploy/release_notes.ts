/**
 * Prints the notes of a release: `deno run -A deploy/release_notes.ts DIST RAN`.
 *
 * They have the version's section of CHANGELOG.md, and for each executable in DIST whether it was run: RAN has
 * a file TARGET.txt for each that passed deploy/smoke.ts, which names the machine.
 */

import { runScript, say } from "./script.ts";

const SIGNATURE = "SHA256SUMS.minisig";

/** The section of a version in a changelog, without its heading. Throws if there is none. Pure. */
export function sectionOf(changelog: string, version: string): string {
  const lines = changelog.split("\n");
  const at = lines.findIndex((line) => line.split(" ")[1] === version && line.startsWith("## "));
  if (at === -1) {
    throw new Error(
      `CHANGELOG.md has no section ${version}; give Unreleased that name and its date`,
    );
  }
  const rest = lines.slice(at + 1);
  const end = rest.findIndex((line) => line.startsWith("## "));
  return rest.slice(0, end === -1 ? undefined : end).join("\n").trim();
}

/** What became of a release's files. */
export interface Built {
  readonly version: string;
  readonly files: readonly string[];
  /** Which machine each target was run on. */
  readonly ran: ReadonlyMap<string, string>;
}

/** The notes. Throws if a target is said to have been run that was not built, or none was. Pure. */
export function notesOf(changelog: string, { version, files, ran }: Built): string {
  const pattern = new RegExp(`^bookme-webhooks-${RegExp.escape(version)}-(\\w+-\\w+?)(?:\\.exe)?$`);
  const targets = files.flatMap((name) => pattern.exec(name)?.[1] ?? []).toSorted();
  const strange = [...ran.keys()].filter((target) => !targets.includes(target));
  if (targets.length === 0 || strange.length > 0) {
    throw new Error(
      `No executable of version ${version} for ${strange.join(", ") || "any target"}`,
    );
  }
  return [
    sectionOf(changelog, version),
    "",
    "## Executables",
    "",
    "| target | run before the release |",
    "| --- | --- |",
    ...targets.map((target) => `| ${target} | ${ran.get(target) ?? "**never**: only built"} |`),
    "",
    "Run means: it started in an empty directory, made its database, delivered a signed event, and opened",
    "the database again. `docs/releases.md` explains how to verify a download and how to build the same bytes.",
    ...files.includes(SIGNATURE) ? [] : ["", "**Not signed**: no key was there when it was built."],
  ].join("\n");
}

function main([dist, ran]: readonly string[]): void {
  if (dist === undefined || ran === undefined) {
    throw new Error("Usage: deno run -A deploy/release_notes.ts DIST RAN");
  }
  const read = (path: string) => Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));
  const notes = notesOf(read("CHANGELOG.md"), {
    version: JSON.parse(read("deno.json")).version,
    files: [...Deno.readDirSync(dist)].map(({ name }) => name),
    ran: new Map(
      [...Deno.readDirSync(ran)].map(({ name }) => [
        name.replace(/\.txt$/, ""),
        Deno.readTextFileSync(`${ran}/${name}`).trim(),
      ]),
    ),
  });
  say(notes);
}

if (import.meta.main) await runScript(main);
