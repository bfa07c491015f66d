import { isIP } from "node:net";
import * as v from "valibot";
import { type AddressRules, checkEndpointUrl, isLoopback } from "../core/address.ts";
import { invalid, show } from "../core/errors.ts";
import { EVENT_NAME } from "../core/event_types.ts";
import { isObject } from "../core/json.ts";
import { isDeeperThan } from "../core/json_text.ts";
import { isMailAddress, MAIL_ADDRESS_RULE } from "../core/mail_address.ts";
import { isOperational } from "../core/matching.ts";
import { parseSealKey } from "../core/seal.ts";
import { Secret, secretMistake, textMistake, weaknessOf } from "../core/secret.ts";
import { formatDuration, parseDuration, parseSize } from "../core/units.ts";
import { DEFAULTS } from "./config.ts";
import { concurrency, retry, timeout } from "./endpoint.ts";
import {
  asText,
  bool,
  check,
  cidr,
  type Context,
  description,
  duration,
  leaf,
  list,
  number,
  oneOf,
  oneOrMore,
  privateCidr,
  secret,
  signingSecrets,
  table,
  textLike,
  withPreset,
} from "./fields.ts";
import { filePath, isReference, readText, resolveSecret, type Surroundings } from "./references.ts";
import { listenerTlsSchema } from "./tls.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

const MAX_SCHEMA_DEPTH = 64;
const MAX_KEYS = 10;

/** Shortest admin token, in characters. */
const MIN_TOKEN_LENGTH = { development: 16, production: 24 };

/** `environment`. */
export const environmentSchema = v.optional(
  oneOf("development", "production"),
  DEFAULTS.environment,
);

/** One entry of `secrets`. */
export function secretSchema(around: Surroundings) {
  return v.pipe(
    secret({ ...around, secrets: new Map() }, { literal: true, mistake: secretMistake }),
    v.metadata({ kind: "env:NAME, file:PATH, or the value itself (not in production)" }),
  );
}

/** `server`. */
export function serverSchema(around: Surroundings) {
  const { production } = around;
  return v.nullish(
    v.pipe(
      table({
        listen: v.optional(leaf("HOST:PORT", readListen), DEFAULTS.listen),
        tls: v.nullish(listenerTlsSchema(around), null),
        trusted_proxies: v.nullish(list(cidr), []),
        public_url: v.nullish(leaf("an http or https URL", readPublicUrl), null),
      }),
      v.forward(
        v.check(
          ({ listen, tls, trusted_proxies }) =>
            !production || isLoopback(listen.host) || tls !== null || trusted_proxies.length > 0,
          "In production the admin API must not be reachable from outside without TLS; set " +
            "server.tls, listen on 127.0.0.1, or put a TLS proxy in front and name it in " +
            "server.trusted_proxies",
        ),
        ["listen"],
      ),
      v.forward(
        v.check(
          ({ trusted_proxies }) =>
            !production || trusted_proxies.every((network) => network.prefix > 0),
          "In production not everybody may be a trusted proxy, because a proxy can claim any address; " +
            "name the proxy's own network",
        ),
        ["trusted_proxies"],
      ),
    ),
    {},
  );
}

function readPublicUrl(value: unknown): string {
  const url = typeof value === "string" && /^https?:\/\//i.test(value) ? URL.parse(value) : null;
  if (url === null || url.username + url.password + url.search + url.hash !== "") {
    throw invalid(
      "Must be an http or https URL without user, query and fragment, such as " +
        "https://hooks.example.com",
    );
  }
  return url.href.replace(/\/$/, "");
}

function readListen(value: unknown): { host: string; port: number } {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(String(value));
  const [, ipv6, name, digits] = found ?? [];
  const port = Number(digits);
  const valid = ipv6 === undefined
    ? name !== undefined && (isIP(name) === 4 || /[a-z]/i.test(name))
    : isIP(ipv6) === 6;
  if (!valid || port > 65535) {
    throw invalid(`Must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, not ${show(value)}`);
  }
  return { host: ipv6 ?? name ?? "", port };
}

/**
 * `encryption_key`: one key or a list of them, by reference only. The first one seals, all of them
 * open.
 */
export function encryptionKeySchema(around: Surroundings) {
  const one = leaf("a key: env:NAME or file:PATH", (value): Secret => {
    const read = asText(value);
    if (!isReference(read)) {
      throw invalid("Must be env:NAME or file:PATH; the key must not be in the file");
    }
    const resolved = resolveSecret(read, around);
    const hidden = textMistake(resolved);
    if (hidden !== undefined) throw invalid(hidden);
    parseSealKey(resolved);
    return new Secret(resolved);
  });
  const idOf = (key: Secret) => parseSealKey(key.reveal()).id;
  const several = v.pipe(
    list(one, MAX_KEYS),
    v.minLength(1, "Must have at least one key: the one that seals"),
    v.checkItems(
      (key, index, keys) => keys.findIndex((other) => idOf(other) === idOf(key)) === index,
      "Same key as an earlier one",
    ),
  );
  return v.pipe(v.optional(oneOrMore(one, several)), v.transform((keys) => keys ?? []));
}

