/**
 * Makes the Debian package: `deno task deb`, after `deno task compile`.
 *
 *   --executable FILE      what becomes /usr/bin/bookme-webhooks (default: dist/bookme-webhooks)
 *   --architecture NAME    amd64 or arm64 (default: this machine's)
 *   --version VERSION      of the package (default: that of deno.json)
 *   --output DIRECTORY     where it is written (default: dist)
 *   --compression NAME     as dpkg-deb -Z takes it (default: xz)
 *
 * The same sources and executable make the same bytes: times are SOURCE_DATE_EPOCH, or that of the commit.
 * Man page and completions are made from the definitions that `--help` prints. Needs dpkg-deb and gzip.
 */

import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import project from "../../deno.json" with { type: "json" };
import { loadCommands } from "../../lib/cli/cli.ts";
import { completionsOf } from "../../lib/cli/commands/completions.ts";
import { licenseTexts } from "./licenses.ts";
import { manPage } from "./man.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const NAME = "bookme-webhooks";
const DOC = `usr/share/doc/${NAME}`;
const CONFIG = `etc/${NAME}/config.yaml`;
const MAINTAINER = "bookme-webhooks contributors <bookme-webhooks@users.noreply.github.com>";

/** e_machine of an ELF file, by Debian's name of the architecture. */
const MACHINES: Readonly<Record<string, number>> = { amd64: 62, arm64: 183 };

const SUMMARY = "delivers BookMe's events to webhooks, signed, at least once";
const DESCRIPTION = ` bookme-webhooks accepts BookMe's events over HTTP, stores them durably, and
 delivers each one, signed, to every endpoint that selects it. An endpoint
 that is down gets seven attempts over 31 hours.
 .
 It is one executable with its database inside, and runs on a PostgreSQL
 server for more than one machine.`;

/** What a package is made of. */
export interface PackageOptions {
  readonly executable: string;
  readonly architecture: string;
  readonly version: string;
  /** Directory that gets the package. */
  readonly output: string;
  readonly compression: string;
}

/** A file of the package, by its path from the root. */
interface Entry {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly mode: number;
}

if (import.meta.main) {
  try {
    const path = await buildPackage(readOptions(Deno.args));
    say(`Built ${path}`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}

function readOptions(args: string[]): PackageOptions {
  const { values } = parseArgs({
    args,
    options: {
      executable: { type: "string", default: join(ROOT, "dist", NAME) },
      architecture: { type: "string", default: Deno.build.arch === "x86_64" ? "amd64" : "arm64" },
      version: { type: "string", default: project.version },
      output: { type: "string", default: join(ROOT, "dist") },
      compression: { type: "string", default: "xz" },
    },
  });
  return values;
}

/** Makes the package, and returns its path. Throws if the executable is not one for its architecture. */
export async function buildPackage(options: PackageOptions): Promise<string> {
  const { executable, architecture, version, output, compression } = options;
  const epoch_s = await sourceDate();
  const program = readExecutable(executable, architecture);
  const entries = [
    { path: `usr/bin/${NAME}`, bytes: program, mode: 0o755 },
    ...await filesOf(version, epoch_s),
  ];
  const work = await Deno.makeTempDir({ prefix: "bookme-deb-" });
  try {
    const control = controlFiles(options, entries, libraries(program));
    for (const entry of [...control, ...entries]) writeEntry(work, entry);
    setTimes(work, epoch_s);
    await Deno.mkdir(output, { recursive: true });
    const path = join(output, `${NAME}_${version}_${architecture}.deb`);
    await run("dpkg-deb", ["--root-owner-group", `-Z${compression}`, "--build", work, path], {
      SOURCE_DATE_EPOCH: String(epoch_s),
    });
    return path;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

function readExecutable(path: string, architecture: string): Uint8Array {
  const machine = MACHINES[architecture];
  if (machine === undefined) {
    throw new Error(`No package for ${architecture}; choose ${Object.keys(MACHINES).join(" or ")}`);
  }
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `There is no ${path}; make it with deno task compile, or name it: --executable`,
    );
  }
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 4));
  // A script: the launcher of the package test.
  if (head.startsWith("#!")) return bytes;
  if (head !== "\x7fELF") throw new Error(`${path} is no executable for Linux`);
  const found = (bytes[18] ?? 0) + (bytes[19] ?? 0) * 256;
  if (found === machine) return bytes;
  throw new Error(
    `${path} is not for ${architecture} (its ELF machine is ${found}, not ${machine})`,
  );
}

