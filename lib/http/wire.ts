import { Buffer } from "node:buffer";
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { borrowUtf8 } from "../core/utf8.ts";
import type { Route } from "./flight.ts";

/** The socket of a connection. */
export interface Wire {
  /** Sends one message, then reports `written`. Wait for that before the next. */
  readonly send: (start: string, headers: string, body: string) => void;
  readonly destroy: () => void;
}

/**
 * Reports of a wire: `connected`, `secured` with TLS, then bytes. `lost` and `closed` come at any time,
 * `closed` last and always. None comes before `openWire` has returned.
 */
export interface WireEvents {
  readonly connected: (peer: string | undefined) => void;
  /** When the peer's certificate ends, in milliseconds since 1970; null if it is unreadable. */
  readonly secured: (certificate_ends_at: number | null) => void;
  /** The message is written, or failed to be. */
  readonly written: (error?: Error | null) => void;
  /** The bytes are valid until it returns. */
  readonly data: (bytes: Buffer) => void;
  readonly ended: () => void;
  readonly lost: (error: Error) => void;
  readonly closed: () => void;
}

const READ_BYTES = 64 * 1024;
/** A wire keeps the memory of its last message up to this size, for the next one. */
const KEPT_MESSAGE_BYTES = 8 * 1024;
const NO_MESSAGE = Buffer.alloc(0);
const ENCODER = new TextEncoder();

/** All plain connections read into this memory: allocating for each read costs more. */
const read_into = Buffer.allocUnsafeSlow(READ_BYTES);

/** A wire before it is opened. */
export const NO_WIRE: Wire = { send: () => {}, destroy: () => {} };

/** Opens a wire to one address of the route. Throws if the certificate or key is unreadable. */
export function openWire(
  route: Route,
  ip: string,
  source_address: string | undefined,
  events: WireEvents,
): Wire {
  const place = {
    host: ip,
    port: route.port,
    ...(source_address === undefined ? {} : { localAddress: source_address }),
  };
  const socket = route.https ? openTls(route, place, events) : openPlain(place, events);
  socket.on("connect", () => {
    socket.setNoDelay(true);
    events.connected(socket.remoteAddress);
  });
  socket.on("end", events.ended);
  socket.on("error", events.lost);
  socket.on("close", events.closed);
  const memory = { message: NO_MESSAGE };
  return {
    send: (start, headers, body) =>
      void socket.write(messageBytes(memory, start, headers, body), events.written),
    destroy: () => void socket.destroy(),
  };
}

type Place = Readonly<{ host: string; port: number; localAddress?: string }>;

function openPlain(place: Place, events: WireEvents): Socket {
  const callback = (length: number) => {
    events.data(read_into.subarray(0, length));
    return true;
  };
  return connectPlain({ ...place, onread: { buffer: read_into, callback } });
}

function openTls(route: Route, place: Place, events: WireEvents): Socket {
  const socket = connectTls({
    ...place,
    ...route.tls,
    minVersion: "TLSv1.2",
    rejectUnauthorized: true,
    // Without a name the certificate is checked for the address.
    ...(route.literal === undefined ? { servername: route.host } : {}),
  });
  socket.on("secureConnect", () => events.secured(endOf(socket)));
  socket.on("data", events.data);
  return socket;
}

function endOf(socket: TLSSocket): number | null {
  const ends_at = Date.parse(socket.getPeerCertificate().valid_to);
  return Number.isNaN(ends_at) ? null : ends_at;
}

/**
 * Head and body in one piece, so that it is one write and, if small, one packet. The bytes are in the
 * wire's own memory, which is free again once they are written.
 */
function messageBytes(
  memory: { message: Buffer },
  start: string,
  headers: string,
  body: string,
): Buffer {
  const bytes = borrowUtf8(body);
  const head = `${start}${headers}Content-Length: ${bytes.length}\r\n\r\n`;
  // As UTF-8, never as Latin-1, which would turn some characters into line breaks.
  const room = head.length * 3 + bytes.length;
  let { message } = memory;
  if (message.length < room) {
    message = Buffer.allocUnsafeSlow(Math.max(room, KEPT_MESSAGE_BYTES / 2));
    if (room <= KEPT_MESSAGE_BYTES) memory.message = message;
  }
  const { written } = ENCODER.encodeInto(head, message);
  message.set(bytes, written);
  return message.subarray(0, written + bytes.length);
}

/** The code of a system or TLS error, such as `ECONNREFUSED`; empty if it has none. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error) || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}
