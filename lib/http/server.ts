/**
 * The HTTP server: node:http with limits on everything that a client could draw out, and without the
 * shapes of requests that two servers in a row may read in two ways.
 */

import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { hostPort, ownAddressOf } from "../core/address.ts";
import { AppError, messageOf } from "../core/errors.ts";
import type { Counters } from "../observe/counters.ts";
import type { Log } from "../observe/log.ts";

/** Bounds on a client, in milliseconds, bytes and numbers. */
export interface HttpLimits {
  /** From the connection, or the request before, to the end of the head. Then 408. */
  readonly headers_ms: number;
  /** The same, to the end of the body. Then 408. */
  readonly request_ms: number;
  /** How long a connection is kept without a request. */
  readonly keep_alive_ms: number;
  /** How long nothing may move on a connection, whatever it waits for. */
  readonly silence_ms: number;
  /** How often the first two are looked at. */
  readonly check_ms: number;
  /** Request line and fields together. More is answered with 431. */
  readonly head_bytes: number;
  readonly fields: number;
  /** What comes above it is hung up on. */
  readonly connections: number;
  /** How often it is looked whether connections are still taken, where none came by themselves. */
  readonly watch_ms: number;
}

export const HTTP_LIMITS: HttpLimits = {
  headers_ms: 10_000,
  request_ms: 30_000,
  keep_alive_ms: 60_000,
  // Above the longest timeout of an endpoint, for which a test event waits.
  silence_ms: 360_000,
  check_ms: 1_000,
  head_bytes: 16_384,
  fields: 100,
  connections: 4_096,
  watch_ms: 5_000,
};

export interface HttpServer {
  /** The address that it is bound to, also where the configuration names a host. */
  readonly address: string;
  readonly port: number;
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  /** Hands over the requests, those that are of a refused shape aside. */
  serve(handler: RequestListener): void;
  /**
   * Takes no more connections, and waits for the requests under way: for a second after `finished`, which
   * is when what they wait for is done.
   */
  close(finished?: Promise<unknown>): Promise<void>;
}

/**
 * Binds to an address, before it serves, so that a port in use is known before anything is started:
 * then it throws an `AppError`.
 */
export function listen(
  { host, port }: { readonly host: string; readonly port: number },
  counters: Counters,
  log: Pick<Log, "warn">,
  limits: HttpLimits = HTTP_LIMITS,
): Promise<HttpServer> {
  // Deno.serve waits for ever; node:http answers 408 in time.
  const server = createServer({
    headersTimeout: limits.headers_ms,
    requestTimeout: limits.request_ms,
    keepAliveTimeout: limits.keep_alive_ms,
    connectionsCheckingInterval: limits.check_ms,
    maxHeaderSize: limits.head_bytes,
  });
  server.maxConnections = limits.connections;
  server.timeout = limits.silence_ms;
  // Who says that nothing more comes still waits for the answer to what came.
  (server as Server & { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true;
  // One more than is taken: node:http drops the fields above it without a word.
  server.maxHeadersCount = limits.fields + 1;
  // Who connects while the daemon is still starting waits for its answer.
  const served = Promise.withResolvers<RequestListener>();
  let serving: RequestListener | undefined;
  void served.promise.then((handler) => serving = handler);
  const last = new WeakMap<Socket, IncomingMessage>();
  server.on("connection", (socket: Socket) => {
    // But not within a request: that one is cut off.
    socket.on("end", () => void (last.get(socket)?.complete === true || socket.destroy()));
  });
  server.on("request", (incoming, outgoing) => {
    last.set(incoming.socket, incoming);
    const mistake = shapeMistake(incoming, limits.fields);
    if (mistake !== undefined) {
      counters.count("http_refused", mistake.label);
      refuse(outgoing, mistake);
    } else if (serving !== undefined) serving(incoming, outgoing);
    else void served.promise.then((handler) => handler(incoming, outgoing));
  });
  return new Promise((resolve, reject) => {
    // Also when it is opened anew: without a listener that would end the process.
    server.on("error", (error) => {
      reject(
        new AppError(
          "conflict",
          `Cannot listen on ${host}:${port}: ${
            messageOf(error)
          }; stop what uses it, or set server.listen`,
        ),
      );
    });
    server.listen({ host, port }, () => {
      const { address, port: bound } = server.address() as AddressInfo;
      const watch = watchListener(server, { host: address, port: bound }, limits.watch_ms, log);
      resolve({
        address,
        port: bound,
        url: `http://${hostPort(host, bound)}`,
        serve: served.resolve,
        close(finished = Promise.resolve()) {
          watch.stop();
          return closeServer(server, finished);
        },
      });
    });
  });
}

// Under Deno a server that met EMFILE once never accepts again, and says nothing: connections wait in
// the kernel. So where none came for a while, one of our own is made; where that is not taken either,
// the listening socket is opened anew. Connections that were taken are not touched.
function watchListener(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  every_ms: number,
  log: Pick<Log, "warn">,
): { stop(): void } {
  let taken = 0;
  let seen = -1;
  let probe: Socket | undefined;
  let missed = 0;
  const onTaken = () => taken++;
  server.on("connection", onTaken).on("drop", onTaken);
  const place = { host: ownAddressOf(host), port };
  const look = () => {
    // It was closed to be opened anew, and somebody else took the port: until it is free again.
    if (!server.listening) return void server.listen({ host, port });
    const quiet = taken === seen;
    seen = taken;
    // Twice: a process that was stopped in between wakes up with its timers first.
    missed = quiet && probe?.destroyed === false ? missed + 1 : 0;
    if (quiet && missed === 1) return;
    probe?.destroy();
    probe = undefined;
    if (missed > 1) {
      log.warn("The listener took no connections any more and was opened anew", {
        cause: "file descriptors ran out, most likely: raise LimitNOFILE",
      });
      missed = 0;
      server.close().listen({ host, port });
    } else if (quiet) {
      probe = connect(place);
      probe.on("error", () => {}); // no descriptor for this one either: a later look tells
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

/** Why a request is not taken. `label` is a stable short name. */
export interface ShapeMistake {
  readonly status: 400 | 431;
  readonly label: string;
  readonly detail: string;
}

/**
 * What is wrong with the shape of a request that node:http lets through: whatever a proxy before us
 * might understand in another way (RFC 9112, 11.2), and what we do not speak.
 */
export function shapeMistake(
  { httpVersion, url, rawHeaders }: Pick<IncomingMessage, "httpVersion" | "url" | "rawHeaders">,
  max_fields: number,
): ShapeMistake | undefined {
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
    return bad("framing", "The only Transfer-Encoding taken is chunked, in HTTP/1.1");
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

function bad(label: string, detail: string): ShapeMistake {
  return { status: 400, label, detail };
}

function refuse(outgoing: ServerResponse, { status, detail }: ShapeMistake): void {
  const title = status === 400 ? "Bad Request" : "Request Header Fields Too Large";
  const body = JSON.stringify({ type: "about:blank", title, status, code: "malformed", detail });
  outgoing.writeHead(status, {
    "content-type": "application/problem+json",
    "content-length": body.length, // ASCII
    connection: "close",
  });
  outgoing.end(body);
}

// A client that keeps its connection busy must not keep the daemon from stopping.
async function closeServer(server: Server, finished: Promise<unknown>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  await Promise.race([closed, finished.catch(() => {})]);
  const timer = setTimeout(() => server.closeAllConnections(), 1_000);
  await closed;
  clearTimeout(timer);
}
