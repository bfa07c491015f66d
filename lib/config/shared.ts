import { createHash, createHmac, scrypt } from "node:crypto";
import { isObject } from "../core/json.ts";
import { Secret } from "../core/secret.ts";
import type { Config, EndpointConfig } from "./config.ts";

/** Digests of what differs, by the name that `differences` gives it. */
type Parts = Readonly<Record<string, string>>;

/**
 * The settings that all daemons on a database must share, as digests: they reveal no value, and checking a
 * guess at a secret takes milliseconds. Settings that may differ from machine to machine are left out:
 * `server`, `database`, `admin`, and of `delivery` the source address and the concurrency.
 */
export interface SharedFile {
  /** Equal for files that mean the same: neither comments nor the order of a set count. */
  readonly digest: string;
  /** By section of the file. */
  readonly sections: Parts;
  /** By endpoint, and there by field. */
  readonly endpoints: Readonly<Record<string, Parts>>;
}

/** The digests of a configuration. Takes some milliseconds of another thread for each different secret. */
export async function sharedOf(config: Config): Promise<SharedFile> {
  const hider = makeHider();
  const sections = await digestAll(sectionsOf(config), "", hider);
  const endpoints = Object.fromEntries(
    await Promise.all(
      config.endpoints.toSorted(by(({ id }) => id)).map(async (endpoint) => [
        endpoint.id,
        await digestAll(fieldsOf(endpoint, config.delivery), endpoint.id, hider),
      ]),
    ),
  );
  return { digest: short(canonical({ sections, endpoints })), sections, endpoints };
}

/** The digest of what an endpoint of the file needs besides what the database stores of it. */
export function credentialsOf({ endpoints }: SharedFile, id: string): string | undefined {
  const fields = endpoints[id];
  if (fields === undefined) return undefined;
  return short(canonical(CREDENTIALS.map((field) => fields[field])));
}

/** The endpoints that both files have with other secrets, header values or TLS, and which of these differ. */
export function changedCredentials(
  { endpoints }: Pick<SharedFile, "endpoints">,
  in_force: Pick<SharedFile, "endpoints">,
): Map<string, string[]> {
  const changes = new Map<string, string[]>();
  for (const [id, here] of Object.entries(endpoints)) {
    const there = in_force.endpoints[id];
    const fields = there === undefined
      ? []
      : CREDENTIALS.filter((field) => here[field] !== there[field]);
    if (fields.length > 0) changes.set(id, fields);
  }
  return changes;
}

const CREDENTIALS = ["secret", "headers", "tls"];

/** How a file differs from the one in force, in words and without values. */
export function differences(
  { sections, endpoints }: Pick<SharedFile, "sections" | "endpoints">,
  in_force: Pick<SharedFile, "sections" | "endpoints">,
): string[] {
  const found: string[] = [];
  for (const id of names(endpoints, in_force.endpoints)) {
    const [here, there] = [endpoints[id], in_force.endpoints[id]];
    if (here === undefined) found.push(`endpoint ${id} is missing`);
    else if (there === undefined) found.push(`endpoint ${id} is not in force`);
    else {
      const fields = differing(here, there);
      if (fields.length > 0) found.push(`endpoint ${id} differs in ${fields.join(", ")}`);
    }
  }
  return [...found, ...differing(sections, in_force.sections).map((name) => `${name} differs`)];
}

/** How a file among `files` differs from the one in force; nothing if one of the two is unknown. */
export function differencesAmong(
  files: readonly SharedFile[],
  digest: string,
  in_force: string | null,
): string[] {
  const find = (wanted: string | null) => files.find((file) => file.digest === wanted);
  const [own, reference] = [find(digest), find(in_force)];
  return own === undefined || reference === undefined ? [] : differences(own, reference);
}

function differing(here: Parts, there: Parts): string[] {
  return names(here, there).filter((name) => here[name] !== there[name]);
}

function names(one: object, other: object): string[] {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].sort();
}