/** `ip_ranges`. */
export const ipRangesSchema = v.nullish(
  table({
    development: v.nullish(list(cidr), [...DEFAULTS.ip_ranges.development]),
    production: v.nullish(list(cidr), [...DEFAULTS.ip_ranges.production]),
  }),
  {},
);

/** `ingest`. */
export function ingestSchema(context: Context) {
  return v.nullish(
    table({
      secret: v.optional(signingSecrets(context)),
      max_body: v.optional(leaf("a size, 1KiB to 64MiB", readMaxBody), DEFAULTS.max_body),
      max_age: v.optional(duration(SECOND_MS, 365 * DAY_MS)),
    }),
    {},
  );
}

function readMaxBody(value: unknown): number {
  const read = parseSize(value);
  if (read < 1024 || read > 64 * 1024 * 1024) {
    throw invalid(`Must be from 1KiB to 64MiB, not ${show(value)}`);
  }
  return read;
}

/** `admin`. */
export function adminSchema(context: Context) {
  return v.nullish(
    table({
      tokens: v.nullish(
        list(v.pipe(
          table({
            name: leaf("1 to 64 letters, digits, _, . or -", readTokenName),
            token: secret(context, { literal: true, mistake: tokenMistake }),
            role: leaf("`admin` or `viewer`", readRole),
            payloads: v.optional(bool, true),
          }),
          check((token, add) => {
            if (!isObject(token) || token["role"] !== "admin" || token["payloads"] !== false) {
              return;
            }
            add(
              "payloads",
              "Must be true for the role admin, which can make an endpoint that gets every payload; " +
                "hide them from a viewer",
            );
          }),
        )),
        [],
      ),
      public: v.nullish(list(oneOf("metrics", "openapi")), []),
    }),
    {},
  );
}

// The values next to a token are not shown: the token may have slipped into their place.
function readTokenName(value: unknown): string {
  const read = asText(value);
  if (/^[\w.-]{1,64}$/.test(read)) return read;
  throw invalid("Must have 1 to 64 letters, digits, _, . or -");
}

function readRole(value: unknown): "admin" | "viewer" {
  if (value === "admin" || value === "viewer") return value;
  throw invalid("Must be admin or viewer");
}

function tokenMistake(value: string, production: boolean): string | undefined {
  const hidden = textMistake(value);
  if (hidden !== undefined) return hidden;
  // Any characters that a header can carry without a space: more than RFC 6750, 2.1, allows.
  if (!/^[\x21-\x7e]*$/.test(value)) {
    return "Must have only ASCII letters, digits and punctuation, and no spaces";
  }
  const least = MIN_TOKEN_LENGTH[production ? "production" : "development"];
  if (value.length < least) {
    return `Must have at least ${least} characters; make one with \`bookme-webhooks secret\``;
  }
  return production ? weaknessOf(value) : undefined;
}

/** `delivery`: the defaults of every endpoint, and the limits of all together. */
export const deliverySchema = v.nullish(
  table({
    timeout: v.optional(timeout, DEFAULTS.timeout),
    retry: v.optional(retry, [...DEFAULTS.retry]),
    concurrency: v.optional(concurrency, DEFAULTS.concurrency),
    allow_networks: v.nullish(list(privateCidr), []),
    source_address: v.optional(leaf("an IP address", (value) => {
      const read = asText(value);
      if (isIP(read) === 0) {
        throw invalid(`Must be an IP address of this machine, not ${show(read)}`);
      }
      return read;
    })),
  }),
  {},
);

const kept = v.optional(withPreset(duration(SECOND_MS, 3650 * DAY_MS), DEFAULTS.retention));

/** The keys of `retention`: each may be kept as long as the next, at most. */
const KEPT = ["payloads", "attempts", "events", "keys"] as const;
type Kept = Readonly<Partial<Record<typeof KEPT[number], number | undefined>>>;

/** `retention`. A key left out is kept for the default, or as near to that as the keys given allow. */
export const retentionSchema = v.nullish(
  v.pipe(
    table({ payloads: kept, attempts: kept, events: kept, keys: kept }),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const input: Kept = { ...dataset.value };
      const given = KEPT.filter((key) => input[key] !== undefined);
      given.slice(1).forEach((next, n) => {
        const key = given[n] ?? next;
        const [value = 0, limit = 0] = [input[key], input[next]];
        if (value <= limit) return;
        const message = `Must not be longer than ${next} (${formatDuration(limit)}); shorten it, ` +
          `or lengthen ${next}`;
        addIssue({ message, path: [{ type: "object", origin: "value", input, key, value }] });
      });
    }),
    v.transform((given: Kept) => {
      const usual = parseDuration(DEFAULTS.retention) ?? 0;
      const of = (key: typeof KEPT[number]) => {
        if (given[key] !== undefined) return given[key];
        const at = KEPT.indexOf(key);
        const least = Math.max(...KEPT.slice(0, at).map((before) => given[before] ?? 0));
        const most = Math.min(...KEPT.slice(at + 1).map((after) => given[after] ?? Infinity));
        return Math.min(Math.max(usual, least), most);
      };
      return {
        payloads_ms: of("payloads"),
        attempts_ms: of("attempts"),
        events_ms: of("events"),
        keys_ms: of("keys"),
      };
    }),
  ),
  {},
);

