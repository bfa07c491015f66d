import { AppError } from "./errors.ts";
import { isObject } from "./json.ts";

// A backup is a tar archive of these three, in this order.

/** The directory with the files of the embedded database. */
export const CLUSTER_ENTRY = "postgres";
/** The file with the manifest. */
export const MANIFEST_ENTRY = "manifest.json";
/** The file with the SHA-256 of every byte before its header, in hexadecimal digits. */
export const DIGEST_ENTRY = "digest.sha256";

/** Version of the archive's form. */
export const FORMAT = 1;

/** Bounds of a table's rows: equal unless it changed while the backup was taken. */
export interface RowBounds {
  readonly at_least: number;
  readonly at_most: number;
}

/** What a backup says about itself. */
export interface Manifest {
  readonly format: number;
  /** Version of the program that took it. */
  readonly program: string;
  readonly schema_version: number;
  /** Version of PostgreSQL. */
  readonly postgres: string;
  /** Identity of the database: PostgreSQL's system identifier, which a copy shares. */
  readonly database: string;
  /** ISO 8601. */
  readonly began_at: string;
  /** The moment that a restore brings back, ISO 8601. */
  readonly taken_at: string;
  /** By table; a partitioned one stands for its partitions. */
  readonly tables: Readonly<Record<string, RowBounds>>;
}

/** Reads a manifest. Throws an `AppError` unless it has this form. */
export function parseManifest(text: string): Manifest {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    read = undefined;
  }
  if (!isObject(read) || typeof read["format"] !== "number") throw damaged();
  if (read["format"] > FORMAT) {
    throw new AppError(
      "conflict",
      `The backup has the format ${
        read["format"]
      }, and this program knows formats up to ${FORMAT}; ` +
        "restore it with the newer program that took it",
    );
  }
  const texts = ["program", "postgres", "database", "began_at", "taken_at"];
  const { tables } = read;
  if (
    texts.some((name) => typeof read[name] !== "string") || !isObject(tables) ||
    !Number.isInteger(read["schema_version"]) || !Object.values(tables).every(isBounds)
  ) throw damaged();
  return read as unknown as Manifest;
}

function damaged(): AppError {
  return new AppError("conflict", `The backup's ${MANIFEST_ENTRY} is damaged; use another backup`);
}

function isBounds(value: unknown): boolean {
  return isObject(value) && typeof value["at_least"] === "number" &&
    typeof value["at_most"] === "number";
}

/** How a table's rows differ from the manifest, in words; one entry for each that does. */
export function countMistakes(
  { tables }: Pick<Manifest, "tables">,
  found: Readonly<Record<string, number>>,
): string[] {
  const names = [...new Set([...Object.keys(tables), ...Object.keys(found)])].toSorted();
  return names.flatMap((name) => {
    const { at_least, at_most } = tables[name] ?? { at_least: 0, at_most: 0 };
    const rows = found[name];
    if (rows !== undefined && rows >= at_least && rows <= at_most) return [];
    const wanted = at_least === at_most ? `${at_least}` : `${at_least} to ${at_most}`;
    return [`${name} has ${rows ?? "no"} rows instead of ${wanted}`];
  });
}