function sectionsOf(config: Config): Record<string, unknown> {
  const { environment, ip_ranges, ingest, encryption_keys, event_types, delivery } = config;
  const { timeout_ms, retry_ms, allow_networks } = delivery;
  const networks = (list: typeof allow_networks) => list.map(({ text }) => text).sort();
  return {
    environment,
    ip_ranges: {
      development: networks(ip_ranges.development),
      production: networks(ip_ranges.production),
    },
    // Any of them may sign: their order means nothing.
    ingest: { ...ingest, secrets: ingest.secrets.toSorted(by((secret) => secret.reveal())) },
    encryption_key: encryption_keys,
    events: event_types.toSorted(by(({ name }) => name)),
    delivery: { timeout_ms, retry_ms, allow_networks: networks(allow_networks) },
    retention: config.retention,
    alerts: { ...config.alerts, to: config.alerts.to.toSorted() },
    portal: config.portal,
  };
}

function fieldsOf(endpoint: EndpointConfig, defaults: Config["delivery"]): Record<string, unknown> {
  const { url, events, businesses, secret, unsigned, headers, tls, traceparent, description } =
    endpoint;
  const { timeout_ms, retry_ms, concurrency, rate_limit_per_s } = endpoint;
  const own = <T>(value: T, preset: T) => canonical(value) === canonical(preset) ? null : value;
  return {
    url,
    events: events.toSorted(),
    businesses: businesses?.toSorted() ?? null,
    // Without the defaults: a change of those is one difference, not one for each endpoint.
    policy: {
      timeout_ms: own(timeout_ms, defaults.timeout_ms),
      retry_ms: own(retry_ms, defaults.retry_ms),
      concurrency,
      rate_limit_per_s,
    },
    secret: { secret, unsigned },
    // Any value may be a credential.
    headers: Object.entries(headers).map(([name, value]) => [name, new Secret(value)])
      .toSorted(by(([name]) => String(name))),
    tls,
    traceparent,
    description: description ?? null,
  };
}

function by<T>(key: (value: T) => string): (a: T, b: T) => number {
  return (a, b) => key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
}

async function digestAll(
  parts: Record<string, unknown>,
  owner: string,
  hider: Hider,
): Promise<Parts> {
  const digests = Object.entries(parts).map(async ([name, value]) => [
    name,
    short(canonical(await hide(value, `${owner} ${name}`, hider))),
  ]);
  return Object.fromEntries(await Promise.all(digests));
}

/** A digest of a secret that is slow to make and, by `label`, used only in one place. */
type Hider = (secret: string, label: string) => Promise<string>;

/** Digests secrets. One that is used in many places, by every endpoint for instance, is stretched once. */
function makeHider(): Hider {
  const stretched = new Map<string, Promise<Uint8Array>>();
  return async (secret, label) => {
    let key = stretched.get(secret);
    if (key === undefined) stretched.set(secret, key = stretch(secret));
    return createHmac("sha256", await key).update(label).digest("hex");
  };
}

/** A copy with each secret replaced by its digest. */
async function hide(value: unknown, label: string, hider: Hider): Promise<unknown> {
  if (value instanceof Secret) return { hidden: await hider(value.reveal(), label) };
  if (Array.isArray(value)) {
    return await Promise.all(value.map((item) => hide(item, label, hider)));
  }
  if (!isObject(value)) return value;
  return Object.fromEntries(
    await Promise.all(
      Object.entries(value).map(async ([key, inner]) =>
        [key, await hide(inner, label, hider)] as const
      ),
    ),
  );
}

// A mebibyte and four milliseconds for each guess. Attempts in the database are signed with the same
// secrets by a plain HMAC, which is easier to check, so more would protect nothing but header values.
const STRETCH = { N: 1_024, r: 8, p: 1 };

function stretch(secret: string): Promise<Uint8Array> {
  return new Promise((resolve, reject) =>
    scrypt(
      secret,
      "bookme-webhooks",
      32,
      STRETCH,
      (error, key) => error ? reject(error) : resolve(key),
    )
  );
}

/** The JSON of a value, with sorted keys. */
function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_, inner) =>
      isObject(inner)
        ? Object.fromEntries(Object.keys(inner).sort().map((key) => [key, inner[key]]))
        : inner,
  );
}

/** 64 bits: enough to tell files apart. */
function short(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
