import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { hostPort } from "../core/address.ts";
import { diagnoseBookme, diagnoseStandard, type Finding, type Keys } from "../core/diagnose.ts";
import { AppError, messageOf } from "../core/errors.ts";

/** How a receiver behaves. */
export interface ReceiverOptions {
  /** An address or name without brackets (default: 127.0.0.1). */
  readonly host?: string;
  /** 0, the default, picks a free one. */
  readonly port?: number;
  /** The only path it serves (default: `/`). */
  readonly path?: string;
  /** Requests that these do not verify are answered with 401. */
  readonly keys: Keys;
  /** The status of every answer (default: 200). */
  readonly status?: number;
  /** Wait before each answer, in milliseconds. */
  readonly delay_ms?: number;
  /** Answer 503 to this many first requests of each event. */
  readonly fail_first?: number;
  /** Called for each request once its answer is decided. */
  readonly received?: (request: Received) => void;
}

/** A request as received. */
export interface Received {
  readonly at_ms: number;
  /** The `X-BookMe-…` headers as received; null if missing. */
  readonly type: string | null;
  readonly event_id: string | null;
  readonly delivery_id: string | null;
  readonly attempt: string | null;
  readonly test: boolean;
  /** The bytes as received. */
  readonly body: Uint8Array;
  /** Of `X-BookMe-Signature`. */
  readonly bookme: Finding;
  /** Of the `webhook-…` headers. */
  readonly standard: Finding;
  /** Whether both signatures are right. */
  readonly verified: boolean;
  /** Whether this event was answered with a 2xx before. */
  readonly duplicate: boolean;
  readonly status: number;
}

/** A running receiver. */
export interface Receiver {
  readonly url: string;
  /** The latest requests, at most 1,000, the newest last. */
  readonly requests: readonly Received[];
  stop(): Promise<void>;
}

const MAX_KEPT = 1000;
const MAX_EVENTS = 100_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;
const STOP_GRACE_MS = 1_000;

/**
 * Starts a receiver that verifies, recognises repeated events and answers. Throws an `AppError` if it
 * cannot listen.
 */
export async function startReceiver(options: ReceiverOptions): Promise<Receiver> {
  const { host = "127.0.0.1", port = 0, path = "/" } = options;
  const requests: Received[] = [];
  const stopping = new AbortController();
  const known = makeKnownEvents();
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const at_ms = Date.now();
    const refusal = refusalOf(request, path);
    if (refusal !== undefined) return answer(response, refusal.status, refusal.text);
    const body = await readBody(request);
    if (body === undefined) return answer(response, 413, "The body is too large");
    const received = receive(request, body, at_ms);
    requests.push(received);
    if (requests.length > MAX_KEPT) requests.shift();
    options.received?.(received);
    // Stopped in the middle of the wait, it answers at once.
    await sleep(options.delay_ms ?? 0, undefined, { signal: stopping.signal }).catch(() => {});
    answer(response, received.status, received.status === 401 ? "Invalid signature" : "");
  }

  function receive(request: IncomingMessage, body: Uint8Array, at_ms: number): Received {
    const header = (name: string) => {
      const value = request.headers[name];
      return typeof value === "string" ? value : undefined;
    };
    const bookme = diagnoseBookme(body, header("x-bookme-signature"), options.keys);
    const standard = diagnoseStandard(
      body,
      {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
      },
      options.keys,
      at_ms / 1000,
    );
    const event_id = header("x-bookme-event-id") ?? header("webhook-id") ?? null;
    const event = known.of(event_id ?? createHash("sha256").update(body).digest("hex"));
    event.requests++;
    const status = event.requests <= (options.fail_first ?? 0)
      ? 503
      : options.status ?? (bookme.valid || standard.valid ? 200 : 401);
    const duplicate = event.done;
    if (status >= 200 && status < 300) event.done = true;
    return {
      at_ms,
      type: header("x-bookme-event") ?? null,
      event_id,
      delivery_id: header("x-bookme-delivery-id") ?? null,
      attempt: header("x-bookme-attempt") ?? null,
      test: header("x-bookme-test") === "true",
      body,
      bookme,
      standard,
      verified: bookme.valid && standard.valid,
      duplicate,
      status,
    };
  }

  const bound = await bind(server, host, port);
  return {
    url: `http://${hostPort(host, bound)}${path}`,
    requests,
    async stop() {
      stopping.abort();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // A client that never ends its request must not keep it from stopping.
      const done = new AbortController();
      const late = sleep(STOP_GRACE_MS, undefined, { signal: done.signal }).catch(() => {});
      await Promise.race([closed, late]);
      done.abort();
      server.closeAllConnections();
    },
  };
}

function bind(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      reject(
        new AppError(
          "conflict",
          `Cannot listen on ${host}:${port}: ${
            messageOf(error)
          }; stop what uses it, or choose another port`,
        ),
      );
    });
    server.listen({ host, port }, () => resolve((server.address() as AddressInfo).port));
  });
}

function refusalOf(
  request: IncomingMessage,
  path: string,
): { status: number; text: string } | undefined {
  if (request.url?.split("?")[0] !== path) {
    return { status: 404, text: `Events are received at ${path}` };
  }
  return request.method === "POST" ? undefined : { status: 405, text: "Post events here" };
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" });
  response.end(status === 204 || status === 304 ? undefined : text);
}

async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

interface KnownEvent {
  requests: number;
  done: boolean;
}

/** Remembers events, but not the oldest, so that it stays bounded. */
function makeKnownEvents(): { of(id: string): KnownEvent } {
  const events = new Map<string, KnownEvent>();
  return {
    of(id) {
      const known = events.get(id) ?? { requests: 0, done: false };
      events.set(id, known);
      if (events.size > MAX_EVENTS) {
        const [oldest] = events.keys();
        if (oldest !== undefined) events.delete(oldest);
      }
      return known;
    },
  };
}
