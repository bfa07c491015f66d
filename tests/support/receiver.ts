import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { until } from "./wait.ts";
import type { Leaf } from "./tls.ts";

/** A request as it came in. */
export interface Received {
  readonly method: string;
  readonly path: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** Every header line, in its order and spelling. */
  readonly lines: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
}

/** What to answer with. `hang` says nothing, `reset` hangs up, `garbage` is no HTTP. */
export type Answer =
  | {
    readonly status: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string | Uint8Array;
  }
  | "hang"
  | "reset"
  | "garbage";

/** Answers each request, the first one being number 1. A promise holds the answer back. */
export type Plan = (request: Received, nth: number) => Answer | Promise<Answer>;

/** A real HTTP server on loopback that keeps what it receives. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly Received[];
  /** Answers by that from now on. */
  answer(plan: Plan): void;
  /** Waits for the first `count` requests. */
  received(count: number): Promise<readonly Received[]>;
}

/** Answers with these statuses in turn, and with the last one from then on. */
export function statuses(...list: number[]): Plan {
  return (_, nth) => ({ status: list[Math.min(nth, list.length) - 1] ?? 200 });
}

/** Starts a receiver that answers 200 unless told otherwise; over TLS with a certificate. */
export async function startReceiver(
  plan: Plan = statuses(200),
  certificate?: Leaf,
): Promise<Receiver> {
  const requests: Received[] = [];
  const sockets = new Set<Socket>();
  const handle = async (incoming: IncomingMessage, response: ServerResponse) => {
    const request = await read(incoming);
    const nth = requests.push(request);
    give(await plan(request, nth), incoming.socket, response);
  };
  const listener = (incoming: IncomingMessage, response: ServerResponse) =>
    // A sender that hung up has its reasons.
    void handle(incoming, response).catch(() => response.destroy());
  const server = certificate === undefined
    ? createServer(listener)
    : createTlsServer({ ...certificate }, listener);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const scheme = certificate === undefined ? "http" : "https";
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    requests,
    answer: (next) => void (plan = next),
    async received(count) {
      await until(`${count} requests are received`, () => requests.length >= count);
      return requests;
    },
    async [Symbol.asyncDispose]() {
      server.close(); // whose callback Deno 2.6 does not always call
      for (const socket of sockets) socket.destroy();
      await until("the receiver is closed", () => sockets.size === 0 && !server.listening);
    },
  };
}

async function read(incoming: IncomingMessage): Promise<Received> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) chunks.push(chunk);
  const lines: (readonly [string, string])[] = [];
  for (let at = 0; at + 1 < incoming.rawHeaders.length; at += 2) {
    lines.push([incoming.rawHeaders[at] ?? "", incoming.rawHeaders[at + 1] ?? ""]);
  }
  return {
    method: incoming.method ?? "",
    path: incoming.url ?? "",
    headers: Object.fromEntries(lines.map(([name, value]) => [name.toLowerCase(), value])),
    lines,
    body: Buffer.concat(chunks),
  };
}

function give(answer: Answer, socket: Socket, response: ServerResponse): void {
  if (answer === "hang") return;
  if (answer === "reset") return void socket.destroy();
  if (answer === "garbage") return void socket.end("SSH-2.0-OpenSSH_9.2\r\n");
  response.writeHead(answer.status, { ...answer.headers });
  response.end(answer.body);
}
