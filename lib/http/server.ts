/**
 * The HTTP server: node:http, or node:https, with a limit on everything that a client could draw out. It
 * refuses requests that two servers in a row might read differently.
 */

import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { hostPort, ownAddressOf } from "../core/address.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { Log } from "../observe/log.ts";
import type { Signals } from "../observe/signals.ts";
import { createTlsServer, type ServerTls, type TlsServer } from "./server_tls.ts";
import { bad, type Mistake, takeTurns } from "./turns.ts";

/** Bounds on clients. */
export interface HttpLimits {
  /** From the connection to the end of the TLS handshake. */
  readonly handshake_ms: number;
  /** From the connection, or the previous request, to the end of the head. Then 408. */
  readonly headers_ms: number;
  /** The same, to the end of the body. Then 408. */
  readonly request_ms: number;
  /** How long an idle connection is kept. */
  readonly keep_alive_ms: number;
  /** How long a connection may carry no bytes, whatever it waits for. */
  readonly silence_ms: number;
  /** Interval at which the first two are enforced. */
  readonly check_ms: number;
  /** Request line and fields together. Then 431. */
  readonly head_bytes: number;
  readonly fields: number;
  /** Further connections are closed at once. */
  readonly connections: number;
  /** Interval of the accept probe. */
  readonly watch_ms: number;
}

/** The limits of a daemon. */
export const HTTP_LIMITS: HttpLimits = {
  handshake_ms: 10_000,
  headers_ms: 10_000,
  request_ms: 30_000,
  keep_alive_ms: 60_000,
  // Longer than the longest timeout of an endpoint: a test event waits that long for its answer.
  silence_ms: 360_000,
  check_ms: 1_000,
  head_bytes: 16_384,
  fields: 100,
  connections: 4_096,
  watch_ms: 5_000,
};

/** A bound HTTP server. */
export interface HttpServer {
  /** The address it is bound to, even if the configuration names a host. */
  readonly address: string;
  readonly port: number;
  /** `http://127.0.0.1:8080`, or `https:` with TLS. */
  readonly url: string;
  /** Passes requests to the handler, except those of a refused shape. */
  serve(handler: RequestListener): void;
  /** Shows another certificate from the next handshake on. A server without TLS remains one. */
  renew(tls: ServerTls | null): void;
  /** Goes on accepting, and closes each connection after its next answer. */
  retire(): void;
  /**
   * Accepts no more connections and waits for the requests under way. A second after `finished`, when
   * everything they wait for is done, it cuts off the rest.
   */
  close(finished?: Promise<unknown>): Promise<void>;
}

/** Where a server listens; `tls` null: plain HTTP. */
export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: ServerTls | null;
}

/**
 * Binds to an address without serving yet, so that a port in use is known before anything starts.
 * Throws an `AppError` if it cannot bind.
 */
export function listen(
  { host, port, tls }: ListenOptions,
  { refused }: Pick<Signals, "refused">,
  log: Pick<Log, "warn">,
  limits: HttpLimits = HTTP_LIMITS,
): Promise<HttpServer> {
  const secured = tls === null ? undefined : createTlsServer(tls, optionsOf(limits), log);
  const server = limit(secured?.server ?? createServer(optionsOf(limits)), limits);
  const handler = Promise.withResolvers<RequestListener>();
  let run: RequestListener = (incoming, outgoing) =>
    void handler.promise.then((present) => present(incoming, outgoing));
  void handler.promise.then((present) => run = present);
  const turns = takeTurns(server, {
    mistakeOf: (incoming) => shapeMistake(incoming, limits.fields),
    run: (incoming, outgoing) => run(incoming, outgoing),
    refused,
  });
  return new Promise((resolve, reject) => {
    // Kept for good: without a listener, an error on reopening would end the process.
    server.on("error", (error) => {
      const place = `${host}:${port}`;
      const remedy = "stop what uses it, or set server.listen";
      reject(
        new AppError("conflict", `Cannot listen on ${place}: ${messageOf(error)}; ${remedy}`),
      );
    });
    server.listen({ host, port }, () => {
      const { address, port: bound } = server.address() as AddressInfo;
      const watch = watchListener(server, { host: address, port: bound }, limits.watch_ms, log);
      resolve({
        address,
        port: bound,
        url: `${tls === null ? "http" : "https"}://${hostPort(host, bound)}`,
        serve: handler.resolve,
        renew: (next) => void (next !== null && secured?.renew(next)),
        retire: turns.retire,
        close(finished = Promise.resolve()) {
          watch.stop();
          return closeServer(server, secured, finished);
        },
      });
    });
  });
}

