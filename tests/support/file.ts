import assert from "node:assert/strict";
import type { Config } from "../../lib/config/config.ts";
import { type SharedFile, sharedOf } from "../../lib/config/shared.ts";
import { fileOf } from "../../lib/delivery/fleet.ts";
import { announce } from "../../lib/store/daemons.ts";
import type { Database } from "../../lib/store/database.ts";
import {
  type EndpointFields,
  type StoredFile,
  type Synced,
  syncFile,
} from "../../lib/store/endpoints.ts";

/** The settings of an unsigned endpoint that has no others. */
export const PLAIN_SETTINGS: EndpointFields["settings"] = {
  timeout_ms: null,
  retry_ms: null,
  concurrency: null,
  rate_limit_per_s: null,
  unsigned: true,
  traceparent: false,
  description: null,
  headers: [],
  tls: null,
};

/** A policy of one attempt. */
export const PLAIN_POLICY: StoredFile["policy"] = {
  timeout_ms: 1_000,
  retry_ms: [0],
  retention: {
    payloads_ms: 86_400_000,
    attempts_ms: 86_400_000,
    events_ms: 86_400_000,
    keys_ms: 86_400_000,
  },
  alerts: {
    failure_rate: 0.2,
    window_ms: 900_000,
    min_attempts: 20,
    to: [],
    chat: [],
    mail: false,
    auto_pause_ms: null,
  },
};

/** Puts a configuration in force as a reload of a daemon would, and returns its digests. */
export async function putInForce(db: Database, config: Config): Promise<SharedFile> {
  const shared = await sharedOf(config);
  await store(db, fileOf(config, shared));
  return shared;
}

/** The same for a file that has these endpoints, without credentials. */
export async function storeEndpoints(
  db: Database,
  endpoints: readonly EndpointFields[],
): Promise<Synced[]> {
  return await store(db, {
    digest: JSON.stringify(endpoints),
    policy: PLAIN_POLICY,
    endpoints: endpoints.map((endpoint) => ({ ...endpoint, credentials: null })),
  });
}

/** The same for `count` unsigned endpoints, e0 and so on, that select everything. */
export async function storePlainEndpoints(db: Database, count: number): Promise<void> {
  const fields = { url: "http://127.0.0.1:9/", events: ["*"], businesses: null };
  await storeEndpoints(
    db,
    Array.from({ length: count }, (_, n) => ({ id: `e${n}`, ...fields, settings: PLAIN_SETTINGS })),
  );
}

async function store(db: Database, file: StoredFile): Promise<Synced[]> {
  const daemon = {
    id: "dmn_0000000000",
    machine: "test",
    listeners: [],
    version: "0",
    file: file.digest,
    troubles: [],
  };
  await announce(db.admin, daemon, { sections: {}, endpoints: {} }, "reload", false);
  const synced = await syncFile(db.admin, file);
  assert.ok(synced !== "outdated");
  return synced;
}