/** `alerts`. `rules` say where their targets may be. */
export function alertsSchema(context: Context, rules: AddressRules) {
  const url = secret(context, { literal: true, mistake: (text) => urlMistake(text, rules) });
  return v.nullish(
    table({
      failure_rate: v.optional(number(0.001, 1, "share"), DEFAULTS.alerts.failure_rate),
      window: v.optional(duration(MINUTE_MS, DAY_MS), DEFAULTS.alerts.window),
      min_attempts: v.optional(number(1, 1_000_000, "integer"), DEFAULTS.alerts.min_attempts),
      to: v.nullish(list(textLike(/^[\w-]{1,64}$/, "the id of an endpoint"), 100), []),
      chat: v.nullish(list(table({ kind: oneOf("slack", "teams"), url }), 20), []),
      mail: v.nullish(
        table({
          smtp: secret(context, { literal: true, mistake: smtpMistake }),
          from: leaf("a mail address, with or without a name", readSender),
          to: v.pipe(
            list(leaf("a mail address", readAddress), 50),
            v.minLength(1, "Must name an address, such as ops@example.com"),
          ),
        }),
      ),
      heartbeat: v.nullish(
        table({
          url,
          every: v.optional(duration(SECOND_MS, DAY_MS), DEFAULTS.alerts.heartbeat_every),
        }),
      ),
      auto_pause: v.nullish(duration(12 * HOUR_MS, 30 * DAY_MS)),
    }),
    {},
  );
}

// Such a URL is all that it takes to write there, so a message shows nothing of it.
function urlMistake(text: string, rules: AddressRules): string | undefined {
  const verdict = checkEndpointUrl(text, rules);
  if (verdict.url !== undefined) return undefined;
  switch (verdict.rule) {
    case "scheme":
      return "Must be an https URL";
    case "address":
      return "Its host is at an address that is not allowed: loopback is in environment development only, " +
        "private ones where delivery.allow_networks lists them";
    default:
      return "Must be a URL such as https://hooks.example.com/services/…";
  }
}

function smtpMistake(text: string): string | undefined {
  const url = URL.parse(text);
  const plain = url !== null && /^smtps?:$/.test(url.protocol) && url.hostname !== "" &&
    /^\/?$/.test(url.pathname) && url.search + url.hash === "";
  if (plain && ![url.username, url.password].every(isDecodable)) {
    return "Has a % in its user or password that begins no escape such as %40; write %25 for it";
  }
  return plain
    ? undefined
    : "Must be a URL such as smtp://user:password@mail.example.com:587, or smtps:";
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function readAddress(value: unknown): string {
  const read = asText(value);
  if (!isMailAddress(read)) throw invalid(`${MAIL_ADDRESS_RULE}, not ${show(read)}`);
  return read;
}

function readSender(value: unknown): string {
  const read = asText(value);
  const [, address = read] = /^[^<>"\p{Cc}]{0,100}<([^<>]+)>$/u.exec(read) ?? [];
  readAddress(address);
  return read;
}

/** `portal`. */
export const portalSchema = v.nullish(
  table({ max_endpoints: v.optional(number(0, 1_000, "integer"), DEFAULTS.max_endpoints) }),
  {},
);

/** One entry of `events`. `builtIn` are the names of the documentation's event types. */
export function eventTypeSchema(around: Surroundings, builtIn: readonly string[]) {
  return table({
    name: leaf("a dotted name, at most 100 characters", (value) => {
      const read = asText(value);
      if (!EVENT_NAME.test(read) || read.length > 100) {
        throw invalid(`Must be a dotted name such as booking.moved, not ${show(read)}`);
      }
      if (isOperational(read)) {
        throw invalid(`${show(read)} is one of this program's own events; choose another name`);
      }
      if (builtIn.includes(read)) {
        throw invalid(`${show(read)} is built in; remove the entry or choose another name`);
      }
      return read;
    }),
    description,
    schema: v.optional(
      leaf("the path of a JSON file", (value) => readJsonSchema(asText(value), around)),
    ),
  });
}

function readJsonSchema(path: string, around: Surroundings): Record<string, unknown> {
  const source = readText(filePath(path, around), false).replace(/^\ufeff/, "");
  let schema: unknown;
  try {
    schema = JSON.parse(source);
  } catch {
    throw invalid(`File ${show(path)} is not JSON`);
  }
  if (!isObject(schema)) throw invalid(`File ${show(path)} is not a JSON Schema: not an object`);
  if (isDeeperThan(MAX_SCHEMA_DEPTH, source)) {
    throw invalid(`File ${show(path)} is nested too deeply`);
  }
  return schema;
}
