/** Raw bytes over a socket, for requests that no HTTP client would send. */

import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { sleep } from "./wait.ts";

/** The answers, up to the expected number or until the other side closed. */
export interface Spoken {
  /** Of the final answers, in order; interim ones are left out. */
  readonly statuses: readonly number[];
  /** Body of the last complete answer. */
  readonly body: string;
  /** Everything, as Latin-1. */
  readonly text: string;
  /** Whether the other side closed. */
  readonly closed: boolean;
}

/** A part to send: bytes, a pause in milliseconds, or `END` to half-close. */
export type Part = string | Uint8Array | number | typeof END;

export const END = Symbol("end");

const PATIENCE_MS = 30_000;

/** A port on loopback; over TLS if it comes with the authority of its certificate. */
export type Place = number | { readonly port: number; readonly ca: string };

/** Opens a connection, without waiting for it. */
export function dial(place: Place): Socket {
  const host = "127.0.0.1";
  if (typeof place === "number") return connect({ host, port: place });
  return connectTls({ host, ...place, servername: "localhost" });
}

/** Sends `parts` (text as Latin-1) to a port on loopback and reads the answers. */
export async function speak(place: Place, parts: readonly Part[], answers = 1): Promise<Spoken> {
  const socket = dial(place);
  const chunks: Buffer[] = [];
  const over = Promise.withResolvers<boolean>();
  const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const timer = setTimeout(() => over.reject(new Error(`No answer: ${shown()}`)), PATIENCE_MS);
  const shown = () => Buffer.concat(chunks).toString("latin1");
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    if (answersIn(shown()).length >= answers) over.resolve(false);
  });
  socket.on("error", () => {}); // the other side may hang up while this one is sending
  gone.then(() => over.resolve(true));
  const talking = (async () => {
    for (const part of parts) {
      if (socket.destroyed) return;
      if (part === END) socket.end();
      else if (typeof part === "number") await sleep(part);
      else {
        const bytes = typeof part === "string" ? Buffer.from(part, "latin1") : part;
        await new Promise<void>((said) => socket.write(bytes, () => said()));
      }
    }
  })();
  try {
    const closed = await over.promise;
    const found = answersIn(shown());
    return {
      statuses: found.map(({ status }) => status),
      body: found.at(-1)?.body ?? "",
      text: shown(),
      closed,
    };
  } finally {
    clearTimeout(timer);
    socket.destroy();
    await gone;
    await talking;
  }
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The complete answers in a text. */
function answersIn(text: string): Answer[] {
  const answers: Answer[] = [];
  for (let at = 0;;) {
    const end = text.indexOf("\r\n\r\n", at);
    if (end < 0) return answers;
    const head = text.slice(at, end);
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? NaN);
    if (Number.isNaN(status)) throw new Error(`Not an answer: ${JSON.stringify(head)}`);
    at = end + 4;
    if (status < 200) continue;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length !== undefined) {
      if (text.length < at + Number(length)) return answers;
      answers.push({ status, body: text.slice(at, at += Number(length)) });
    } else if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
      const last = text.indexOf("0\r\n\r\n", at);
      if (last < 0) return answers;
      answers.push({ status, body: text.slice(at, last) });
      at = last + 5;
    } else answers.push({ status, body: "" });
  }
}

/** The port of a URL on loopback. */
export function portIn(url: string): number {
  return Number(new URL(url).port);
}
