import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Config, DatabaseConfig } from "../../lib/config/config.ts";
import { readDatabaseUrl } from "../../lib/config/database.ts";
import { ConfigError, type ConfigMistake } from "../../lib/config/error.ts";
import { loadConfig } from "../../lib/config/load.ts";

/** A secret that signs, of the whsec_ form. */
export const STRONG = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwQZ3hT1yJ0fY=";
/** Another one, of any other form. */
export const OTHER = "pT7#kd92mQx!vR4sLw8zY3nB6cJ1";
/** An admin token. */
export const TOKEN = "tok_5Gh2Kx9QpLm3Rt7VwZy1Nb4C";

/** The environment that `load` reads variables from. */
export const ENV: Readonly<Record<string, string>> = {
  BOOKME_SECRET: STRONG,
  CRM_SECRET: OTHER,
  ADMIN_TOKEN: TOKEN,
  DATABASE_URL: "postgres://bookme:hunter2-hunter2@db.example.com/bookme",
  EMPTY: "",
  WEAK: "changeme-changeme-changeme",
  SEQUENCE: "abcdefghijklmnopqrstuvwxyz",
};

/** Runs with a directory that holds `files` and `yaml` as config.yaml. */
export function inDirectory<T>(
  yaml: string,
  files: Readonly<Record<string, string>>,
  run: (path: string, directory: string) => T,
): T {
  const directory = mkdtempSync(join(tmpdir(), "config-"));
  try {
    for (const [name, content] of Object.entries({ ...files, "config.yaml": yaml })) {
      writeFileSync(join(directory, name), content, { mode: 0o600 });
    }
    return run(join(directory, "config.yaml"), directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The same, for what takes its time. */
export async function inDirectoryAsync(
  yaml: string,
  files: Readonly<Record<string, string>>,
  run: (path: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "config-"));
  try {
    for (const [name, content] of Object.entries({ ...files, "config.yaml": yaml })) {
      writeFileSync(join(directory, name), content, { mode: 0o600 });
    }
    await run(join(directory, "config.yaml"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The configuration of a file. */
export function load(yaml: string, files: Readonly<Record<string, string>> = {}): Config {
  return inDirectory(yaml, files, (path) => loadConfig(path, (name) => ENV[name]));
}

/** The mistakes of a file; none if it is one that loads. */
export function mistakesOf(
  yaml: string,
  files: Readonly<Record<string, string>> = {},
): readonly ConfigMistake[] {
  try {
    load(yaml, files);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.mistakes;
  }
  return [];
}

/** The configuration of a database on a server; nothing comes from the environment. */
export function serverConfig(url: string): DatabaseConfig & { readonly kind: "server" } {
  const around = { directory: "/", env: () => undefined, production: false };
  return { kind: "server", address: readDatabaseUrl(url, around), connect_timeout_ms: 60_000 };
}

/** A file with exactly one mistake. */
export interface Case {
  readonly yaml: string;
  readonly at: `${number}:${number}`;
  readonly path: string;
  readonly says: RegExp;
}

/** Asserts that a file makes one mistake, at its place, with its remedy. */
export function expectMistake(
  { yaml, at, path, says }: Case,
  files: Record<string, string> = {},
): void {
  const mistakes = mistakesOf(yaml, files);
  const found = mistakes.map((found) => `${found.line}:${found.column} ${found.path}`);
  assert.deepEqual(found, [`${at} ${path}`], `${yaml}\n${JSON.stringify(mistakes)}`);
  const message = mistakes[0]?.message ?? "";
  assert.match(message, says, yaml);
  assert.match(message, /^["A-Z]/);
  assert.doesNotMatch(message, /\.$/);
}

/** The same for each of these files. */
export function expectMistakes(cases: readonly Case[], files: Record<string, string> = {}): void {
  for (const each of cases) expectMistake(each, files);
}

/** A file with one endpoint, which has this line too. */
export function endpointWith(line: string): string {
  return `${endpoint({})}    ${line}\n`;
}

/** An endpoint of one line each, some of them exchanged. */
export function endpoint(change: Readonly<Record<string, string>>): string {
  const keys = {
    id: "crm",
    url: "https://crm.example.com/in",
    unsigned: "true",
    events: '["*"]',
    ...change,
  };
  const lines = Object.entries(keys).filter(([, value]) => value !== "");
  return "endpoints:\n" +
    lines.map(([key, value], index) => `${index === 0 ? "  - " : "    "}${key}: ${value}\n`).join(
      "",
    );
}

/** A PEM text of this kind. */
export function pem(kind: string): string {
  return `-----BEGIN ${kind}-----\nMIIB\n-----END ${kind}-----\n`;
}
