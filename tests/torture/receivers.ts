import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { parseDeliveryId, parseEventId } from "../../lib/core/ids.ts";
import { until } from "../support/wait.ts";
import type { Leaf } from "../support/tls.ts";
import type { RequestSeen } from "./ledger.ts";

/** How a receiver meets a request. */
export type Manner =
  | { readonly status: number; readonly delay_ms?: number; readonly then?: "half-close" }
  | "reset"
  | "hang"
  | "trickle"
  | "endless"
  | "garbage"
  | "continues";

/** A request as the receiver has it before it answers. */
export interface Incoming {
  readonly seen: RequestSeen;
  readonly path: string;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
  /** The daemon that sent it, by the address that each sends from. */
  readonly daemon: string;
}

/** The address that a daemon sends from, `127.0.1.3` for `d3`. */
export function addressOf(daemon: string): string {
  return `127.0.1.${daemon.slice(1)}`;
}

function daemonAt(address: string | undefined): string {
  return `d${address?.split(".").at(-1)}`;
}

/** A receiver that writes down every request, and misbehaves where told to. */
export interface Receiver {
  readonly hostname: string;
  readonly port: number;
  readonly requests: readonly RequestSeen[];
  /** How each request is met. */
  manner: (request: Incoming) => Manner;
  /** Called when a request has been read, before it is answered. */
  onRead: ((request: Incoming) => void) | undefined;
  /** Called when its answer has been handed to the system. */
  onAnswered: ((request: Incoming) => void) | undefined;
  /** Takes connections or refuses them. */
  listening(on: boolean): Promise<void>;
  /** Shows this certificate from now on (TLS only). */
  certificate(leaf: Leaf): Promise<void>;
  close(): Promise<void>;
}

const OK: Manner = { status: 200 };

/** Starts a receiver; over TLS with a certificate. */
export async function startReceiver(leaf?: Leaf, hostname = "127.0.0.1"): Promise<Receiver> {
  const requests: RequestSeen[] = [];
  const sockets = new Set<Socket>();
  const serve = (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    readFrom(socket, (incoming) => {
      receiver.onRead?.(incoming);
      answer(incoming, socket, receiver, requests);
    });
  };
  let server = makeServer(leaf, serve, sockets);
  let port = 0;
  const listen = async () => {
    await new Promise<void>((done, failed) => {
      server.once("error", failed);
      server.listen(port, hostname, done);
    });
    port = (server.address() as AddressInfo).port;
  };
  const close = async () => {
    server.close();
    for (const socket of sockets) socket.resetAndDestroy();
    await until("the receiver is closed", () => sockets.size === 0 && !server.listening);
  };
  await listen();
  const receiver: Receiver = {
    hostname,
    port,
    requests,
    manner: () => OK,
    onRead: undefined,
    onAnswered: undefined,
    async listening(on) {
      if (on && !server.listening) await listen();
      if (!on && server.listening) await close();
    },
    async certificate(next) {
      await close();
      server = makeServer(next, serve, sockets);
      await listen();
    },
    close,
  };
  return receiver;
}

function makeServer(leaf: Leaf | undefined, serve: (socket: Socket) => void, all: Set<Socket>) {
  if (leaf === undefined) return createServer({ noDelay: true }, serve);
  const server = createTlsServer({ ...leaf }, serve);
  server.on("tlsClientError", () => {});
  server.on("connection", (socket: Socket) => {
    all.add(socket);
    socket.once("close", () => all.delete(socket));
  });
  return server;
}

// Requests of our own client only: one Content-Length, no pipelining.
function readFrom(socket: Socket, onRequest: (incoming: Incoming) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const end = rest.indexOf("\r\n\r\n");
      if (end < 0) return;
      const head = rest.toString("latin1", 0, end);
      const headers = fieldsOf(head);
      const total = end + 4 + Number(headers.get("content-length") ?? 0);
      if (rest.length < total) return;
      const body = rest.subarray(end + 4, total);
      rest = rest.subarray(total);
      onRequest({
        daemon: daemonAt(socket.remoteAddress),
        seen: seenOf(headers, body),
        path: head.split(" ", 2)[1] ?? "",
        headers,
        body,
      });
    }
  });
}

function fieldsOf(head: string): Map<string, string> {
  return new Map(
    head.split("\r\n").slice(1).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

function seenOf(fields: ReadonlyMap<string, string>, body: Buffer): RequestSeen {
  return {
    event_id: parseEventId(fields.get("x-bookme-event-id") ?? "") ?? "",
    delivery_id: parseDeliveryId(fields.get("x-bookme-delivery-id") ?? "") ?? "",
    attempt: Number(fields.get("x-bookme-attempt")),
    hash: createHash("sha256").update(body).digest("hex"),
    at: Date.now(),
    ended_at: null,
    signature: fields.get("webhook-signature") ?? "",
    status: null,
  };
}

function answer(
  incoming: Incoming,
  socket: Socket,
  receiver: Receiver,
  requests: RequestSeen[],
): void {
  const manner = receiver.manner(incoming);
  const at = requests.push(incoming.seen) - 1;
  const end = (status: number | null) => {
    requests[at] = { ...incoming.seen, status, ended_at: Date.now() };
  };
  const cut = () => end(requests[at]?.status ?? null);
  socket.once("close", cut);
  if (typeof manner !== "string") {
    const { status, delay_ms, then } = manner;
    const write = () => {
      // What comes after its end of the connection is closed, it cannot answer any more.
      if (!socket.writable) return;
      socket.off("close", cut);
      end(status);
      const text = `ok ${markIn(incoming.body)}`;
      socket.write(
        `HTTP/1.1 ${status} Said\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
        () => {
          receiver.onAnswered?.(incoming);
        },
      );
      // Without having said so: the connection looks as if it were kept.
      if (then === "half-close") socket.end();
    };
    if (delay_ms === undefined) write();
    else setTimeout(write, delay_ms);
    return;
  }
  if (manner === "endless" || manner === "trickle") {
    // Its head is whole, and so is its status.
    if (manner === "endless") requests[at] = { ...incoming.seen, status: 200 };
    return misbehaveFor(socket, manner);
  }
  if (manner === "reset") socket.resetAndDestroy();
  else if (manner === "garbage") socket.end("SSH-2.0-OpenSSH_9.2\r\n\x00\xff nonsense\r\n\r\n");
  else if (manner === "continues") misbehaveFor(socket, manner);
}

// The answer repeats the event's mark, so that an erasure has something to remove from it.
function markIn(body: Uint8Array): string {
  return /~[a-z0-9_.]+~/.exec(Buffer.from(body).toString("latin1"))?.[0] ?? "";
}

const PARTS = {
  endless: { first: "HTTP/1.1 200 OK\r\n\r\n", next: "all work and no play ".repeat(800), ms: 2 },
  trickle: { first: "HTTP/1.1 200 OK\r\nX-Slow: ", next: "z", ms: 200 },
  continues: { first: "", next: "HTTP/1.1 100 Continue\r\n\r\n".repeat(20), ms: 2 },
} as const;

function misbehaveFor(socket: Socket, manner: keyof typeof PARTS): void {
  const { first, next, ms } = PARTS[manner];
  socket.write(first);
  const timer = setInterval(() => {
    if (socket.destroyed) clearInterval(timer);
    else if (socket.writableLength < 1_000_000) socket.write(next);
  }, ms);
  socket.once("close", () => clearInterval(timer));
}
