import { randomBytes } from "node:crypto";
import { checkEndpointUrl, publicOnly } from "../core/address.ts";
import {
  headerMistakes,
  LIMITS,
  overlaps,
  patternMistake,
  repetitions,
  SIGNED_AND_UNSIGNED,
} from "../core/endpoint_rules.ts";
import { invalidAt, jsonPointer, type Mistake, refuseMistakes } from "../core/errors.ts";
import { isOperational } from "../core/matching.ts";
import { firstExpiry } from "../core/rotation.ts";
import type { Scope } from "../core/scope.ts";
import { NONCE_BYTES, seal, type SealedContent, type SealKey } from "../core/seal.ts";
import { REDACTED, secretMistake } from "../core/secret.ts";
import { parseRate } from "../core/units.ts";
import {
  type EndpointFields,
  openSealed,
  type Sealed,
  type StoredEndpoint,
} from "../store/endpoints.ts";
import type { AdminContext } from "./context.ts";
import type { EndpointInput, EndpointPatch } from "./inputs.ts";
import { sealingKey } from "./lookup.ts";

/** The fields of an endpoint as they are to be stored, and its sealed content if that changes. */
export interface Written {
  readonly fields: EndpointFields;
  readonly sealed?: Sealed;
}

type Given = { readonly [Member in keyof EndpointInput]?: EndpointInput[Member] | undefined };

/** The fields of a new endpoint. `secret` null leaves it unsigned. */
export function newEndpoint(
  ctx: AdminContext,
  scope: Scope,
  id: string,
  input: EndpointInput,
  secret: string | null,
): Required<Written> {
  const key = sealingKey(ctx, SEALS);
  const secrets = secret === null ? [] : [{ secret, activates_at: 0, expires_at: null }];
  const headers = knownHeaders(input.headers ?? {}, {});
  return sealWith(key, merge(blank(id, scope), input), { secrets, headers });
}

/** The fields of an endpoint after a change. */
export function patchedEndpoint(
  ctx: AdminContext,
  row: StoredEndpoint,
  patch: EndpointPatch,
): Written {
  // Whoever changes it.
  if (row.owner !== null) refuseMistakes(endpointMistakes(ctx, { business: row.owner }, patch));
  const fields = merge(row, patch);
  if (patch.unsigned === false && row.settings.unsigned) {
    throw invalidAt("/unsigned", "The endpoint has no secret; rotate makes one and signs with it");
  }
  // Left as it is, even if no key opens it.
  if (patch.headers === undefined && fields.settings.unsigned === row.settings.unsigned) {
    return { fields };
  }
  const content = openSealed(row, ctx.seal_keys);
  return sealWith(sealingKey(ctx, SEALS), fields, {
    secrets: fields.settings.unsigned ? [] : content.secrets,
    headers: knownHeaders(patch.headers ?? content.headers, content.headers),
  });
}

/** The fields of an endpoint that signs with what `rotated` makes of its secrets. */
export function rotatedEndpoint(
  ctx: AdminContext,
  row: StoredEndpoint,
  rotated: (secrets: SealedContent["secrets"]) => SealedContent["secrets"],
): Written {
  const content = openSealed(row, ctx.seal_keys);
  return sealWith(
    sealingKey(ctx, SEALS),
    { ...row, settings: { ...row.settings, unsigned: false } },
    { ...content, secrets: rotated(content.secrets) },
  );
}

const SEALS = "Endpoints made through the API need a key that seals their secrets";

function sealWith(
  key: SealKey,
  fields: EndpointFields,
  content: SealedContent,
): Required<Written> {
  return {
    fields: { ...fields, settings: { ...fields.settings, headers: Object.keys(content.headers) } },
    sealed: {
      bytes: seal(content, fields.id, key, randomBytes(NONCE_BYTES)),
      secret_expires_at: firstExpiry(content.secrets),
    },
  };
}

