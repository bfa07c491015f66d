/** Other versions of this program, as sources in a directory of their own. */

import { digestOf } from "../store/migration_rules.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** All that a daemon is made of; its help pages show parts of docs/receivers.md. */
const SOURCES = ["main.ts", "deno.json", "deno.lock", "lib", "routes", "migrations", "docs"];

// Whoever owns the clone.
const GIT = ["-c", "safe.directory=*", "-C", ROOT];

/** Whether the sources are a clone, and no unpacked archive. */
export function isClone(): boolean {
  return [...Deno.readDirSync(ROOT)].some(({ name }) => name === ".git");
}

/** A version of the program. */
export interface Program extends Disposable {
  readonly version: string;
  /** Its `main.ts`. */
  readonly main: string;
  /** The digest of its newest migration, as databases keep it. */
  readonly newest: string;
}

/** This program. */
export function presentProgram(): Program {
  return { ...describe(ROOT), [Symbol.dispose]: () => {} };
}

/** A release of this program, or a commit, from the repository. Throws if the repository does not have it. */
export function programAt(revision: string): Program {
  const known = new Deno.Command("git", {
    args: [...GIT, "rev-parse", "--verify", "--quiet", `${revision}^{commit}`],
    stdout: "null",
  }).outputSync();
  if (!known.success) {
    throw new Error(
      `The repository does not have ${revision}; a shallow clone needs: git fetch --tags`,
    );
  }
  return inCopy((directory) => {
    const archive = run("git", [...GIT, "archive", revision, ...SOURCES]);
    Deno.writeFileSync(`${directory}/sources.tar`, archive);
    run("tar", ["-xf", `${directory}/sources.tar`, "-C", directory]);
  });
}

/** This program one version later: with one more migration, and otherwise the same. */
export function nextProgram(sql: string): Program {
  return inCopy((directory) => {
    run("cp", ["-R", ...SOURCES.map((name) => ROOT + name), directory]);
    const name = `${String(migrationsOf(directory).length + 1).padStart(4, "0")}_next`;
    Deno.writeTextFileSync(`${directory}/migrations/${name}.sql`, sql);
    edit(`${directory}/deno.json`, /"version": "[^"]+"/, '"version": "99.0.0"');
    const list = `${directory}/lib/store/migrations.ts`;
    edit(
      list,
      /^(import .* with \{ type: "text" \};\n)(?!import)/m,
      `$1import next from "../../migrations/${name}.sql" with { type: "text" };\n`,
    );
    edit(
      list,
      /^(const MIGRATIONS[^[]*\[\][^[]*\[[^;]*?)^\];/m,
      `$1  { name: "${name}", sql: next },\n];`,
    );
  });
}

function inCopy(fill: (directory: string) => void): Program {
  const directory = Deno.makeTempDirSync({ prefix: "bookme-version-" });
  const remove = () => Deno.removeSync(directory, { recursive: true });
  try {
    fill(directory);
    return { ...describe(directory), [Symbol.dispose]: remove };
  } catch (error) {
    remove();
    throw error;
  }
}

function describe(directory: string): Pick<Program, "version" | "main" | "newest"> {
  const { version } = JSON.parse(Deno.readTextFileSync(`${directory}/deno.json`));
  const newest = migrationsOf(directory).at(-1) ?? "";
  return {
    version,
    main: `${directory}/main.ts`.replace("//", "/"),
    newest: digestOf(Deno.readTextFileSync(`${directory}/migrations/${newest}`)),
  };
}

function migrationsOf(directory: string): readonly string[] {
  return [...Deno.readDirSync(`${directory}/migrations`)].map(({ name }) => name)
    .filter((name) => name.endsWith(".sql")).toSorted();
}

function edit(path: string, from: RegExp, to: string): void {
  const before = Deno.readTextFileSync(path);
  const after = before.replace(from, to);
  if (after === before) throw new Error(`${path} has no ${from}`);
  Deno.writeTextFileSync(path, after);
}

function run(program: string, args: readonly string[]): Uint8Array {
  const { success, stdout, stderr } = new Deno.Command(program, { args: [...args], stdin: "null" })
    .outputSync();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}
