import { statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { isObject } from "../core/json.ts";
import { PLATFORM } from "../core/platform.ts";
import { readFile } from "./load.ts";
import { filePath, isReference } from "./references.ts";
import { parseYaml, YamlError } from "./yaml.ts";

/** A file that holds a secret, and that others may read. */
export interface Exposed {
  readonly path: string;
  /** Permissions in octal digits, `0644`. */
  readonly mode: string;
}

/** Keys whose values, or references, are no secrets. */
const PUBLIC_KEYS = new Set(["schema", "ca", "cert", "directory", "sslrootcert", "sslcert"]);

/**
 * The files with secrets that everyone on this machine may read: those that a configuration names, and
 * itself if it has a secret in it. Production refuses the former; development does not.
 */
export function findExposed(path: string): readonly Exposed[] {
  if (!PLATFORM.has_modes) return [];
  const absolute = resolve(path);
  try {
    const { data } = parseYaml(readFile(absolute));
    const around = { directory: dirname(absolute), env: () => undefined, production: false };
    const files = filesOf(data).flatMap((text) => attempt(() => filePath(text, around)));
    if (hasSecret(data)) files.push(absolute);
    return [...new Set(files)].flatMap((path) =>
      attempt(() => statSync(path).mode)
        .filter((mode) => (mode & 0o004) !== 0)
        .map((mode) => ({ path, mode: (mode & 0o777).toString(8).padStart(4, "0") }))
    );
  } catch (error) {
    if (error instanceof YamlError) return [];
    throw error;
  }
}

/** A file that is not there, or has no path, is a mistake of the configuration, and reported as such. */
function attempt<T>(read: () => T): T[] {
  try {
    return [read()];
  } catch {
    return [];
  }
}

function filesOf(value: unknown): string[] {
  if (typeof value === "string") return value.startsWith("file:") ? [value] : [];
  if (Array.isArray(value)) return value.flatMap(filesOf);
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    PUBLIC_KEYS.has(key) ? [] : filesOf(inner)
  );
}

/** Whether `secrets`, `admin.tokens` or `alerts` have values instead of references. */
function hasSecret(data: unknown): boolean {
  if (!isObject(data)) return false;
  const secrets = isObject(data["secrets"]) ? data["secrets"] : {};
  const admin = isObject(data["admin"]) ? data["admin"] : {};
  const tokens = Array.isArray(admin["tokens"]) ? admin["tokens"] : [];
  const values = [
    ...Object.values(secrets),
    ...tokens.map((entry) => isObject(entry) ? entry["token"] : undefined),
    ...targetsOf(data["alerts"]),
  ];
  return values.some((value) =>
    typeof value === "string" && !isReference(value) && !Object.hasOwn(secrets, value)
  );
}

/** The URLs of an `alerts` section, with which anybody could write there. */
function targetsOf(alerts: unknown): unknown[] {
  if (!isObject(alerts)) return [];
  const { chat, mail, heartbeat } = alerts;
  const url = (value: unknown, key: string) => isObject(value) ? value[key] : undefined;
  return [
    ...(Array.isArray(chat) ? chat : []).map((entry) => url(entry, "url")),
    url(mail, "smtp"),
    url(heartbeat, "url"),
  ];
}