function blank(id: string, scope: Scope): EndpointFields {
  return {
    id,
    url: "",
    events: [],
    businesses: scope === "everything" ? null : [scope.business],
    settings: {
      timeout_ms: null,
      retry_ms: null,
      concurrency: null,
      rate_limit_per_s: null,
      unsigned: false,
      description: null,
      headers: [],
    },
  };
}

function merge(fields: EndpointFields, input: Given): EndpointFields {
  const { rate_limit } = input;
  const { settings } = fields;
  const given = <T>(value: T | undefined, before: T): T => value === undefined ? before : value;
  return {
    id: fields.id,
    url: given(input.url, fields.url),
    events: given(input.events, fields.events),
    businesses: given(input.businesses, fields.businesses),
    settings: {
      timeout_ms: given(input.timeout_ms, settings.timeout_ms),
      retry_ms: given(input.retry_ms, settings.retry_ms),
      concurrency: given(input.concurrency, settings.concurrency),
      rate_limit_per_s: rate_limit == null
        ? given(rate_limit, settings.rate_limit_per_s)
        : parseRate(rate_limit),
      unsigned: given(input.unsigned, settings.unsigned),
      description: given(input.description, settings.description),
      headers: settings.headers,
    },
  };
}

// A client that sends back what it was shown keeps the value.
function knownHeaders(
  headers: SealedContent["headers"],
  known: SealedContent["headers"],
): SealedContent["headers"] {
  const valueOf = (name: string, value: string) => {
    if (value !== REDACTED) return value;
    const kept = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kept !== undefined) return kept;
    throw invalidAt(
      jsonPointer(["headers", name]),
      `${REDACTED} stands for a value; send the value itself`,
    );
  };
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, valueOf(name, value)]),
  );
}

// --- rules that need more than the schemas know --------------------------------------------------------

/** Mistakes in the fields of an endpoint within a scope that their schemas cannot know. */
export function endpointMistakes(ctx: AdminContext, scope: Scope, input: Given): Mistake[] {
  const in_force = ctx.in_force();
  const rules = scope === "everything" ? in_force.rules : publicOnly(in_force.rules);
  const names = in_force.event_types.names
    .filter((name) => scope === "everything" || !isOperational(name));
  const mistakes: Mistake[] = [];
  const add = (pointer: string, message: string) => void mistakes.push({ pointer, message });
  if (input.url !== undefined) {
    const { mistake } = checkEndpointUrl(input.url, rules);
    if (mistake !== undefined) add("/url", mistake);
  }
  for (const [index, pattern] of (input.events ?? []).entries()) {
    const mistake = patternMistake(pattern, names);
    if (mistake !== undefined) add(`/events/${index}`, mistake);
  }
  for (const { index, message } of overlaps(input.events ?? [])) add(`/events/${index}`, message);
  for (const { index, message } of repetitions(input.businesses ?? [])) {
    add(`/businesses/${index}`, message);
  }
  if (input.businesses !== undefined && scope !== "everything") {
    if (!ownsAlone(scope.business, input.businesses)) {
      add("/businesses", `Must be ${scope.business} alone`);
    }
  }
  for (const { name, message } of headerMistakes(input.headers ?? {})) {
    add(jsonPointer(["headers", name]), message);
  }
  const { max } = LIMITS.rate_per_s;
  if (input.rate_limit != null && parseRate(input.rate_limit) > max) {
    add("/rate_limit", `Must be at most ${max}/s`);
  }
  mistakes.push(...secretMistakes(ctx, input));
  if (input.secret !== undefined && input.unsigned === true) {
    add("/unsigned", SIGNED_AND_UNSIGNED);
  }
  return mistakes;
}

function ownsAlone(owner: string, businesses: readonly string[] | null): boolean {
  return businesses?.length === 1 && businesses[0] === owner;
}

/** Mistakes in a secret that is to sign. */
export function secretMistakes(
  ctx: AdminContext,
  { secret }: { readonly secret?: string | undefined },
): Mistake[] {
  if (secret === undefined) return [];
  const message = secretMistake(secret, ctx.in_force().config.environment === "production");
  return message === undefined ? [] : [{ pointer: "/secret", message }];
}
