/**
 * Token and key that a daemon on an embedded database makes at its first start. They are files next to
 * the database, not rows in it: a copy of the database must not contain its key.
 */

import { randomBytes } from "node:crypto";
import { Secret } from "../core/secret.ts";
import { parseSealKey, type SealKey } from "../core/seal.ts";
import type { AdminToken, Config } from "./config.ts";

/** File of the admin token in the database's directory. */
export const TOKEN_FILE = "admin.token";
/** File of the encryption key in the database's directory. */
export const KEY_FILE = "encryption.key";

/**
 * Tokens of the admin API: the configured ones, or, embedded without any, one that is made here.
 * `made_at` is its path if this call made it.
 */
export function adminTokens(
  { admin, database }: Pick<Config, "admin" | "database">,
): { readonly tokens: readonly AdminToken[]; readonly made_at?: string } {
  if (admin.tokens.length > 0 || database.kind === "server") return { tokens: admin.tokens };
  const make = () => randomBytes(24).toString("base64url");
  const { text, ...made } = readOrMake(`${database.directory}/${TOKEN_FILE}`, make);
  return {
    tokens: [{ name: "admin", token: new Secret(text), role: "admin", payloads: true }],
    ...made,
  };
}

/**
 * Keys for the secrets of endpoints made through the API: the configured ones, or, embedded without
 * any, one that is made here. Without configured ones a daemon on a server has none.
 */
export function sealKeys(
  { database, encryption_keys }: Pick<Config, "database" | "encryption_keys">,
): { readonly keys: readonly SealKey[]; readonly made_at?: string } {
  if (encryption_keys.length > 0 || database.kind === "server") {
    return { keys: encryption_keys.map((key) => parseSealKey(key.reveal())) };
  }
  const make = () => randomBytes(32).toString("base64");
  const { text, ...made } = readOrMake(`${database.directory}/${KEY_FILE}`, make);
  return { keys: [parseSealKey(text)], ...made };
}

function readOrMake(path: string, make: () => string): { text: string; made_at?: string } {
  try {
    return { text: Deno.readTextFileSync(path).trim() };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const text = make();
  try {
    Deno.writeTextFileSync(path, text + "\n", { mode: 0o600, createNew: true });
  } catch (error) {
    // On a full disk it is there, and empty: the next start would take it for what was made.
    if (!(error instanceof Deno.errors.AlreadyExists)) removeIfThere(path);
    throw error;
  }
  return { text, made_at: path };
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
