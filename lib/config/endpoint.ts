import * as v from "valibot";
import {
  headerMistakes,
  LIMITS,
  overlaps,
  patternMistake,
  repetitions,
  SIGNED_AND_UNSIGNED,
} from "../core/endpoint_rules.ts";
import { invalid, messageOf, show } from "../core/errors.ts";
import { IDENTIFIER_RULE, isIdentifier } from "../core/identifier.ts";
import { isObject } from "../core/json.ts";
import { TLS_WITHOUT_HTTPS } from "../core/tls_settings.ts";
import { parseRate } from "../core/units.ts";
import type { Config, EndpointConfig } from "./config.ts";
import {
  asText,
  bool,
  check,
  type Context,
  description,
  duration,
  leaf,
  list,
  number,
  pathItem,
  signingSecrets,
  table,
} from "./fields.ts";
import { isReference, resolveSecret, type Surroundings } from "./references.ts";
import { endpointTlsSchema } from "./tls.ts";

/** Surroundings of an endpoint. */
export interface EndpointContext extends Context {
  /** Names of the known event types. */
  readonly types: readonly string[];
  /** The mistake in an endpoint's URL, or undefined. */
  readonly urlMistake: (url: string) => string | undefined;
}

/** The time that an attempt may take. */
export const timeout = duration(LIMITS.timeout_ms.min, LIMITS.timeout_ms.max);

/** The wait before each attempt. */
export const retry = v.pipe(
  list(duration(LIMITS.retry_ms.min, LIMITS.retry_ms.max), LIMITS.retry_ms.entries),
  v.minLength(1, "Must have at least one entry: the wait before the first attempt, such as 0s"),
);

/** Attempts under way at once. */
export const concurrency = number(LIMITS.concurrency.min, LIMITS.concurrency.max, "integer");

/** One entry of `endpoints`. */
export function endpointSchema(context: EndpointContext) {
  return v.pipe(
    table({
      id: leaf("1 to 63 characters of a-z, 0-9, _ and -", readId),
      url: leaf("an https URL, http where it is allowed", (value) => {
        const read = asText(value);
        refuse(context.urlMistake(read));
        return read;
      }),
      secret: v.optional(signingSecrets(context)),
      unsigned: v.optional(bool, false),
      events: v.pipe(
        list(
          leaf("an event type, booking.*, or *", (value) => readPattern(value, context.types)),
          LIMITS.patterns,
        ),
        v.minLength(1, 'Selects nothing; write ["*"] for every event'),
        checkEntries(overlaps),
      ),
      businesses: v.optional(v.pipe(
        list(leaf("the id of a business", readBusiness), LIMITS.businesses),
        v.minLength(1, "Must name a business; remove the key for all businesses"),
        checkEntries(repetitions),
      )),
      headers: v.optional(headers(context), {}),
      timeout: v.optional(timeout),
      retry: v.optional(retry),
      concurrency: v.optional(concurrency),
      rate_limit: v.optional(leaf(`a rate, at most ${LIMITS.rate_per_s.max}/s`, readRate)),
      tls: v.optional(endpointTlsSchema(context)),
      traceparent: v.optional(bool, false),
      description: v.optional(description),
    }),
    check((endpoint, add) => {
      if (!isObject(endpoint)) return;
      if (endpoint.secret === undefined && endpoint.unsigned === false) {
        add(
          "secret",
          "Missing; name a secret, or set unsigned: true for deliveries that nobody can verify",
        );
      }
      if (endpoint.secret !== undefined && endpoint.unsigned === true) {
        add("unsigned", SIGNED_AND_UNSIGNED);
      }
      if (endpoint.tls !== undefined && String(endpoint.url).startsWith("http:")) {
        add("tls", TLS_WITHOUT_HTTPS);
      }
    }),
  );
}

/** An endpoint with the defaults of `delivery`. */
export function endpointConfig(
  endpoint: v.InferOutput<ReturnType<typeof endpointSchema>>,
  delivery: Config["delivery"],
): EndpointConfig {
  const { tls } = endpoint;
  return {
    id: endpoint.id,
    url: endpoint.url,
    secret: endpoint.secret ?? [],
    unsigned: endpoint.unsigned,
    events: endpoint.events,
    businesses: endpoint.businesses ?? null,
    headers: { ...endpoint.headers },
    timeout_ms: endpoint.timeout ?? delivery.timeout_ms,
    retry_ms: endpoint.retry ?? delivery.retry_ms,
    concurrency: endpoint.concurrency ?? null,
    rate_limit_per_s: endpoint.rate_limit ?? null,
    tls: tls === undefined ? null : {
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls.key === undefined ? {} : { key: tls.key }),
    },
    traceparent: endpoint.traceparent,
    ...(endpoint.description === undefined ? {} : { description: endpoint.description }),
  };
}

function readId(value: unknown): string {
  const read = asText(value);
  if (!/^[a-z0-9][a-z0-9_-]{0,62}$/.test(read)) {
    throw invalid(
      `Must have 1 to 63 lower-case letters, digits, _ or -, beginning with a letter or digit, ` +
        `not ${show(read)}`,
    );
  }
  if (read.startsWith("ep_")) {
    throw invalid("Must not begin with ep_, which is for ids made by the admin API");
  }
  return read;
}

function readPattern(value: unknown, types: readonly string[]): string {
  const read = asText(value);
  refuse(patternMistake(read, types));
  return read;
}

function readBusiness(value: unknown): string {
  const read = asText(value);
  if (!isIdentifier(read)) throw invalid(`Must have ${IDENTIFIER_RULE}`);
  return read;
}

function readRate(value: unknown): number {
  const read = parseRate(value);
  const { max } = LIMITS.rate_per_s;
  if (read === 0 || read > max) {
    throw invalid(`Must be above 0 and at most ${max}/s, not ${show(value)}`);
  }
  return read;
}

function refuse(mistake: string | undefined): void {
  if (mistake !== undefined) throw invalid(mistake);
}

function checkEntries(find: typeof overlaps) {
  return check<string[]>((values, add) => {
    if (!Array.isArray(values)) return;
    for (const { index, message } of find(values)) add(index, message);
  });
}

// A value may be a credential, so it may be a reference, as secrets are. If it cannot be resolved, the
// mistake is reported and the reference stays.
function headers(around: Surroundings) {
  return v.pipe(
    v.custom<Record<string, string>>(isObject, "Must be a mapping of names to values"),
    v.metadata({ kind: "a mapping of names to values, env:NAME or file:PATH" }),
    v.rawTransform(({ dataset: { value }, addIssue }) => {
      const add = (name: string, message: string) =>
        addIssue({ message, path: [pathItem(value, name)] });
      const resolve = (name: string, text: string) => {
        try {
          return typeof text === "string" && isReference(text) ? resolveSecret(text, around) : text;
        } catch (error) {
          add(name, messageOf(error));
          return text;
        }
      };
      const resolved = Object.fromEntries(
        Object.entries(value).map(([name, text]) => [name, resolve(name, text)]),
      );
      for (const { name, message } of headerMistakes(resolved)) add(name, message);
      return resolved;
    }),
  );
}