// Deno.serve waits forever; node:http answers 408 in time.
function optionsOf(limits: HttpLimits) {
  return {
    handshakeTimeout: limits.handshake_ms,
    headersTimeout: limits.headers_ms,
    requestTimeout: limits.request_ms,
    keepAliveTimeout: limits.keep_alive_ms,
    connectionsCheckingInterval: limits.check_ms,
    maxHeaderSize: limits.head_bytes,
    // `shapeMistake` does, in the order of requests.
    requireHostHeader: false,
    // By default the first of two Content-Types would count.
    joinDuplicateHeaders: true,
  };
}

function limit(server: Server, limits: HttpLimits): Server {
  server.maxConnections = limits.connections;
  server.timeout = limits.silence_ms;
  // A client that half-closes after its request still waits for the answer.
  (server as Server & { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true;
  // One more than allowed, because node:http drops further fields silently.
  server.maxHeadersCount = limits.fields + 1;
  return server;
}

// Under Deno, a server that has hit EMFILE never accepts again and reports nothing: connections wait in
// the kernel. So when none has arrived for a while, this probes with one. If the probe is not accepted
// either, it reopens the listening socket. Accepted connections stay as they are.
function watchListener(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  every_ms: number,
  log: Pick<Log, "warn">,
): { stop(): void } {
  let accepted = 0;
  let seen = -1;
  let probe: Socket | undefined;
  let missed = 0;
  const onAccepted = () => accepted++;
  server.on("connection", onAccepted).on("drop", onAccepted);
  const place = { host: ownAddressOf(host), port };
  const look = () => {
    // Closed for reopening, but another process took the port: retry until it is free again.
    if (!server.listening) return void server.listen({ host, port });
    const quiet = accepted === seen;
    seen = accepted;
    // Two misses, because a process that was suspended wakes up with its timers first.
    missed = quiet && probe?.destroyed === false ? missed + 1 : 0;
    if (quiet && missed === 1) return;
    probe?.destroy();
    probe = undefined;
    if (missed > 1) {
      log.warn("The listener stopped accepting connections and was reopened", {
        cause: "file descriptors ran out, most likely: raise LimitNOFILE",
      });
      missed = 0;
      server.close().listen({ host, port });
    } else if (quiet) {
      probe = connect(place);
      probe.on("error", () => {}); // no descriptor for the probe either: try again later
    }
  };
  const timer = setInterval(look, every_ms);
  return {
    stop() {
      clearInterval(timer);
      probe?.destroy();
    },
  };
}

/**
 * The mistake in the shape of a request that node:http lets through, or undefined. Refuses everything
 * that a proxy in front might read differently (RFC 9112, 11.2), and protocols that are not spoken here.
 */
export function shapeMistake(
  { httpVersion, url, rawHeaders }: Pick<IncomingMessage, "httpVersion" | "url" | "rawHeaders">,
  max_fields: number,
): Mistake | undefined {
  if (rawHeaders.length > 2 * max_fields) {
    return {
      status: 431,
      label: "fields",
      detail: `A request has at most ${max_fields} header fields`,
    };
  }
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return bad("version", "Send HTTP/1.1");
  if (!url?.startsWith("/")) {
    return bad("target", "The target of a request begins with /, as in GET /livez HTTP/1.1");
  }
  const fields = framingFields(rawHeaders);
  if (fields.hosts > 1 || (fields.hosts === 0 && httpVersion === "1.1")) {
    return bad("host", "Send one Host header");
  }
  if (fields.codings + fields.lengths > 1) {
    return bad("framing", "Send one Content-Length or one Transfer-Encoding, not both");
  }
  if (fields.codings > 0 && (fields.coding !== "chunked" || httpVersion === "1.0")) {
    return bad("framing", "The only accepted Transfer-Encoding is chunked, in HTTP/1.1");
  }
  return fields.upgrades === 0
    ? undefined
    : bad("upgrade", "Connections cannot be upgraded; send HTTP/1.1 (curl --http1.1)");
}

function framingFields(raw_headers: readonly string[]) {
  const found = { hosts: 0, lengths: 0, codings: 0, coding: "", upgrades: 0 };
  for (let at = 0; at < raw_headers.length; at += 2) {
    switch (raw_headers[at]?.toLowerCase()) {
      case "host":
        found.hosts++;
        break;
      case "content-length":
        found.lengths++;
        break;
      case "transfer-encoding":
        found.codings++;
        found.coding = raw_headers[at + 1]?.toLowerCase() ?? "";
        break;
      case "upgrade":
      case "http2-settings":
        found.upgrades++;
    }
  }
  return found;
}

// A client that keeps its connection busy must not stop the daemon from stopping.
async function closeServer(
  server: Server,
  secured: TlsServer | undefined,
  finished: Promise<unknown>,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  secured?.closeHandshakes();
  await Promise.race([closed, finished.catch(() => {})]);
  const timer = setTimeout(() => server.closeAllConnections(), 1_000);
  await closed;
  clearTimeout(timer);
}
