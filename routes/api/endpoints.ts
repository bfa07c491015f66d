import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type * as v from "valibot";
import { checkEndpointUrl } from "../../lib/core/address.ts";
import {
  headerMistakes,
  LIMITS,
  overlaps,
  patternMistake,
  repetitions,
  SIGNED_AND_UNSIGNED,
} from "../../lib/core/endpoint_rules.ts";
import { AppError, jsonPointer, type Mistake } from "../../lib/core/errors.ts";
import { deliveryUuid, endpointId, eventId } from "../../lib/core/ids.ts";
import { parseIngest } from "../../lib/core/payload.ts";
import { firstExpiry, rotate } from "../../lib/core/rotation.ts";
import { NONCE_BYTES, seal, type SealedContent, type SealKey } from "../../lib/core/seal.ts";
import { makeSecret, REDACTED, secretMistake } from "../../lib/core/secret.ts";
import { parseRate } from "../../lib/core/units.ts";
import { writeAudit } from "../../lib/store/audit.ts";
import { cancelRetired } from "../../lib/store/deliveries.ts";
import {
  createEndpoint,
  type EndpointFields,
  openSealed,
  pauseEndpoint,
  resumeEndpoint,
  retireEndpoint,
  type Sealed,
  type StoredEndpoint,
  updateEndpoint,
} from "../../lib/store/endpoints.ts";
import { type AttemptRow, attemptsOf, getDelivery } from "../../lib/store/reports/deliveries.ts";
import { getEndpoint, listEndpoints } from "../../lib/store/reports/endpoints.ts";
import type { RouteContext } from "../context.ts";
import { viewAttempt, viewDelivery, viewEndpoint } from "../views.ts";
import * as example from "./examples.ts";
import { type Asked, operation } from "./operation.ts";
import * as s from "./schemas.ts";
import { is, optional, strictObject } from "valibot";

const tag = "Endpoints";
const path = "/api/endpoints/{id}";

const ListQuery = strictObject({
  source: optional(s.oneOf(["file", "api"])),
  retired: optional(s.flag, "false"),
  cursor: optional(s.text(255)),
  limit: s.limit,
});

