import type { IncomingMessage } from "node:http";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Accepted } from "../lib/admin/shown.ts";
import { cidrContains, parseCidr } from "../lib/core/address.ts";
import { AppError, type ErrorCode, HTTP_STATUS } from "../lib/core/errors.ts";
import { IDENTIFIER_RULE, isIdentifier, KEY_PLACE } from "../lib/core/identifier.ts";
import { parseDeliveryId } from "../lib/core/ids.ts";
import { type Format, type Parsed, type ParsedEvent, parseIngest } from "../lib/core/payload.ts";
import type { Answer } from "../lib/core/problem.ts";
import { verifyBookme } from "../lib/core/signature.ts";
import { millisecondsOf } from "../lib/core/time.ts";
import { formatTraceparent, parseTraceparent } from "../lib/core/traceparent.ts";
import { decodeUtf8 } from "../lib/core/utf8.ts";
import { isOutage } from "../lib/store/errors.ts";
import type { Offer } from "../lib/delivery/batch.ts";
import type { PostFacts, Recording } from "../lib/observe/traces.ts";
import type { RouteContext } from "./context.ts";
import { type Handler, makeHandler } from "./handler.ts";
import { makeRoom, type Room, type RoomLimits } from "./middleware/body_budget.ts";
import { clientAddress } from "./middleware/client.ts";

/** For all clients together. */
const ROOM: RoomLimits = { bytes: 16 * 1024 * 1024, patience_ms: 1_000, waiting: 256 };

/** Bodies up to this size are there at once, or too small to matter. */
const SMALL_BYTES = 4_096;

/** How far ahead a clock of BookMe's may be where `ingest.max_age` is set. */
const MAX_AHEAD_MS = 5 * 60_000;

const LOOPBACK = ["127.0.0.0/8", "::1/128"].map(parseCidr);

/** `POST /ingest` (contract, section 4), on node's own request and response. */
export function makeIngest(ctx: RouteContext, limits = ROOM): Handler {
  const room = makeRoom(limits);
  return makeHandler(ctx, (incoming) => takePost(incoming, ctx, room));
}

async function takePost(incoming: IncomingMessage, ctx: RouteContext, room: Room): Promise<Answer> {
  let posted: Posted | undefined;
  let accepted: readonly ParsedEvent[] = [];
  const began_at = performance.now();
  let recording: Recording<PostFacts> | undefined;
  try {
    posted = await readEvents(incoming, ctx, room);
    const { single, events, digest } = posted;
    const keyOf = keys(identifierIn(incoming, "idempotency-key"), digest);
    const came = traceOf(incoming);
    recording = ctx.tracing?.ingest(performance.now() - began_at, came);
    const trace = recording?.traceparent ?? came;
    const stored = await ctx.accept(events.map((event) => ({ event, trace, ...keyOf(event) })));
    accepted = events;
    const answers = stored.map(({ id, deliveries, duplicate }): Accepted => ({
      id,
      deliveries,
      duplicate,
    }));
    const status = answers.every((answer) => answer.duplicate) ? 200 : 202;
    recording?.end(acceptedFacts(status, events, answers));
    const body = JSON.stringify(single ? answers[0] : answers);
    return { status, headers: { "Content-Type": "application/json" }, body };
  } catch (error) {
    const code = codeOf(error);
    reportRefused(incoming, ctx, code);
    recording?.end(refusedFacts(code, posted?.events.length ?? 0));
    throw error;
  } finally {
    if (posted !== undefined) room.leave(posted.room_bytes);
    if (ctx.signals.posted.heard) {
      const now = ctx.now();
      const ages_ms = accepted.map(({ timestamp }) => now - millisecondsOf(timestamp));
      ctx.signals.posted.emit({ duration_ms: performance.now() - began_at, ages_ms });
    }
  }
}

/** The post's `traceparent`, as far as it is well-formed. */
function traceOf(incoming: IncomingMessage): string | null {
  const came = headerOf(incoming, "traceparent");
  const context = came === undefined ? undefined : parseTraceparent(came);
  return context === undefined ? null : formatTraceparent(context);
}

/** The post of answered events, for its span. */
function acceptedFacts(
  status: number,
  events: readonly ParsedEvent[],
  answers: readonly Accepted[],
): PostFacts {
  const [event, more] = events;
  const [answer] = answers;
  const only = event === undefined || answer === undefined || more !== undefined
    ? undefined
    : { id: answer.id, type: event.type };
  return { status, code: null, events: events.length, event: only };
}

/** A post that could be read and is refused, or fails, for its span. */
function refusedFacts(code: ErrorCode | undefined, events: number): PostFacts {
  return code === undefined
    ? { status: 500, code: "internal", events }
    : { status: HTTP_STATUS[code], code, events };
}

