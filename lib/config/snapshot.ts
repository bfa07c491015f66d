import { type Cidr, hostPort } from "../core/address.ts";
import { isObject } from "../core/json.ts";
import { REDACTED, Secret } from "../core/secret.ts";
import { certificateInWords } from "../core/tls_settings.ts";
import type { Config } from "./config.ts";

/**
 * The configuration without secrets: the file's keys, networks as text, durations as `…_ms`, and
 * `[redacted]` for secrets and for all values of headers, which may be credentials.
 */
export function redactConfig(config: Config): Record<string, unknown> {
  const { listen, tls, trusted_proxies, public_url } = config.server;
  return {
    path: config.path,
    environment: config.environment,
    server: {
      listen: hostPort(listen.host, listen.port),
      tls: tls === null ? null : { cert: certificateInWords(tls.cert), key: redact(tls.key) },
      trusted_proxies: texts(trusted_proxies),
      public_url,
    },
    database: redactDatabase(config.database),
    encryption_key: config.encryption_keys.map(redact),
    ip_ranges: {
      development: texts(config.ip_ranges.development),
      production: texts(config.ip_ranges.production),
    },
    ingest: {
      secret: config.ingest.secrets.map(redact),
      max_body_bytes: config.ingest.max_body_bytes,
      max_age_ms: config.ingest.max_age_ms,
    },
    admin: {
      tokens: config.admin.tokens.map((token) => ({ ...token, token: redact(token.token) })),
      public: [...config.admin.public],
    },
    events: config.event_types.map((type) => ({ ...type })),
    delivery: {
      ...config.delivery,
      retry_ms: [...config.delivery.retry_ms],
      allow_networks: texts(config.delivery.allow_networks),
    },
    retention: { ...config.retention },
    alerts: redactAlerts(config.alerts),
    portal: { ...config.portal },
    endpoints: config.endpoints.map(redactEndpoint),
  };
}

function redactAlerts(alerts: Config["alerts"]): Record<string, unknown> {
  const { to, chat, mail, heartbeat, ...rest } = alerts;
  return {
    ...rest,
    to: [...to],
    chat: chat.map(({ url, ...target }) => ({ ...target, url: redact(url) })),
    mail: mail === null ? null : { ...mail, smtp: redact(mail.smtp), to: [...mail.to] },
    heartbeat: heartbeat === null ? null : { ...heartbeat, url: redact(heartbeat.url) },
  };
}

function redactDatabase(database: Config["database"]): Record<string, unknown> {
  if (database.kind === "embedded") {
    const { directory, min_free_bytes } = database;
    return { directory, min_free_bytes };
  }
  const { address, connect_timeout_ms } = database;
  const { password, tls, options, hosts, ...rest } = address;
  return {
    ...rest,
    hosts: hosts.map((host) => ({ ...host })),
    ...(password === undefined ? {} : { password: redact(password) }),
    tls: { ...tls, ...(tls.key === undefined ? {} : { key: redact(tls.key) }) },
    // Values may be anything, as those of headers.
    options: Object.fromEntries(Object.keys(options).map((name) => [name, REDACTED])),
    connect_timeout_ms,
  };
}

function redactEndpoint(endpoint: Config["endpoints"][number]): Record<string, unknown> {
  const { tls, secret } = endpoint;
  return {
    ...endpoint,
    // As in the file: one, or a list during a rotation.
    secret: secret.length > 1 ? secret.map(redact) : secret.map(redact)[0] ?? null,
    events: [...endpoint.events],
    retry_ms: [...endpoint.retry_ms],
    headers: Object.fromEntries(
      Object.keys(endpoint.headers).map((name) => [name, REDACTED]),
    ),
    tls: tls === null ? null : { ...tls, ...(tls.key ? { key: redact(tls.key) } : {}) },
  };
}

/**
 * The differences between two configurations, in words: `endpoint crm added`,
 * `endpoints.crm.url changed`. Never contains a value, as some are secrets, but the listener's certificate.
 */
export function diffConfig(before: Config, after: Config): string[] {
  const changes: string[] = [];
  compare(before, after, "", changes);
  return changes;
}

/** Lists with entries that a key identifies, and the noun for an entry. */
const KEYED: Readonly<Record<string, { readonly key: string; readonly noun: string }>> = {
  "endpoints": { key: "id", noun: "endpoint" },
  "event_types": { key: "name", noun: "event type" },
  "admin.tokens": { key: "name", noun: "admin token" },
};

function compare(before: unknown, after: unknown, path: string, changes: string[]): void {
  if (fingerprint(before) === fingerprint(after)) return;
  const keyed = KEYED[path];
  if (keyed !== undefined && Array.isArray(before) && Array.isArray(after)) {
    compareEntries(byKey(before, keyed.key), byKey(after, keyed.key), path, keyed.noun, changes);
  } else if (isRecord(before) && isRecord(after) && !isMap(path)) {
    const inner = path === "" ? "" : `${path}.`;
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      compare(before[key], after[key], inner + key, changes);
    }
  } else {
    changes.push(`${path} changed${path === "server.tls.cert" ? fromTo(before, after) : ""}`);
  }
}

function fromTo(before: unknown, after: unknown): string {
  const [from, to] = [before, after].map((text) => certificateInWords(String(text)));
  return from === to ? " in its authorities" : ` from ${from} to ${to}`;
}

function compareEntries(
  before: ReadonlyMap<string, unknown>,
  after: ReadonlyMap<string, unknown>,
  path: string,
  noun: string,
  changes: string[],
): void {
  for (const name of before.keys()) {
    if (!after.has(name)) changes.push(`${noun} ${name} removed`);
  }
  const count = changes.length;
  for (const [name, entry] of after) {
    if (before.has(name)) compare(before.get(name), entry, `${path}.${name}`, changes);
    else changes.push(`${noun} ${name} added`);
  }
  if (changes.length === count && before.size === after.size) changes.push(`${path} reordered`);
}

// Headers and schemas have arbitrary keys: they change as a whole.
function isMap(path: string): boolean {
  return /\.(headers|schema)$/.test(path);
}

function byKey(list: readonly unknown[], key: string): ReadonlyMap<string, unknown> {
  return new Map(list.map((entry) => [String(isRecord(entry) ? entry[key] : ""), entry]));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return isObject(value) && !(value instanceof Secret);
}

// Must not leave this file: it contains secrets.
function fingerprint(value: unknown): string {
  return JSON.stringify(reveal(value)) ?? "";
}

function reveal(value: unknown): unknown {
  if (value instanceof Secret) return { revealed: value.reveal() };
  if (Array.isArray(value)) return value.map(reveal);
  if (!isRecord(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, reveal(inner)]));
}

function redact(_: Secret): string {
  return REDACTED;
}

function texts(networks: readonly Cidr[]): string[] {
  return networks.map((network) => network.text);
}