export const endpointOperations = [
  operation({
    id: "listEndpoints",
    method: "get",
    path: "/api/endpoints",
    tag,
    summary: "Lists the endpoints in force, or the retired ones",
    query: ListQuery,
    status: 200,
    response: s.page(s.Endpoint),
    refuses: [],
    example: { response: { data: [example.endpoint], next_cursor: null } },
    async handle(ctx, { query }) {
      const { cursor, limit, retired, source } = query;
      // Endpoints are never removed, so a cursor of ours is there.
      if (
        cursor !== undefined && await getEndpoint(ctx.db.admin, "everything", cursor) === undefined
      ) {
        throw s.invalidAt("/cursor", s.CURSOR_RULE);
      }
      const filter = { source, retired, before: cursor, limit };
      const { rows, next } = await listEndpoints(ctx.db.admin, "everything", filter);
      return { data: rows.map((row) => viewEndpoint(row, ctx)), next_cursor: next };
    },
  }),
  operation({
    id: "createEndpoint",
    method: "post",
    path: "/api/endpoints",
    tag,
    summary: "Makes an endpoint",
    description: "Its secret is in the answer and is never shown again.",
    body: s.EndpointInput,
    rules: mistakesOf,
    status: 201,
    response: s.EndpointMade,
    refuses: ["conflict"],
    example: {
      body: { url: example.endpoint.url, events: ["booking.*"], rate_limit: "50/s" },
      response: {
        ...example.endpoint,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
      },
    },
    async handle(ctx, { body, actor }) {
      const key = sealingKey(ctx);
      const id = endpointId(randomBytes(20));
      const secret = body.unsigned === true ? null : body.secret ?? makeSecret(randomBytes(32));
      const secrets = secret === null ? [] : [{ secret, activates_at: 0, expires_at: null }];
      const headers = knownHeaders(body.headers ?? {}, {});
      const { fields, sealed } = sealedWith(merge({ ...NEW, id }, body), { secrets, headers }, key);
      const change = { actor, action: "endpoint.created", object: id, after: audited(fields) };
      const row = await createEndpoint(ctx.db.admin, fields, sealed, change);
      await ctx.endpoints_changed();
      return { ...viewEndpoint(row, ctx), secret };
    },
  }),
  operation({
    id: "getEndpoint",
    method: "get",
    path,
    tag,
    summary: "Shows an endpoint",
    status: 200,
    response: s.Endpoint,
    refuses: ["not_found"],
    example: { id: example.ENDPOINT_ID, response: example.endpoint },
    handle: async (ctx, { id }) => viewEndpoint(await find(ctx, id), ctx),
  }),
  operation({
    id: "updateEndpoint",
    method: "patch",
    path,
    tag,
    summary: "Changes an endpoint",
    description:
      "What is left out stays; null clears what may be absent. The file's endpoints are " +
      "changed in the file.",
    body: s.EndpointPatch,
    rules: mistakesOf,
    status: 200,
    response: s.Endpoint,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { timeout_ms: 20_000, description: null, version: 1 },
      response: { ...example.endpoint, timeout_ms: 20_000, description: null, version: 2 },
    },
    async handle(ctx, asked) {
      const row = await change(
        ctx,
        asked,
        "endpoint.updated",
        (row) => patched(ctx, row, asked.body),
      );
      return viewEndpoint(row, ctx);
    },
  }),
  operation({
    id: "deleteEndpoint",
    method: "delete",
    path,
    tag,
    summary: "Retires an endpoint",
    description: "Its pending deliveries are cancelled, its secrets forgotten; its history stays.",
    status: 200,
    response: s.Endpoint,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      response: {
        ...example.endpoint,
        sendable: false,
        unsendable_reason: "The endpoint is retired",
        retired_at: "2026-11-24T10:00:00.000Z",
      },
    },
    async handle(ctx, { id, actor }) {
      const before = await findInForce(ctx, id);
      refuseFile(before, "take it out of the file");
      const change = { actor, action: "endpoint.retired", object: id, before: audited(before) };
      const row = await retireEndpoint(ctx.db.admin, id, change) ?? await find(ctx, id);
      await ctx.endpoints_changed();
      await cancelPending(ctx);
      return viewEndpoint(row, ctx);
    },
  }),
  operation({
    id: "pauseEndpoint",
    method: "post",
    path: `${path}/pause`,
    tag,
    summary: "Pauses an endpoint: what it is owed waits",
    body: s.PauseInput,
    body_optional: true,
    status: 200,
    response: s.Endpoint,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { reason: "Maintenance until noon" },
      response: {
        ...example.endpoint,
        paused: true,
        paused_at: "2026-11-24T10:00:00.000Z",
        pause_reason: "Maintenance until noon",
      },
    },
    async handle(ctx, { id, body, actor }) {
      const row = await findInForce(ctx, id);
      const reason = body.reason ?? `Paused by ${actor.name}`;
      const before = row.pause_reason === null ? undefined : { reason: row.pause_reason };
      const change = { actor, action: "endpoint.paused", object: id, before, after: { reason } };
      const again = body.reason !== undefined;
      const paused = await pauseEndpoint(ctx.db.admin, row.id, reason, again, change);
      await ctx.endpoints_changed();
      return viewEndpoint(paused ?? await find(ctx, id), ctx);
    },
  }),
  operation({
    id: "resumeEndpoint",
    method: "post",
    path: `${path}/resume`,
    tag,
    summary: "Ends an endpoint's pause: what waited is due",
    status: 200,
    response: s.Endpoint,
    refuses: ["not_found", "conflict"],
    example: { id: example.ENDPOINT_ID, response: example.endpoint },
    async handle(ctx, { id, actor }) {
      const row = await findInForce(ctx, id);
      const before = { reason: row.pause_reason };
      const change = { actor, action: "endpoint.resumed", object: id, before };
      const resumed = await resumeEndpoint(ctx.db.admin, row.id, change);
      await ctx.endpoints_changed();
      return viewEndpoint(resumed ?? await find(ctx, id), ctx);
    },
  }),
  operation({
    id: "rotateSecret",
    method: "post",
    path: `${path}/rotate`,
    tag,
    summary: "Gives an endpoint a new secret",
    description: "It signs X-BookMe-Signature from `activate` on; the old one stays in " +
      "webhook-signature until `overlap` after that. The answer shows it this once.",
    body: s.RotateInput,
    body_optional: true,
    rules: (ctx, { secret }) => secret === undefined ? [] : secretMistakes(ctx, secret),
    status: 200,
    response: s.EndpointMade,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { activate: "2026-11-25T06:00:00Z", overlap: "24h" },
      response: {
        ...example.endpoint,
        version: 2,
        rotation: {
          activates_at: "2026-11-25T06:00:00.000Z",
          overlap_ends_at: "2026-11-26T06:00:00.000Z",
        },
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=",
      },
    },
    async handle(ctx, asked) {
      const { activates_at, now } = activation(ctx, asked.body.activate);
      const secret = asked.body.secret ?? makeSecret(randomBytes(32));
      const overlap_ms = asked.body.overlap;
      const { id, actor } = asked;
      const row = await change(ctx, { id, actor, body: {} }, "endpoint.rotated", (row) => {
        const content = openSealed(row, ctx.seal_keys);
        const secrets = rotate(content.secrets, secret, activates_at, overlap_ms, now);
        const fields = { ...row, settings: { ...row.settings, unsigned: false } };
        return sealedWith(fields, { ...content, secrets }, sealingKey(ctx));
      }, { activates_at: new Date(activates_at).toISOString(), overlap_ms });
      return { ...viewEndpoint(row, ctx), secret };
    },
  }),
  operation({
    id: "testEndpoint",
    method: "post",
    path: `${path}/test`,
    tag,
    summary: "Sends a test event to an endpoint and waits for its answer",
    description: "The event goes to this endpoint only, whatever it selects, with X-BookMe-Test: " +
      "true. Should it fail, it is retried as any other.",
    body: s.TestInput,
    status: 200,
    response: s.TestResult,
    refuses: ["not_found", "conflict"],
    example: {
      id: example.ENDPOINT_ID,
      body: { event: "booking.created" },
      response: {
        event_id: example.EVENT_ID,
        delivery: { ...example.delivery, test: true },
        attempt: example.attempt,
      },
    },
    async handle(ctx, { id, body, actor, isGone }) {
      const row = await findInForce(ctx, id);
      refuseUnready(ctx, row);
      const event = testEvent(ctx, body);
      await writeAudit(ctx.db.admin, {
        actor,
        action: "endpoint.tested",
        object: id,
        after: { event: body.event },
      });
      const [accepted] = await ctx.accept([{ event, key: null, test_endpoint_no: row.no }]);
      if (accepted === undefined || accepted.deliveries === 0) throw retired(id);
      const uuid = deliveryUuid(accepted.uuid, row.no);
      const wait_ms = (ctx.endpoint(row.no)?.timeout_ms ?? 30_000) + 5_000;
      const attempt = await firstAttempt(ctx, uuid, wait_ms, isGone);
      const delivery = await getDelivery(ctx.db.admin, "everything", uuid);
      if (delivery === undefined) throw notFound("delivery");
      return {
        event_id: eventId(accepted.uuid),
        delivery: viewDelivery(delivery, ctx),
        attempt: attempt === undefined ? null : viewAttempt(attempt, delivery, event),
      };
    },
  }),
];