/** The code that an error is answered with; undefined for a bug. */
function codeOf(error: unknown): ErrorCode | undefined {
  if (error instanceof AppError) return error.code;
  return isOutage(error) ? "unavailable" : undefined;
}

function reportRefused(
  incoming: IncomingMessage,
  ctx: RouteContext,
  code: ErrorCode | undefined,
): void {
  if (code === undefined) return;
  ctx.signals.refused.emit({
    by: "ingest",
    code,
    address: addressOf(incoming, ctx) ?? null,
    signed: isSigned(incoming),
  });
}

function isSigned(incoming: IncomingMessage): boolean {
  return (headerOf(incoming, "x-bookme-signature") ?? "").trim() !== "";
}

/** A parsed post, with the SHA-256 (hex) of its body if it has an Idempotency-Key. */
interface Posted extends Parsed {
  readonly digest: string;
  /** The room that it takes until it is answered. */
  readonly room_bytes: number;
}

/** The events of a post, once it is known that its sender may and its bytes are what was signed. */
async function readEvents(
  incoming: IncomingMessage,
  ctx: RouteContext,
  room: Room,
): Promise<Posted> {
  checkLoop(incoming, ctx);
  const address = checkAddress(incoming, ctx);
  const format = formatOf(headerOf(incoming, "content-type"));
  checkEncoding(headerOf(incoming, "content-encoding"));
  const { config, event_types, ingest_signers } = ctx.in_force();
  const { max_body_bytes, max_age_ms } = config.ingest;
  const body = await readBody(incoming, max_body_bytes, room);
  try {
    const signature = headerOf(incoming, "x-bookme-signature");
    if (ingest_signers.length > 0 && !verifyBookme(body, signature, ingest_signers)) {
      const fault = isSigned(incoming) ? "wrong" : "missing";
      ctx.log.warn(`Ingest refused: ${fault} signature`, { address });
      throw new AppError(
        "unauthorized",
        `X-BookMe-Signature is ${fault}; it is sha256= and the hex HMAC-SHA256 of the exact body ` +
          "under ingest.secret",
      );
    }
    const parsed = parseIngest(
      body,
      format,
      event_types,
      identifierIn(incoming, "x-bookme-business"),
    );
    if (max_age_ms !== null) checkAges(parsed, max_age_ms, ctx.now());
    // Only what an Idempotency-Key names is compared by all of its bytes.
    const keyed = headerOf(incoming, "idempotency-key") !== undefined;
    const digest = keyed ? createHash("sha256").update(body).digest("hex") : "";
    return { ...parsed, digest, room_bytes: body.length };
  } catch (error) {
    room.leave(body.length);
    throw error;
  }
}

// Before the address, so that an attempt on an endpoint which leads here shows the reason.
function checkLoop(incoming: IncomingMessage, ctx: RouteContext): void {
  const id = headerOf(incoming, "x-bookme-delivery-id");
  if (id === undefined) return;
  const delivery = parseDeliveryId(id) === undefined ? "malformed" : id;
  ctx.log.warn("Ingest refused: a delivery came back", { delivery });
  throw new AppError(
    "loop",
    "X-BookMe-Delivery-Id marks a delivery of this program; point its endpoint at a receiver, not at /ingest",
  );
}

function addressOf(incoming: IncomingMessage, ctx: RouteContext): string | undefined {
  const { trusted_proxies } = ctx.in_force().config.server;
  return clientAddress(incoming, trusted_proxies);
}

function checkAddress(incoming: IncomingMessage, ctx: RouteContext): string {
  const { environment, ip_ranges } = ctx.in_force().config;
  const address = addressOf(incoming, ctx);
  const networks = [
    ...ip_ranges[environment],
    ...(environment === "development" ? LOOPBACK : []),
  ];
  if (address !== undefined && networks.some((cidr) => cidrContains(cidr, address))) return address;
  const from = address ?? "an unknown address";
  ctx.log.warn("Ingest refused: address not in ip_ranges", { address: address ?? "unknown" });
  throw new AppError(
    "forbidden",
    `Events may not be posted from ${from}; ip_ranges.${environment} of the configuration lists who may`,
  );
}

/** Against replay of what was recorded: refuses events that are too old, or of the future. */
function checkAges({ single, events }: Parsed, max_age_ms: number, now_ms: number): void {
  const errors = events.flatMap(({ timestamp }, index) => {
    const age_ms = now_ms - millisecondsOf(timestamp);
    if (age_ms <= max_age_ms && age_ms >= -MAX_AHEAD_MS) return [];
    const message = age_ms < 0
      ? `Lies in the future by more than ${MAX_AHEAD_MS / 60_000} minutes`
      : `Is older than the ${max_age_ms / 1000} seconds of ingest.max_age`;
    return [{ pointer: single ? "/timestamp" : `/${index}/timestamp`, message }];
  });
  const [first] = errors;
  if (first === undefined) return;
  const detail = `Invalid payload at ${first.pointer}: ${first.message}`;
  throw new AppError("invalid", detail, { errors });
}

