import { Buffer } from "node:buffer";
import { type ClientRequest, type IncomingMessage, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { isIP } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { portOf } from "../../core/address.ts";
import { AppError, messageOf } from "../../core/errors.ts";
import { inWords } from "../../core/explain.ts";

/** An answer over HTTP. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A method of a request to a daemon. */
export type Method = "GET" | "POST" | "DELETE";

/** A request to a daemon. */
export interface RequestOptions {
  readonly method?: Method;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** How long the whole answer may take (default: a minute). */
  readonly patience_ms?: number;
  /** Gives up waiting for the answer. */
  readonly signal?: AbortSignal;
}

/** Longer than any statement of the daemon's may take. */
const PATIENCE_MS = 60_000;

/** What no answer of a daemon comes near. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;

/**
 * One request to a daemon on a connection of its own. (`fetch` would go through whatever proxy the
 * environment names, also for loopback.) Rejects with an `AppError` if no answer comes, or not in time.
 */
export function send(url: string | URL, options: RequestOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body = "", patience_ms = PATIENCE_MS } = options;
  const length = method === "GET" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const target = new URL(url);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), patience_ms);
  const answer = new Promise<Answer>((resolve, reject) => {
    const failed = (error: Error) => {
      const why = late.signal.aborted ? ` within ${inWords(patience_ms)}` : `: ${messageOf(error)}`;
      reject(new AppError("unavailable", `No answer from ${target.origin}${why}`));
    };
    const outgoing = open(
      target,
      {
        method,
        headers: { ...headers, ...length },
        signal: AbortSignal.any([late.signal, ...(options.signal ? [options.signal] : [])]),
      },
      (incoming) => {
        const chunks: Uint8Array[] = [];
        let bytes = 0;
        incoming.on("data", (chunk: Uint8Array) => {
          chunks.push(chunk);
          bytes += chunk.length;
          if (bytes > MAX_BODY_BYTES) incoming.destroy(new Error("it does not end"));
        });
        incoming.on("error", failed);
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString("utf8");
          resolve({ status: incoming.statusCode ?? 0, body: text });
        });
      },
    );
    outgoing.on("error", failed);
    outgoing.end(method === "GET" ? undefined : body);
  });
  return answer.finally(() => clearTimeout(timer));
}

/** Opens a request on a connection of its own. */
export function open(
  target: URL,
  { method, headers, signal }: {
    readonly method: Method;
    readonly headers: Readonly<Record<string, string>>;
    readonly signal: AbortSignal;
  },
  answered: (incoming: IncomingMessage) => void,
): ClientRequest {
  const secure = target.protocol === "https:";
  const request = secure ? requestTls : requestPlain;
  const connection = secure ? { createConnection: () => openTls(target) } : { agent: false };
  const options = { method, headers: { ...headers, connection: "close" }, signal };
  return request(target, { ...options, ...connection }, answered);
}

// With NODE_EXTRA_CA_CERTS set, the agents of Deno's node:https demand the permission `sys` for `ca`, which
// no flag grants by itself. node:tls trusts that file without it, in addition to all other authorities;
// an option `ca` would replace them.
function openTls(target: URL): TLSSocket {
  const host = target.hostname.replace(/^\[|\]$/g, "");
  return connectTls({
    host,
    port: portOf(target),
    // Without a name the certificate is checked for the address.
    ...(isIP(host) !== 0 ? {} : { servername: host }),
  });
}
