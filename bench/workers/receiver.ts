/**
 * The receivers: many endpoints, one per port, in one Node process on raw sockets, cheap enough not
 * to be what is measured. Answers 200 with two bytes, or, on a hanging port, never. Remembers the
 * endpoint, the event's number, the peer and the moment of each arrival.
 */

import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { numberIn } from "../workload.ts";
import { now, serveCommands } from "./control.ts";

const OK = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
const END_OF_HEAD = Buffer.from("\r\n\r\n");
/** Columns of a dump: endpoint, number, arrival in ms, 1 where it came from 127.0.0.2. */
const COLUMNS = 4;

let rows = new Float64Array(COLUMNS * 65_536);
let count = 0;
let firsts: (string | undefined)[] = [];
const perEndpoint: number[] = [];

function arrived(endpoint: number, request: Buffer, end: number, second: number): void {
  const at = count++ * COLUMNS;
  if (at === rows.length) {
    const more = new Float64Array(rows.length * 2);
    more.set(rows);
    rows = more;
  }
  rows[at] = endpoint;
  rows[at + 1] = numberIn(request, end);
  rows[at + 2] = now();
  rows[at + 3] = second;
  perEndpoint[endpoint] = (perEndpoint[endpoint] ?? 0) + 1;
  firsts[endpoint] ??= request.toString("latin1", 0, end);
}

function serve(socket: Socket, endpoint: number, hangs: boolean): void {
  socket.setNoDelay(true);
  const second = socket.remoteAddress?.endsWith("127.0.0.2") ? 1 : 0;
  let kept: Buffer | undefined;
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    let buffer = kept === undefined ? chunk : Buffer.concat([kept, chunk]);
    kept = undefined;
    while (buffer.length > 0) {
      const end = endOfRequest(buffer);
      if (end > buffer.length) {
        kept = buffer;
        return;
      }
      arrived(endpoint, buffer, end, second);
      if (!hangs) socket.write(OK);
      buffer = buffer.subarray(end);
    }
  });
}

const LENGTH = Buffer.from("content-length: ");

// Where the first request in the buffer ends, or Infinity while its head is not there yet. Found
// without a string or an expression: receivers must cost little beside what is measured.
function endOfRequest(buffer: Buffer): number {
  const head = buffer.indexOf(END_OF_HEAD);
  if (head < 0) return Infinity;
  let length = 0;
  for (let at = buffer.indexOf(10) + 1; at > 0 && at < head; at = buffer.indexOf(10, at) + 1) {
    if (!startsWith(buffer, at, LENGTH)) continue;
    for (let i = at + LENGTH.length; (buffer[i] ?? 13) !== 13; i++) {
      length = length * 10 + (buffer[i] ?? 48) - 48;
    }
  }
  return head + 4 + length;
}

// Whether the bytes are there, in either case.
function startsWith(buffer: Buffer, at: number, lower: Buffer): boolean {
  for (let i = 0; i < lower.length; i++) {
    const byte = buffer[at + i] ?? 0;
    if ((byte >= 65 && byte <= 90 ? byte + 32 : byte) !== lower[i]) return false;
  }
  return true;
}

/** A certificate and its key, in PEM. */
interface Leaf {
  readonly cert: string;
  readonly key: string;
}

function listen(endpoint: number, hangs: boolean, tls: Leaf | undefined): Promise<number> {
  const take = (socket: Socket) => serve(socket, endpoint, hangs);
  const server = tls === undefined ? createServer(take) : createTlsServer(tls, take);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}

serveCommands({
  async listen({ answering, hanging, tls }) {
    const ports: number[] = [];
    const all = Number(answering) + Number(hanging);
    for (let i = 0; i < all; i++) {
      ports.push(await listen(i, i >= Number(answering), tls as Leaf | undefined));
    }
    return { ports };
  },
  reset() {
    count = 0;
    rows = new Float64Array(COLUMNS * 65_536);
    firsts = [];
    perEndpoint.length = 0;
  },
  count() {
    const first = count === 0 ? null : rows[2];
    const last = count === 0 ? null : rows[(count - 1) * COLUMNS + 2];
    return { count, first, last, now: now(), per_endpoint: perEndpoint };
  },
  dump({ path }) {
    writeFileSync(String(path), new Uint8Array(rows.buffer, 0, count * COLUMNS * 8));
    return { count, firsts };
  },
});
