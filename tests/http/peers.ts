/** Receivers that answer with any bytes, and clients to post to them. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { AddressRules } from "../../lib/core/address.ts";
import {
  type Exchange,
  type HttpClient,
  type HttpClientOptions,
  makeHttpClient,
  type PostRequest,
  type Target,
} from "../../lib/http/client.ts";
import type { Leaf } from "../support/tls.ts";
import { until } from "../support/wait.ts";

export const RULES: AddressRules = { allow_loopback: true, allow_networks: [], own_listener: [] };
export const HEAD = "HTTP/1.1 200 OK\r\n";
export const OK = `${HEAD}Content-Length: 2\r\n\r\nok`;
/** An answer whose connection stays open for 59 s, however slow the machine is. */
export const KEPT = `${HEAD}Keep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok`;

export interface Receiver {
  readonly port: number;
  /** Raw requests, in the order in which they were complete. */
  readonly requests: string[];
  readonly connections: number;
  readonly open: number;
  readonly peers: string[];
  close(): Promise<void>;
}

export type Play = (socket: Socket, nth: number) => void;

/** Calls `play` when a request is complete, with its connection and its number, from 1. */
export async function receiver(play: Play, host = "127.0.0.1"): Promise<Receiver> {
  const requests: string[] = [];
  const peers: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server: Server = createServer((socket) => {
    connections++;
    peers.push(socket.remoteAddress ?? "");
    sockets.add(socket);
    let got = "";
    socket.on("data", (bytes: Buffer) => {
      got += bytes.toString("latin1");
      const request = wholeRequest(got);
      if (request === undefined) return;
      got = got.slice(request.length);
      requests.push(request);
      play(socket, requests.length);
    });
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, host, listening));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    peers,
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}

function wholeRequest(got: string): string | undefined {
  const end = got.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const length = Number(/content-length: (\d+)/i.exec(got.slice(0, end))?.[1] ?? 0);
  return got.length < end + 4 + length ? undefined : got.slice(0, end + 4 + length);
}

/** Runs `use` with a client that is closed afterwards, and waits until nothing of it is open. */
export async function withClient(
  use: (client: HttpClient) => Promise<void>,
  options: Partial<HttpClientOptions> = {},
): Promise<void> {
  const client = makeHttpClient({ rules: () => RULES, ...options });
  try {
    await use(client);
  } finally {
    client.close();
    await until("every connection is closed", () => client.open_connections === 0);
  }
}

export async function withReceiver(
  play: Play,
  use: (receiver: Receiver, client: HttpClient) => Promise<void>,
  options: Partial<HttpClientOptions> = {},
): Promise<void> {
  const server = await receiver(play);
  try {
    await withClient((client) => use(server, client), options);
  } finally {
    await server.close();
  }
}

export function to(port: number, host = "127.0.0.1", scheme = "http"): Target {
  return { url: new URL(`${scheme}://${host}:${port}/hook?a=1`) };
}

export function request(more: Partial<PostRequest> = {}): PostRequest {
  return { headers: "X-Test: 1\r\n", body: "{}", timeout_ms: 10_000, ...more };
}

export function answered(exchange: Exchange): Extract<Exchange, { answered: true }> {
  assert.ok(exchange.answered, JSON.stringify(exchange));
  return exchange;
}

export function failed(
  exchange: Exchange,
  reason: string,
  cause: RegExp,
): Extract<Exchange, { answered: false }> {
  assert.ok(!exchange.answered, `answered: ${JSON.stringify(exchange)}`);
  assert.equal(exchange.reason, reason, exchange.cause);
  assert.match(exchange.cause, cause);
  assert.ok(exchange.cause.length <= 200);
  // deno-lint-ignore no-control-regex -- control characters are what must not be there
  assert.doesNotMatch(exchange.cause, /[\x00-\x1f]/);
  return exchange;
}

export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

export interface TlsReceiver {
  readonly port: number;
  readonly connections: number;
  readonly requests: number;
  close(): Promise<void>;
}

export function tlsReceiver(leaf: Leaf): TlsReceiver {
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...leaf });
  const open = new Set<Promise<void>>();
  const conns = new Set<Deno.TlsConn>();
  let connections = 0;
  let requests = 0;
  const serve = async (conn: Deno.TlsConn) => {
    try {
      await conn.handshake();
      connections++;
      while (await conn.read(new Uint8Array(4096)) !== null) {
        requests++;
        await conn.write(new TextEncoder().encode(OK));
      }
    } catch { /* the test judges by the client's result */ }
    conns.delete(conn);
    try {
      conn.close();
    } catch { /* closed by close() */ }
  };
  const accepting = (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      const served = serve(conn).finally(() => open.delete(served));
      open.add(served);
    }
  })();
  return {
    port: listener.addr.port,
    get connections() {
      return connections;
    },
    get requests() {
      return requests;
    },
    close: async () => {
      listener.close();
      for (const conn of conns) conn.close();
      await accepting;
      await Promise.all(open);
    },
  };
}
