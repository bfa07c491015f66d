import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { firstExpiry, liveAt } from "../core/rotation.ts";
import {
  isSealedUnder,
  NONCE_BYTES,
  seal,
  type SealedContent,
  type SealKey,
  unseal,
} from "../core/seal.ts";
import type { Database } from "../store/database.ts";
import {
  listExpiredSecrets,
  listSealed,
  reseal,
  type Resealed,
  type SealedRow,
} from "../store/endpoints.ts";
import { BATCH, inBatches } from "./batches.ts";
import type { Job } from "./schedule.ts";

/** The result of `rekey`. */
export interface Rekeyed {
  /** Endpoints that are sealed under the first key now and were not before. */
  readonly resealed: number;
  /** Ids of endpoints that no key opens. */
  readonly unreadable: readonly string[];
}

const REKEYED_AT_ONCE = 100;

/**
 * Seals every endpoint that is sealed under another of the keys under the first one. Daemons that have
 * both keys may run meanwhile. A second call does nothing.
 */
export async function rekey(db: Database, keys: readonly SealKey[]): Promise<Rekeyed> {
  const [key] = keys;
  if (key === undefined) {
    throw new AppError("conflict", "No encryption key; set encryption_key in the configuration");
  }
  const unreadable: string[] = [];
  let resealed = 0;
  for (let after = 0;;) {
    const rows = await listSealed(db.admin, after, REKEYED_AT_ONCE);
    const old = rows.filter((row) => !isSealedUnder(bytesOf(row), key));
    const next = resealAll(old, keys, key, (content) => content, unreadable);
    if (next.length > 0) {
      resealed += await reseal(db.admin, next, {
        actor: { name: "rekey", address: null },
        action: "endpoints.rekeyed",
        object: "endpoints",
        after: { key: key.id, endpoints: next.map((row) => row.id) },
      });
    }
    after = rows.at(-1)?.no ?? after;
    if (rows.length < REKEYED_AT_ONCE) return { resealed, unreadable };
  }
}

/** How many endpoints of a database have sealed secrets, and the ids of those that none of the keys opens. */
export async function lookAtSealed(
  sql: Database["admin"],
  keys: readonly SealKey[],
): Promise<{ readonly sealed: number; readonly unreadable: readonly string[] }> {
  const unreadable: string[] = [];
  let sealed = 0;
  for (let after = 0;;) {
    const rows = await listSealed(sql, after, REKEYED_AT_ONCE);
    for (const row of rows) {
      try {
        unseal(bytesOf(row), row.id, keys);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        unreadable.push(row.id);
      }
    }
    sealed += rows.length;
    after = rows.at(-1)?.no ?? after;
    if (rows.length < REKEYED_AT_ONCE) return { sealed, unreadable };
  }
}

/** Drops secrets whose overlap has ended. `keys` open what is sealed. */
export function expiredSecrets(keys: readonly SealKey[]): Job {
  return {
    name: "secrets",
    pattern: "15 * * * * *",
    done: "Expired secrets dropped",
    run: ({ db, clock }, stopping) =>
      inBatches(stopping, () => dropExpiredSecrets(db, keys, clock.now(), BATCH)),
  };
}

/** Drops up to `limit` expired secrets, `now` being the database's time. Returns how many endpoints. */
export async function dropExpiredSecrets(
  db: Database,
  keys: readonly SealKey[],
  now: number,
  limit: number,
): Promise<number> {
  const [key] = keys;
  if (key === undefined) return 0;
  const rows = await listExpiredSecrets(db.admin, limit);
  const next = resealAll(rows, keys, key, (content) => ({
    ...content,
    secrets: liveAt(content.secrets, now),
  }), []);
  if (next.length === 0) return 0;
  return await reseal(db.admin, next, {
    actor: { name: "the sweep", address: null },
    action: "endpoints.secrets_expired",
    object: "endpoints",
    after: { endpoints: next.map((row) => row.id) },
  });
}

function resealAll(
  rows: readonly SealedRow[],
  keys: readonly SealKey[],
  key: SealKey,
  change: (content: SealedContent) => SealedContent,
  unreadable: string[],
): Resealed[] {
  return rows.flatMap((row) => {
    try {
      const content = change(unseal(bytesOf(row), row.id, keys));
      const next = seal(content, row.id, key, randomBytes(NONCE_BYTES));
      return [{ ...row, next, secret_expires_at: firstExpiry(content.secrets) }];
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      unreadable.push(row.id);
      return [];
    }
  });
}

function bytesOf(row: SealedRow): Uint8Array {
  return Buffer.from(row.sealed, "hex");
}
