import type { Server } from "node:http";
import { createServer, type ServerOptions } from "node:https";
import type { Socket } from "node:net";
import type { Secret } from "../core/secret.ts";
import type { Log } from "../observe/log.ts";

/** PEM texts of a server: its certificate, followed by those between it and its authority, and its key. */
export interface ServerTls {
  readonly cert: string;
  readonly key: Secret;
}

/** An HTTP server over TLS. */
export interface TlsServer {
  readonly server: Server;
  /** Shows another certificate from the next handshake on; open connections go on. */
  renew(tls: ServerTls): void;
  /** Closes connections that have no TLS session yet. `Server.closeIdleConnections` does not know them. */
  closeHandshakes(): void;
}

/** Failed handshakes are logged at most this often: anybody can cause them. */
const LOGGED_EVERY_MS = 600_000;

/** A server that speaks HTTP/1.1 over TLS 1.2 and 1.3. */
export function createTlsServer(
  tls: ServerTls,
  options: ServerOptions,
  log: Pick<Log, "warn">,
): TlsServer {
  const server = createServer({
    ...options,
    ...contextOf(tls),
    ALPNProtocols: ["http/1.1"],
    // Else the runtime ends a connection together with the client's half of it.
    ...{ allowHalfOpen: true },
  });
  const handshakes = trackHandshakes(server);
  server.on("tlsClientError", logFailures(log));
  return {
    server,
    renew: (next) => server.setSecureContext(contextOf(next)),
    closeHandshakes() {
      for (const socket of handshakes()) socket.destroy();
    },
  };
}

function contextOf({ cert, key }: ServerTls) {
  return { cert, key: key.reveal(), minVersion: "TLSv1.2" } as const;
}

// A TLS socket does not say which one is beneath it, but both know their client.
function trackHandshakes(server: Server): () => Iterable<Socket> {
  const sockets = new Map<string, Socket>();
  const clientOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;
  server.on("connection", (socket: Socket) => {
    const client = clientOf(socket);
    sockets.set(client, socket);
    socket.on("close", () => {
      if (sockets.get(client) === socket) sockets.delete(client);
    });
  });
  server.on("secureConnection", (socket: Socket) => sockets.delete(clientOf(socket)));
  return () => [...sockets.values()];
}

// Clients that leave or stay silent are no news: port scans, health checks, the accept probe. The socket
// of a failed handshake no longer knows its client.
function logFailures(log: Pick<Log, "warn">) {
  let count = 0;
  let next_ms = -Infinity;
  return (error: Error & { code?: string }): void => {
    if (error.code?.startsWith("ERR_SSL_") !== true) return;
    count++;
    const now_ms = performance.now();
    if (now_ms < next_ms) return;
    next_ms = now_ms + LOGGED_EVERY_MS;
    log.warn("TLS handshakes failed", { count, cause: causeOf(error) });
    count = 0;
  };
}

function causeOf({ code, message }: Error & { code?: string }): string {
  return code === "ERR_SSL_WRONG_VERSION_NUMBER"
    ? "the client does not speak TLS: its URL begins with http:, most likely"
    : message;
}