/** The libraries that an executable is linked to; the C library in the version that it needs. */
function libraries(program: Uint8Array): string[] {
  const versions = new Set<string>();
  // The names of the libraries stand at its beginning, what was compiled into it at its end.
  const text = new TextDecoder("latin1").decode(program.subarray(0, 1 << 23));
  for (const [, version = ""] of text.matchAll(/GLIBC_(2\.\d+)/g)) versions.add(version);
  const minors = [...versions].map((version) => Number(version.slice(2)));
  if (minors.length === 0) return [];
  return [`libc6 (>= 2.${Math.max(...minors)})`, "libgcc-s1"];
}

async function filesOf(version: string, epoch_s: number): Promise<Entry[]> {
  const commands = await loadCommands();
  const man = await gzip(manPage(version, isoDate(epoch_s), commands));
  const units = [".service", "-backup.service", "-backup.timer"].map((end) => `${NAME}${end}`);
  const share = "usr/share";
  return [
    entry(CONFIG, packagedConfig(read("config.example.yaml")), 0o640),
    entry(`usr/lib/sysusers.d/${NAME}.conf`, read("deploy/sysusers.conf")),
    ...units.map((unit) =>
      entry(`usr/lib/systemd/system/${unit}`, packagedUnit(read(`deploy/${unit}`)))
    ),
    { path: `${share}/man/man1/${NAME}.1.gz`, bytes: man, mode: 0o644 },
    entry(`${share}/bash-completion/completions/${NAME}`, `${completionsOf("bash", commands)}\n`),
    entry(`${share}/zsh/vendor-completions/_${NAME}`, `${completionsOf("zsh", commands)}\n`),
    entry(
      `${share}/fish/vendor_completions.d/${NAME}.fish`,
      `${completionsOf("fish", commands)}\n`,
    ),
    entry(`${DOC}/copyright`, copyright(read("LICENSE"))),
    { path: `${DOC}/licenses.gz`, bytes: await gzip(await licenseTexts()), mode: 0o644 },
    {
      path: `${DOC}/changelog.gz`,
      bytes: await gzip(debianChangelog(version, epoch_s)),
      mode: 0o644,
    },
    entry(`${share}/lintian/overrides/${NAME}`, read("deploy/deb/lintian-overrides")),
    ...["README.md", "CHANGELOG.md", "SECURITY.md"].map((page) =>
      entry(`${DOC}/${page}`, read(page))
    ),
    ...pagesBelow("docs").map((page) => entry(`${DOC}/${page}`, read(page))),
  ];
}

/** The example as it is installed: the same, with the database where the unit lets it be. */
export function packagedConfig(example: string): string {
  const packaged = example.replace("directory: ./data\n", `directory: /var/lib/${NAME}\n`);
  if (packaged === example) throw new Error("config.example.yaml has no `directory: ./data`");
  return packaged;
}

