import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { type IncomingMessage, request as requestPlain } from "node:http";
import { request as requestTls } from "node:https";
import { isIP } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { isLoopback, portOf } from "../../core/address.ts";
import { certificatesIn, readCertificate } from "../../core/certificates.ts";
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
  readonly cert?: OwnCertificate | null;
}

/** The certificate that a daemon has by its configuration. It is trusted as it is. */
export interface OwnCertificate {
  readonly pem: string;
  /** Whether a daemon on this machine may show another one, because it has yet to read the file again. */
  readonly may_be_newer: boolean;
}

/** Longer than any statement of the daemon's may take. */
const PATIENCE_MS = 60_000;

/** What no answer of a daemon comes near. */
const MAX_BODY_BYTES = 256 * 1024 * 1024;

/**
 * One request to a daemon on a connection of its own. (`fetch` would go through whatever proxy the
 * environment names, also for loopback.) Rejects with an `AppError` if no answer comes, or not in time.
 */
export async function send(url: string | URL, options: RequestOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body = "", patience_ms = PATIENCE_MS } = options;
  const length = method === "GET" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const target = new URL(url);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), patience_ms);
  try {
    const incoming = await ask(target, {
      method,
      headers: { ...headers, ...length },
      body,
      signal: AbortSignal.any([late.signal, ...(options.signal ? [options.signal] : [])]),
      cert: options.cert ?? null,
    });
    return { status: incoming.statusCode ?? 0, body: await textOf(incoming) };
  } catch (error) {
    if (error instanceof AppError) throw error;
    const why = late.signal.aborted ? ` within ${inWords(patience_ms)}` : `: ${messageOf(error)}`;
    throw new AppError("unavailable", `No answer from ${target.origin}${why}`);
  } finally {
    clearTimeout(timer);
  }
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error("it does not end");
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** A request as it is sent. */
export interface Asked {
  readonly method: Method;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  readonly cert: OwnCertificate | null;
  /** How long the connection may carry no bytes (default: no limit). */
  readonly silence_ms?: number;
}

/** Sends a request on a connection of its own. Resolves with the answer, whose body has yet to be read. */
export async function ask(
  target: URL,
  { method, headers, body, signal, cert, silence_ms }: Asked,
): Promise<IncomingMessage> {
  const secure = target.protocol === "https:";
  // Only once the other side is known to be the daemon does it get the token.
  const socket = secure ? await openTls(target, cert, signal) : undefined;
  const request = secure ? requestTls : requestPlain;
  const connection = socket === undefined ? { agent: false } : { createConnection: () => socket };
  return await new Promise((resolve, reject) => {
    const options = { method, headers: { ...headers, connection: "close" }, signal };
    const outgoing = request(target, { ...options, ...connection }, resolve);
    outgoing.on("error", reject);
    if (silence_ms !== undefined) {
      const why = `Nothing came for ${inWords(silence_ms)}`;
      outgoing.setTimeout(silence_ms, () => outgoing.destroy(new Error(why)));
    }
    outgoing.end(method === "GET" ? undefined : body);
  });
}

// With NODE_EXTRA_CA_CERTS set, the agents of Deno's node:https demand the permission `sys` for `ca`, which
// no flag grants by itself. node:tls trusts that file without it, in addition to all other authorities;
// an option `ca` would replace them.
function openTls(
  target: URL,
  cert: OwnCertificate | null,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const host = target.hostname.replace(/^\[|\]$/g, "");
  const [own] = cert === null ? [] : certificatesIn(cert.pem);
  const trusts_any = cert?.may_be_newer === true && isLoopback(host);
  // The daemon is called by its address on this machine; its certificate has the name for others.
  const name = own === undefined ? host : hostNameIn(own) ?? host;
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = connectTls({
      host,
      port: portOf(target),
      // Without a name the certificate is checked for the address.
      ...(isIP(name) !== 0 ? {} : { servername: name }),
      rejectUnauthorized: own === undefined,
    });
    const abort = () => socket.destroy(new Error("Aborted"));
    signal.addEventListener("abort", abort);
    socket.on("close", () => signal.removeEventListener("abort", abort));
    socket.on("error", reject);
    socket.on("secureConnect", () => {
      const is_own = own === undefined || socket.authorized || hasKeyOf(socket, own);
      if (is_own || trusts_any) resolve(socket);
      else socket.destroy(otherCertificate(target));
    });
  });
}

function otherCertificate({ origin }: URL): AppError {
  return new AppError(
    "conflict",
    `The certificate of ${origin} is neither trusted nor that of server.tls.cert; if that file is new, ` +
      "have the daemon read it: `bookme-webhooks reload` on its machine, or SIGHUP",
  );
}

function hostNameIn(certificate: X509Certificate): string | undefined {
  return readCertificate(certificate).names.find((name) => isIP(name) === 0 && !name.includes("*"));
}

// The handshake has proven that the other side has the private key.
function hasKeyOf(socket: TLSSocket, own: X509Certificate): boolean {
  const { raw } = socket.getPeerCertificate();
  return raw !== undefined && new X509Certificate(raw).publicKey.equals(own.publicKey);
}

/** The value of a body in JSON; undefined if it is not JSON. */
export function readJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}