// --- finding and refusing ----------------------------------------------------------------------------

function notFound(what: string): AppError {
  return new AppError("not_found", `There is no such ${what}`);
}

function retired(id: string): AppError {
  return new AppError("conflict", `The endpoint ${id} is retired; make a new one`);
}

async function find(ctx: RouteContext, id: string): Promise<StoredEndpoint> {
  // What PostgreSQL cannot even be asked for is no endpoint either.
  const row = is(s.text(255), id) ? await getEndpoint(ctx.db.admin, "everything", id) : undefined;
  if (row === undefined) throw notFound("endpoint");
  return row;
}

async function findInForce(ctx: RouteContext, id: string): Promise<StoredEndpoint> {
  const row = await find(ctx, id);
  if (row.retired_at !== null) throw retired(id);
  return row;
}

function refuseFile(row: StoredEndpoint, remedy: string): void {
  if (row.source !== "file") return;
  throw new AppError(
    "conflict",
    `The endpoint ${row.id} belongs to the configuration file; ${remedy}, and reload it (SIGHUP ` +
      "or POST /api/reload)",
  );
}

function refuseUnready(ctx: RouteContext, row: StoredEndpoint): void {
  if (row.paused_at !== null) {
    throw new AppError("conflict", `The endpoint ${row.id} is paused; resume it first`);
  }
  const reason = ctx.endpoint(row.no)?.unsendable_reason ?? null;
  if (reason !== null) {
    throw new AppError("conflict", `The endpoint ${row.id} cannot be sent to: ${reason}`);
  }
}