/** A unit as it is installed: packages own /usr, administrators /usr/local. */
export function packagedUnit(unit: string): string {
  return unit.replaceAll(/\/usr\/local\/(bin|share)\//g, "/usr/$1/");
}

function controlFiles(
  { architecture, version }: PackageOptions,
  entries: readonly Entry[],
  libraries: readonly string[],
): Entry[] {
  const depends = [
    ...libraries,
    // Any of them makes the user.
    "systemd | systemd-standalone-sysusers | systemd-sysusers",
  ];
  const sizes = entries.map(({ bytes }) => Math.ceil(bytes.length / 1024));
  const control = `Package: ${NAME}
Version: ${version}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${sizes.reduce((sum, size) => sum + size, 0)}
Depends: ${depends.join(", ")}
Section: net
Priority: optional
Description: ${SUMMARY}
${DESCRIPTION}
`;
  const sums = entries.filter(({ path }) => path !== CONFIG)
    .map(({ path, bytes }) => `${createHash("md5").update(bytes).digest("hex")}  ${path}\n`);
  return [
    entry("DEBIAN/control", control),
    entry("DEBIAN/conffiles", `/${CONFIG}\n`),
    entry("DEBIAN/md5sums", sums.join("")),
    ...["postinst", "prerm", "postrm"].map((name) =>
      entry(`DEBIAN/${name}`, read(`deploy/deb/${name}`), 0o755)
    ),
  ];
}

function copyright(license: string): string {
  const [, text = ""] = /^(Permission is hereby[^]*)$/m.exec(license) ?? [];
  const [, holders = ""] = /^Copyright \(c\) (.+)$/m.exec(license) ?? [];
  if (text === "" || holders === "") throw new Error("LICENSE is not the MIT licence");
  const indented = text.trimEnd().split("\n").map((line) => line === "" ? " ." : ` ${line}`);
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ${NAME}

Files: *
Copyright: ${holders}
Comment: What the executable contains besides is in licenses.gz in this directory.
License: Expat
${indented.join("\n")}
`;
}

function debianChangelog(version: string, epoch_s: number): string {
  return `${NAME} (${version}) stable; urgency=medium

  * Version ${version}: CHANGELOG.md in this directory says what changed.

 -- ${MAINTAINER}  ${new Date(epoch_s * 1000).toUTCString().replace("GMT", "+0000")}
`;
}

function pagesBelow(folder: string): string[] {
  return [...Deno.readDirSync(join(ROOT, folder))].flatMap(({ name, isDirectory }) =>
    isDirectory
      ? pagesBelow(`${folder}/${name}`)
      : name.endsWith(".md")
      ? [`${folder}/${name}`]
      : []
  ).toSorted();
}

function entry(path: string, text: string, mode = 0o644): Entry {
  return { path, bytes: new TextEncoder().encode(text), mode };
}

function read(path: string): string {
  return Deno.readTextFileSync(join(ROOT, path));
}

function writeEntry(root: string, { path, bytes, mode }: Entry): void {
  const file = join(root, path);
  Deno.mkdirSync(dirname(file), { recursive: true });
  Deno.writeFileSync(file, bytes);
  Deno.chmodSync(file, mode);
}

/** Sets all times below to one, and the modes of directories, whatever the umask is. */
function setTimes(path: string, epoch_s: number): void {
  for (const { name, isDirectory } of Deno.readDirSync(path)) {
    if (isDirectory) setTimes(`${path}/${name}`, epoch_s);
    else Deno.utimeSync(`${path}/${name}`, epoch_s, epoch_s);
  }
  Deno.chmodSync(path, 0o755);
  Deno.utimeSync(path, epoch_s, epoch_s);
}

async function sourceDate(): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  const text = given ?? await run("git", ["-C", ROOT, "log", "-1", "--format=%ct"]);
  if (/^\d{1,12}\s*$/.test(text)) return Number(text);
  throw new Error(`SOURCE_DATE_EPOCH must be seconds since 1970, not ${JSON.stringify(given)}`);
}

function isoDate(epoch_s: number): string {
  return new Date(epoch_s * 1000).toISOString().slice(0, 10);
}

async function gzip(text: string): Promise<Uint8Array> {
  const child = new Deno.Command("gzip", {
    args: ["-9n"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const fed = new Blob([text]).stream().pipeTo(child.stdin);
  const [{ success, stdout }] = await Promise.all([child.output(), fed]);
  if (!success) throw new Error("gzip failed");
  return stdout;
}

async function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    env: { ...env },
    stdin: "null",
  }).output().catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Command not found: ${program}`);
  });
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout);
}

function say(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
