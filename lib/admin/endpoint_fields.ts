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
import { firstExpiry } from "../core/rotation.ts";
import type { Scope } from "../core/scope.ts";
import { NONCE_BYTES, seal, type SealedContent, type SealKey } from "../core/seal.ts";
import { REDACTED, secretMistake } from "../core/secret.ts";
import {
  pairMistakes,
  plainPem,
  showTls,
  textMistakes,
  TLS_WITHOUT_HTTPS,
  type TlsMistake,
  type TlsTexts,
  validityMistakes,
} from "../core/tls_settings.ts";
import { parseRate } from "../core/units.ts";
import {
  type EndpointFields,
  openSealed,
  type Sealed,
  type StoredEndpoint,
} from "../store/endpoints.ts";
import type { AdminContext } from "./context.ts";
import { eventTypesFor } from "./event_types.ts";
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
  const fields = merge(blank(id, scope), input);
  return sealWith(key, fields, { secrets, headers, tls: mergeTls({}, input.tls) });
}

/** The fields of an endpoint after a change. */
export function patchedEndpoint(
  ctx: AdminContext,
  row: StoredEndpoint,
  patch: EndpointPatch,
): Written {
  // The same rule for whichever actor changes it.
  if (row.owner !== null) refuseMistakes(endpointMistakes(ctx, { business: row.owner }, patch));
  const fields = merge(row, patch);
  if (patch.unsigned === false && row.settings.unsigned) {
    throw invalidAt("/unsigned", "The endpoint has no secret; rotate makes one and signs with it");
  }
  // Left as it is, even if no key opens it.
  const is_signed_as_before = fields.settings.unsigned === row.settings.unsigned;
  if (patch.headers === undefined && patch.tls === undefined && is_signed_as_before) {
    refuseTlsWithoutHttps(fields);
    return { fields };
  }
  const content = openSealed(row, ctx.seal_keys);
  return sealWith(sealingKey(ctx, SEALS), fields, {
    secrets: fields.settings.unsigned ? [] : content.secrets,
    headers: knownHeaders(patch.headers ?? content.headers, content.headers),
    tls: mergeTls(content.tls, patch.tls),
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
  const { headers, tls } = content;
  const settings = { ...fields.settings, headers: Object.keys(headers), tls: showTls(tls) };
  refuseTlsWithoutHttps({ ...fields, settings });
  return {
    fields: { ...fields, settings },
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
      traceparent: false,
      tls: null,
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
      traceparent: given(input.traceparent, settings.traceparent),
      tls: settings.tls,
    },
  };
}

/** TLS settings after a change. Throws an `AppError` if they do not belong together. */
function mergeTls(before: TlsTexts, change: Given["tls"]): TlsTexts {
  if (change === null) return {};
  const member = (name: keyof TlsTexts) => {
    const text = change?.[name];
    return text == null ? text === null ? undefined : before[name] : plainPem(text, name);
  };
  const tls = { ca: member("ca"), cert: member("cert"), key: member("key") };
  refuseMistakes(pairMistakes(tls).map(toMistake));
  return tls;
}

function toMistake({ member, message }: TlsMistake): Mistake {
  return { pointer: member === null ? "/tls" : `/tls/${member}`, message };
}

function refuseTlsWithoutHttps({ url, settings: { tls } }: EndpointFields): void {
  if (tls !== null && url.startsWith("http:")) throw invalidAt("/tls", TLS_WITHOUT_HTTPS);
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
  const { names } = eventTypesFor(ctx, { scope });
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
  mistakes.push(...tlsMistakes(ctx, input), ...secretMistakes(ctx, input));
  if (input.secret !== undefined && input.unsigned === true) {
    add("/unsigned", SIGNED_AND_UNSIGNED);
  }
  return mistakes;
}

/** Mistakes in each text by itself: together with those that stay, they are checked when written. */
function tlsMistakes(ctx: AdminContext, { tls }: Given): Mistake[] {
  const given: TlsTexts = {
    ca: tls?.ca ?? undefined,
    cert: tls?.cert ?? undefined,
    key: tls?.key ?? undefined,
  };
  const found = textMistakes(given);
  return (found.length > 0 ? found : validityMistakes(given, ctx.now())).map(toMistake);
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