function formatOf(content_type: string | undefined): Format {
  const type = content_type?.split(";")[0]?.trim().toLowerCase();
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(content_type ?? "")?.[1];
  if (charset !== undefined && !/^utf-?8$/i.test(charset)) {
    throw new AppError(
      "unsupported_media_type",
      `The charset is ${JSON.stringify(charset)}; send UTF-8, the only one that JSON has`,
    );
  }
  if (type === "application/json") return "json";
  if (type === "application/x-ndjson") return "ndjson";
  throw new AppError(
    "unsupported_media_type",
    `Content-Type is ${type === undefined ? "missing" : JSON.stringify(type)}; send ` +
      "application/json or application/x-ndjson",
  );
}

function checkEncoding(content_encoding: string | undefined): void {
  if (content_encoding === undefined || /^identity$/i.test(content_encoding)) return;
  throw new AppError(
    "unsupported_media_type",
    "Compressed bodies are not taken: what is signed and delivered are the bytes as they came",
  );
}

/**
 * The body, refused before it is buffered where it is longer than allowed. It has taken as much room as
 * it has bytes.
 */
async function readBody(
  incoming: IncomingMessage,
  max_bytes: number,
  room: Room,
): Promise<Uint8Array> {
  const announced = Number(incoming.headers["content-length"] ?? 0);
  if (announced > max_bytes) throw tooLarge(max_bytes);
  const entered = room.enter(announced);
  if (entered !== true && !await entered) throw tooBusy();
  if (incoming.destroyed) {
    room.leave(announced);
    throw cutOff();
  }
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const chunks: Uint8Array[] = [];
  let length = 0;
  let taken = announced;
  // By its events, which cost a third of iterating. Where it is refused it is left, not destroyed: then
  // the connection would stay open, unread, for minutes.
  const refuse = (error: AppError) => {
    incoming.off("data", take).pause();
    room.leave(taken);
    taken = 0;
    reject(error);
  };
  const take = (chunk: Uint8Array) => {
    length += chunk.length;
    if (length > max_bytes) return refuse(tooLarge(max_bytes));
    // A length that was not announced.
    if (length > taken) {
      if (!room.grow(taken, length)) return refuse(tooBusy());
      taken = length;
    }
    chunks.push(chunk);
  };
  incoming.on("data", take);
  incoming.once("end", () => {
    const [only] = chunks;
    resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
  });
  // A client hung up or was cut off: not our fault. The error closes the request, too.
  incoming.once("error", () => {});
  incoming.once("close", () => {
    if (!incoming.complete) refuse(cutOff());
  });
  if (announced <= SMALL_BYTES) return await promise;
  // Who announces much and sends little must not keep others out: then only what has come counts.
  const slow = setTimeout(() => {
    room.leave(taken - length);
    taken = length;
  }, room.patience_ms);
  try {
    return await promise;
  } finally {
    clearTimeout(slow);
  }
}

function cutOff(): AppError {
  return new AppError("malformed", "The connection ended within the body");
}

function tooBusy(): AppError {
  const detail = "More is being posted at once than the memory is meant for; nothing was stored, " +
    "send it again";
  return new AppError("unavailable", detail, { retry_after_s: 1 });
}

function tooLarge(max_bytes: number): AppError {
  return new AppError(
    "too_large",
    `The body is longer than ${max_bytes} bytes (ingest.max_body); post fewer events at once`,
  );
}

// An event's own id names the event. An Idempotency-Key names the whole request, so each event under it
// answers for all of the body's bytes: the first one by the very key, which a repetition of any form
// meets, the others by its place, behind a character that no key can hold.
function keys(header: string | null, digest: string) {
  let place = 0;
  return ({ key }: ParsedEvent): Pick<Offer, "key" | "digest"> => {
    if (key !== null) return { key: `id:${key}` };
    if (header === null) return { key: null };
    const behind = place === 0 ? "" : `${KEY_PLACE}${place}`;
    place++;
    return { key: `key:${header}${behind}`, digest };
  };
}

/** A header; several of one name are joined by commas (see `joinDuplicateHeaders` of the server). */
function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  return headers[name] as string | undefined;
}

function identifierIn(
  incoming: IncomingMessage,
  name: "idempotency-key" | "x-bookme-business",
): string | null {
  const value = headerOf(incoming, name);
  if (value === undefined) return null;
  // Node reads the bytes of a header as Latin-1. Configuration and payloads, which it is compared with,
  // are UTF-8.
  const text = decodeUtf8(Buffer.from(value, "latin1"));
  if (text === undefined) throw new AppError("invalid", `The header ${name} must be UTF-8`);
  if (!isIdentifier(text)) {
    throw new AppError("invalid", `The header ${name} must have ${IDENTIFIER_RULE}`);
  }
  return text;
}