function sealingKey(ctx: RouteContext): SealKey {
  const [key] = ctx.seal_keys;
  if (key !== undefined) return key;
  throw new AppError(
    "conflict",
    "Endpoints made through the API need a key that seals their secrets; make one with `openssl " +
      "rand -base64 32`, name it as encryption_key: env:NAME or file:PATH in the configuration, " +
      "and start anew",
  );
}

// --- what is asked for -------------------------------------------------------------------------------

type Input = v.InferOutput<typeof s.EndpointInput>;
type Patch = v.InferOutput<typeof s.EndpointPatch>;
type Given = { readonly [Member in keyof Input]?: Input[Member] | undefined };

/** The fields of an endpoint, and its sealed content if that changes. */
interface Written {
  readonly fields: EndpointFields;
  readonly sealed?: Sealed;
}

const NEW: Omit<EndpointFields, "id"> = {
  url: "",
  events: [],
  businesses: null,
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

function sealedWith(fields: EndpointFields, content: SealedContent, key: SealKey) {
  return {
    fields: {
      ...fields,
      settings: { ...fields.settings, headers: Object.keys(content.headers) },
    },
    sealed: {
      bytes: seal(content, fields.id, key, randomBytes(NONCE_BYTES)),
      secret_expires_at: firstExpiry(content.secrets),
    },
  };
}

/** What the audit log keeps of an endpoint. */
function audited({ url, events, businesses, settings }: EndpointFields) {
  return { url, events, businesses, settings };
}

function patched(ctx: RouteContext, row: StoredEndpoint, patch: Patch): Written {
  const fields = merge(row, patch);
  if (patch.unsigned === false && row.settings.unsigned) {
    throw s.invalidAt(
      "/unsigned",
      "The endpoint has no secret; rotate makes one and signs with it",
    );
  }
  // Left as it is, even if no key opens it.
  if (patch.headers === undefined && fields.settings.unsigned === row.settings.unsigned) {
    return { fields };
  }
  const content = openSealed(row, ctx.seal_keys);
  return sealedWith(fields, {
    secrets: fields.settings.unsigned ? [] : content.secrets,
    headers: knownHeaders(patch.headers ?? content.headers, content.headers),
  }, sealingKey(ctx));
}

// Who sends back what was shown means the value that it stands for.
function knownHeaders(
  headers: SealedContent["headers"],
  known: SealedContent["headers"],
): SealedContent["headers"] {
  const valueOf = (name: string, value: string) => {
    if (value !== REDACTED) return value;
    const kept = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kept === undefined) {
      throw s.invalidAt(
        jsonPointer(["headers", name]),
        `${REDACTED} stands for a value; send the value itself`,
      );
    }
    return kept;
  };
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, valueOf(name, value)]),
  );
}

const MAX_TRIES = 5;

/** Reads an endpoint, makes of it what it is to be, and writes that unless it has changed meanwhile. */
async function change(
  ctx: RouteContext,
  { id, actor, body }: Pick<
    Asked<unknown, { readonly version?: number | undefined }>,
    "id" | "actor" | "body"
  >,
  action: string,
  next: (row: StoredEndpoint) => Written,
  after?: unknown,
): Promise<StoredEndpoint> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const row = await findInForce(ctx, id);
    refuseFile(row, "change it there");
    if (body.version !== undefined && body.version !== row.version) {
      throw new AppError(
        "conflict",
        `The endpoint ${id} has version ${row.version} by now, not ${body.version}; read it again`,
      );
    }
    const { fields, sealed } = next(row);
    const changed = await updateEndpoint(ctx.db.admin, row, fields, sealed, {
      actor,
      action,
      object: id,
      ...(after === undefined ? { before: audited(row), after: audited(fields) } : { after }),
    });
    if (changed === undefined) continue;
    await ctx.endpoints_changed();
    return changed;
  }
  throw new AppError("conflict", `The endpoint ${id} keeps changing; try again`);
}

const CANCEL_BATCH = 1_000;
const MAX_CANCEL_BATCHES = 20;

