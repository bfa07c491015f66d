import type { IncomingMessage } from "node:http";
import { Buffer } from "node:buffer";
import { type Context, Hono } from "hono";
import { cidrContains } from "../lib/core/address.ts";
import { AppError } from "../lib/core/errors.ts";
import { IDENTIFIER_RULE, isIdentifier } from "../lib/core/event_types.ts";
import { type Format, parseIngest } from "../lib/core/payload.ts";
import { verifyBookme } from "../lib/core/signature.ts";
import { clientAddress } from "./client.ts";
import type { Env, RouteContext } from "./context.ts";

/** `POST /ingest` (contract, section 4). */
export function ingestRoutes(ctx: RouteContext): Hono<Env> {
  return new Hono<Env>().post("/", async (c) => {
    checkAddress(c, ctx);
    const format = formatOf(c.req.header("content-type"));
    const { max_body_bytes, secrets } = ctx.config().ingest;
    const body = await readBody(c.env.incoming, max_body_bytes);
    if (secrets.length > 0) {
      const signature = c.req.header("x-bookme-signature");
      if (!verifyBookme(body, signature, secrets.map((secret) => secret.reveal()))) {
        ctx.log.warn("Ingest refused: wrong signature");
        throw new AppError(
          "unauthorized",
          "X-BookMe-Signature is missing or wrong; it is sha256= and the hex HMAC-SHA256 of the exact " +
            "body under ingest.secret",
        );
      }
    }
    const { single, events } = parseIngest(body, format, ctx.event_types());
    const key = header(c, "idempotency-key");
    const business = header(c, "x-bookme-business");
    const accepted = await ctx.accept(events.map((event, index) => ({
      event: { ...event, business: event.business ?? business },
      key: event.key !== null
        ? `id:${event.key}`
        : key !== null
        ? `key:${key}${single ? "" : `#${index}`}`
        : null,
    })));
    const answers = accepted.map(({ id, deliveries, duplicate }) => ({
      id,
      deliveries,
      duplicate,
    }));
    const status = answers.every((answer) => answer.duplicate) ? 200 : 202;
    return c.json(single ? answers[0] : answers, status);
  });
}

function checkAddress(c: Context<Env>, ctx: RouteContext): void {
  const { environment, ip_ranges, server } = ctx.config();
  const address = clientAddress(c, server.trusted_proxies);
  const allowed = address !== undefined &&
    (ip_ranges[environment].some((cidr) => cidrContains(cidr, address)) ||
      (environment === "development" && isLoopback(address)));
  if (allowed) return;
  ctx.log.warn("Ingest refused: address not in ip_ranges", { address: address ?? "unknown" });
  throw new AppError(
    "forbidden",
    `Events may not be posted from ${
      address ?? "an unknown address"
    }; ip_ranges.${environment} of ` +
      "the configuration lists who may",
  );
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^(::ffff:)?127\./i.test(address);
}

function formatOf(content_type: string | undefined): Format {
  const type = content_type?.split(";")[0]?.trim().toLowerCase();
  if (type === "application/json") return "json";
  if (type === "application/x-ndjson") return "ndjson";
  throw new AppError(
    "unsupported_media_type",
    `Content-Type is ${type === undefined ? "missing" : JSON.stringify(type)}; send ` +
      "application/json or application/x-ndjson",
  );
}

/** The body, refused before it is buffered where it is longer than allowed. */
async function readBody(incoming: IncomingMessage, max_bytes: number): Promise<Uint8Array> {
  const tooLarge = () =>
    new AppError(
      "too_large",
      `The body is longer than ${max_bytes} bytes (ingest.max_body); post fewer events at once`,
    );
  if (Number(incoming.headers["content-length"] ?? 0) > max_bytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > max_bytes) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function header(c: Context<Env>, name: "idempotency-key" | "x-bookme-business"): string | null {
  const value = c.req.header(name);
  if (value === undefined) return null;
  if (!isIdentifier(value)) {
    throw new AppError("invalid", `The header ${name} must have ${IDENTIFIER_RULE}`);
  }
  return value;
}
