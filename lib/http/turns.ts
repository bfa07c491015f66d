import { Buffer } from "node:buffer";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import { makeProblem } from "../core/problem.ts";
import type { Signals } from "../observe/signals.ts";

/** Why a request is refused. `label` is a stable short name. */
export interface Mistake {
  readonly status: 400 | 408 | 431;
  readonly label: string;
  readonly detail: string;
}

/** How requests are run. */
export interface Rules {
  /** The mistake in the shape of a request, or undefined. */
  readonly mistakeOf: (incoming: IncomingMessage) => Mistake | undefined;
  readonly run: RequestListener;
  readonly refused: Signals["refused"];
}

/** The requests of all connections of a server. */
export interface Turns {
  /** From now on each connection is closed after the answer under way, or its next one. */
  retire(): void;
}

/** A request and its answer. */
interface Turn {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

/** The requests of one connection. */
interface Line {
  readonly socket: Socket;
  /** Being answered. */
  current: Turn | undefined;
  readonly waiting: Turn[];
  /** The last to arrive; it may lack a part of its body. */
  last: Turn | undefined;
  /** Nothing more is read or begun. */
  over: boolean;
  /** Whether its bytes pass through script, as they do from its first chunked body on. */
  fed: boolean;
  /** Bytes that the body of the last one lacks; undefined if it comes in chunks. */
  body_left: number | undefined;
  /** Bytes since the body last moved on, at least those of the present line. */
  stalled: number;
  /** Whether the body moves on by the present piece. */
  moved: boolean;
}

/** How long a body is read on after its request was answered. */
const READ_ON_MS = 500;
/** Requests that one connection may send ahead of their answers. */
const MAX_WAITING = 1_000;
/** Longest chunk size with its extensions, and longest trailer, in bytes. */
const MAX_STALLED_BYTES = 16 * 1024;
/** The parser reads this much at once, or to the end of a body of known length. */
const PIECE_BYTES = 2_048;
const LF = 10;

/**
 * Runs the requests of each connection one at a time. So a request that follows one that closes the
 * connection never begins, and requests before a mistake are answered before the connection closes.
 */
export function takeTurns(server: Server, { mistakeOf, run, refused }: Rules): Turns {
  const lines = new Map<Socket, Line>();
  let retiring = false;

  // With TLS, requests belong to the socket of the TLS session, not to the one beneath.
  server.on(isTls(server) ? "secureConnection" : "connection", (socket: Socket) => {
    const line: Line = {
      socket,
      current: undefined,
      waiting: [],
      last: undefined,
      over: false,
      fed: false,
      body_left: undefined,
      stalled: 0,
      moved: false,
    };
    lines.set(socket, line);
    socket.on("close", () => lines.delete(socket));
    socket.on("end", () => {
      // A client that half-closes within a request gets no answer.
      if (line.last?.incoming.complete === false) stop(line, undefined);
    });
  });
  server.on("request", (incoming, outgoing) => {
    const line = lines.get(incoming.socket);
    if (line === undefined || line.over) return;
    const tooLong = () => stop(line, TOO_LONG);
    const turn = line.last = { incoming, outgoing };
    line.waiting.push(turn);
    if (!line.fed && incoming.headers["transfer-encoding"] !== undefined) {
      if (!takeOver(line, incoming, tooLong)) return tooLong();
    }
    if (line.fed) watchBody(line, incoming);
    if (line.current === undefined) begin(line);
    else if (line.waiting.length > MAX_WAITING) stop(line, undefined);
  });
  server.on("clientError", (error: Error & { code?: string }, socket) => {
    const line = lines.get(socket as Socket);
    if (line === undefined || error.code === "ECONNRESET") socket.destroy();
    else stop(line, mistakeBy(error.code));
  });
  server.on("connect", (_, socket) => {
    const line = lines.get(socket as Socket);
    if (line === undefined) socket.destroy();
    else stop(line, bad("target", "This is no proxy: CONNECT is not possible"));
  });

  function begin(line: Line): void {
    const turn = line.waiting.shift();
    if (turn === undefined) return;
    const { incoming, outgoing } = line.current = turn;
    outgoing.on("close", () => ended(line, turn));
    if (retiring && line.waiting.length === 0) outgoing.shouldKeepAlive = false;
    const mistake = mistakeOf(incoming);
    if (mistake === undefined) return run(incoming, outgoing);
    refused.emit({ by: "http", code: mistake.label });
    line.over = true;
    line.waiting.length = 0;
    refuse(outgoing, mistake);
  }

  function ended(line: Line, { incoming, outgoing }: Turn): void {
    line.current = undefined;
    incoming.resume(); // what nobody read
    if (line.socket.destroyed || !outgoing.shouldKeepAlive) {
      line.over = true;
      line.waiting.length = 0;
    }
    if (line.waiting.length > 0) begin(line);
    else if (line.over) line.socket.destroySoon();
    else if (!incoming.complete) readOn(incoming);
  }

  // Reads no more. The mistake is the last request's if that lacks a part, else what follows it.
  function stop(line: Line, mistake: Mistake | undefined): void {
    if (line.over) return;
    line.over = true;
    if (mistake !== undefined) refused.emit({ by: "http", code: mistake.label });
    const { current, waiting, last, socket } = line;
    const lacking = last?.incoming.complete === false ? last : undefined;
    if (lacking !== undefined && waiting.at(-1) === lacking) waiting.pop();
    if (current !== undefined && current !== lacking) {
      (waiting.at(-1) ?? current).outgoing.shouldKeepAlive = false;
    } else {
      if (mistake === undefined || current?.outgoing.headersSent === true) {
        socket.destroy();
      } else {
        socket.write(messageOf(mistake));
        // With TLS, `destroy` would drop bytes on their way.
        socket.destroySoon();
      }
    }
  }

  return {
    retire() {
      retiring = true;
      for (const { current, waiting } of lines.values()) {
        const turn = waiting.at(-1) ?? current;
        if (turn !== undefined) turn.outgoing.shouldKeepAlive = false;
      }
    },
  };
}

function isTls(server: Server): boolean {
  return server instanceof TlsServer;
}

// After an early answer. Closing before the client has sent everything could cost it the answer, which its
// system throws away on a reset.
function readOn(incoming: IncomingMessage): void {
  const { socket } = incoming;
  const settle = () => {
    clearTimeout(timer);
    socket.off("close", settle);
  };
  const timer = setTimeout(() => socket.destroySoon(), READ_ON_MS);
  socket.on("close", settle);
  incoming.once("end", settle);
}

/** The parser of a connection. Under Deno it takes its bytes from the kernel, until `unconsume`. */
interface Parser {
  /** The read that is being parsed. */
  getCurrentBuffer(): Uint8Array;
  unconsume(): void;
}

// The parser limits neither the extensions of a chunk nor the zeros of its size, nor trailers. Passing
// bytes through script costs a third of a small request, so it begins with the first chunked body of a
// connection. False if that exceeds a limit within the read that has its head.
function takeOver(line: Line, incoming: IncomingMessage, tooLong: () => void): boolean {
  const { parser } = line.socket as Socket & { readonly parser: Parser };
  const stalled = stalledIn(parser.getCurrentBuffer(), incoming);
  if (stalled > MAX_STALLED_BYTES) return false;
  line.fed = true;
  line.stalled = stalled;
  parser.unconsume();
  feed(line, tooLong);
  return true;
}

// How many bytes a chunked body has stalled for at the end of this read, or once in it beyond the limit.
function stalledIn(bytes: Uint8Array, { method, url }: IncomingMessage): number {
  const read = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = read.indexOf(`${method} ${url} HTTP/1.1`);
  // Without its beginning, the head came in several reads.
  let at = read.indexOf("\r\n\r\n", Math.max(head, 0)) + 4;
  while (at < read.length) {
    const end = read.indexOf(LF, at);
    const size = Number.parseInt(read.toString("latin1", at, end < 0 ? read.length : end), 16);
    if (end < 0 || end - at > MAX_STALLED_BYTES) return (end < 0 ? read.length : end) - at;
    if (Number.isNaN(size)) return 0; // the parser says so
    if (size === 0) {
      const trailer_end = read.indexOf("\r\n\r\n", end - 1);
      return (trailer_end < 0 ? read.length : trailer_end) - at;
    }
    at = end + 1 + size + 2;
  }
  return 0;
}

// It would go on with what follows a mistake. So it gets pieces, as long as there is no mistake.
function feed(line: Line, tooLong: () => void): void {
  const { socket } = line;
  const [parse] = socket.listeners("data");
  if (parse === undefined) return;
  socket.on("data", (bytes: Buffer) => {
    for (let at = 0; at < bytes.length && !line.over;) {
      const { last } = line;
      const in_body = last?.incoming.complete === false;
      const in_chunks = in_body && line.body_left === undefined;
      const piece = bytes.subarray(at, at + (in_body && line.body_left || PIECE_BYTES));
      at += piece.length;
      if (in_chunks) {
        const end = piece.indexOf(LF);
        if (line.stalled + (end < 0 ? piece.length : end) > MAX_STALLED_BYTES) return tooLong();
      }
      line.moved = !in_chunks;
      parse.call(socket, piece);
      // If the body moved on in this piece, its last line has begun to stall.
      line.stalled = line.moved
        ? piece.length - 1 - piece.lastIndexOf(LF)
        : line.stalled + piece.length;
    }
  });
  socket.off("data", parse as (bytes: Buffer) => void);
}

// By its method, because a listener for data would take them from the handler.
function watchBody(line: Line, incoming: IncomingMessage): void {
  const { push, headers: { "content-length": length } } = incoming;
  line.body_left = length === undefined ? undefined : Number(length);
  incoming.push = (bytes, ...rest) => {
    line.moved = true;
    if (line.body_left !== undefined) line.body_left -= bytes?.length ?? 0;
    return push.call(incoming, bytes, ...rest);
  };
}

const TOO_LONG: Mistake = {
  status: 431,
  label: "chunks",
  detail:
    `A chunk's size with its extensions, and a trailer, have at most ${MAX_STALLED_BYTES} bytes`,
};

// The mistake that an error code of node:http stands for.
function mistakeBy(code: string | undefined): Mistake {
  if (code === "HPE_HEADER_OVERFLOW") {
    return { status: 431, label: "head", detail: "The head of the request is too long" };
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return { status: 408, label: "timeout", detail: "The request did not arrive in time" };
  }
  return bad("syntax", "This is not a request of HTTP/1.1 (RFC 9112)");
}

/** A mistake of the status 400. */
export function bad(label: string, detail: string): Mistake {
  return { status: 400, label, detail };
}

function refuse(outgoing: ServerResponse, mistake: Mistake): void {
  const { status, headers, body } = makeProblem(mistake.status, "malformed", mistake.detail);
  const length = Buffer.byteLength(body);
  outgoing.writeHead(status, { ...headers, "content-length": length, connection: "close" });
  outgoing.end(body);
}

// The whole answer to a request of which there is no `ServerResponse`.
function messageOf({ status, detail }: Mistake): string {
  const { headers, body } = makeProblem(status, "malformed", detail);
  const { title } = JSON.parse(body);
  return `HTTP/1.1 ${status} ${title}\r\nContent-Type: ${headers["content-type"]}\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
}