// At once as far as a request may take; the sweep does the rest.
async function cancelPending(ctx: RouteContext): Promise<void> {
  for (let i = 0; i < MAX_CANCEL_BATCHES; i++) {
    if (await cancelRetired(ctx.db.admin, CANCEL_BATCH) < CANCEL_BATCH) return;
  }
}

// --- rules that need more than the schemas know --------------------------------------------------------

function mistakesOf(ctx: RouteContext, input: Given): Mistake[] {
  const mistakes: Mistake[] = [];
  const add = (pointer: string, message: string) => void mistakes.push({ pointer, message });
  if (input.url !== undefined) {
    const { mistake } = checkEndpointUrl(input.url, ctx.rules());
    if (mistake !== undefined) add("/url", mistake);
  }
  const { names } = ctx.event_types();
  for (const [index, pattern] of (input.events ?? []).entries()) {
    const mistake = patternMistake(pattern, names);
    if (mistake !== undefined) add(`/events/${index}`, mistake);
  }
  for (const { index, message } of overlaps(input.events ?? [])) add(`/events/${index}`, message);
  for (const { index, message } of repetitions(input.businesses ?? [])) {
    add(`/businesses/${index}`, message);
  }
  for (const { name, message } of headerMistakes(input.headers ?? {})) {
    add(jsonPointer(["headers", name]), message);
  }
  const { max } = LIMITS.rate_per_s;
  if (input.rate_limit != null && parseRate(input.rate_limit) > max) {
    add("/rate_limit", `Must be at most ${max}/s`);
  }
  if (input.secret !== undefined) mistakes.push(...secretMistakes(ctx, input.secret));
  if (input.secret !== undefined && input.unsigned === true) {
    add("/unsigned", SIGNED_AND_UNSIGNED);
  }
  return mistakes;
}

function secretMistakes(ctx: RouteContext, secret: string): Mistake[] {
  const message = secretMistake(secret, ctx.config().environment === "production");
  return message === undefined ? [] : [{ pointer: "/secret", message }];
}

const MAX_ACTIVATION_MS = 30 * 86_400_000;
/** How far in the past a moment may lie that somebody's clock took for now. */
const CLOCK_SLACK_MS = 60_000;

function activation(ctx: RouteContext, activate: string): { activates_at: number; now: number } {
  const now = Math.floor(ctx.now());
  if (activate === "now") return { activates_at: now, now };
  const activates_at = Date.parse(activate);
  if (activates_at < now - CLOCK_SLACK_MS || activates_at > now + MAX_ACTIVATION_MS) {
    throw s.invalidAt("/activate", "Must not lie in the past, nor more than 30 days ahead");
  }
  return { activates_at: Math.max(activates_at, now), now };
}

// --- test events -------------------------------------------------------------------------------------

function testEvent(ctx: RouteContext, { event, data }: v.InferOutput<typeof s.TestInput>) {
  const types = ctx.event_types();
  const type = types.get(event);
  if (type === undefined) {
    throw s.invalidAt("/event", `There is no such event type; there are ${types.names.join(", ")}`);
  }
  const timestamp = new Date(ctx.now()).toISOString().replace(/\.\d+Z$/, "Z");
  const payload = data === undefined
    ? type.sample.replace(/"timestamp": "[^"]*"/, `"timestamp": "${timestamp}"`)
    : writeEvent({ event, timestamp, data });
  const [parsed] = parseIngest(Buffer.from(payload, "utf8"), "json", types).events;
  if (parsed === undefined) throw s.invalidAt("/data", "Makes no event");
  return parsed;
}

function writeEvent(event: unknown): string {
  try {
    return JSON.stringify(event);
  } catch {
    throw s.invalidAt("/data", "Is nested too deeply");
  }
}

async function firstAttempt(
  ctx: RouteContext,
  uuid: string,
  wait_ms: number,
  isGone: () => boolean,
): Promise<AttemptRow | undefined> {
  const end = performance.now() + wait_ms;
  for (let pause_ms = 5;; pause_ms = Math.min(pause_ms * 1.5, 250)) {
    const [attempt] = await attemptsOf(ctx.db.admin, "everything", uuid);
    if (attempt !== undefined || isGone() || performance.now() > end) return attempt;
    await new Promise((resolve) => setTimeout(resolve, pause_ms));
  }
}
